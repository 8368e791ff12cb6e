"""Folders that transformers saves of any class are starting points: the same hidden states, and a line for what is not used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from test_finetuning import config, data_of, finetune, read, trained
from tokenizers import Tokenizer, models

from roberta_lab.cli import main
from roberta_lab.config import ConfigError
from roberta_lab.model.huggingface import model_folder
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import huggingface
from roberta_lab.tasks.feature_table import packed
from roberta_lab.tasks.features import PairFormat, generate
from roberta_lab.tasks.initial_model import InitialModel
from roberta_lab.tasks.zero_shot.masked_model import MaskedModel

LENGTH = 32
KINDS = {"Roberta": "roberta", "XLMRoberta": "roberta", "Camembert": "roberta", "Bert": "bert"}
HEADS = {
    "Roberta": "Model ForMaskedLM ForSequenceClassification ForTokenClassification ForQuestionAnswering ForMultipleChoice",
    "XLMRoberta": "Model ForMaskedLM ForSequenceClassification",
    "Camembert": "Model ForMaskedLM ForTokenClassification",
    "Bert": "Model ForPreTraining ForMaskedLM ForNextSentencePrediction ForSequenceClassification ForQuestionAnswering",
}
CLASSES = [(kind, head) for kind, heads in HEADS.items() for head in heads.split()]


@pytest.fixture
def transformers() -> Iterator[Any]:
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    yield library
    library.logging.enable_progress_bar()


def saved(transformers: Any, path: Path, kind: str, head: str, **other: Any) -> tuple[Any, Path]:
    """A folder by save_pretrained, every weight random, with a byte-level tokenizer of 290 ids beside it."""
    is_roberta = KINDS[kind] == "roberta"
    settings = {
        "vocab_size": 290,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
    }
    settings |= {"max_position_embeddings": LENGTH + 2 * is_roberta, "type_vocab_size": 1 if is_roberta else 2}
    settings |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, **other}
    torch.manual_seed(5)
    model = getattr(transformers, kind + head)(getattr(transformers, f"{kind}Config")(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(path)
    trained().save(str(path / "tokenizer.json"))
    return model, path


def tensors_of(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {*file.keys()}


@pytest.mark.parametrize(("kind", "head"), CLASSES)
def test_every_class_gives_its_encoder_and_names_what_is_left_over(
    kind: str, head: str, tmp_path: Path, transformers: Any
) -> None:
    peer, folder = saved(transformers, tmp_path / "x", kind, head)
    found = InitialModel.from_folder(str(folder))
    ids, real = torch.randint(4, 289, (3, LENGTH)), torch.arange(LENGTH) < torch.tensor([[LENGTH], [9], [1]])
    ids = ids.where(real, 1)
    expected = peer.base_model(ids, attention_mask=real.long()).last_hidden_state
    torch.testing.assert_close(found.encoder(0.0).eval()(ids, real)[real], expected[real], rtol=1e-4, atol=1e-5)
    base = {name for name in tensors_of(folder) if "embeddings." in name or "encoder.layer." in name}
    assert {*model_folder.read(folder, heads=False).left_over} == tensors_of(folder) - base
    [first, *_] = sorted(tensors_of(folder) - base)
    assert found.note.startswith(f"not used: {first}, ") and "\n" not in found.note and len(found.note) < 250
    assert found.kind == KINDS[kind]


@pytest.mark.parametrize(("kind", "head"), [pair for pair in CLASSES if pair[1] in ("ForMaskedLM", "ForPreTraining")])
def test_masks_are_filled_by_models_that_were_trained_to(
    kind: str, head: str, tmp_path: Path, transformers: Any
) -> None:
    peer, folder = saved(transformers, tmp_path / "x", kind, head)
    found, ids = MaskedModel.from_folder(str(folder)), torch.randint(4, 289, (3, LENGTH))
    logits = peer(ids)["prediction_logits" if head == "ForPreTraining" else "logits"]
    torch.testing.assert_close(found.model.mlm_logits(found.model.encoder(ids)), logits, rtol=1e-4, atol=1e-4)
    assert found.note == ""


@pytest.mark.parametrize(("kind", "head"), [("Roberta", "Model"), ("Bert", "ForQuestionAnswering"), ("Bert", "ForNextSentencePrediction")])  # fmt: skip
def test_other_models_fill_no_masks_and_the_line_names_what_they_lack(
    kind: str, head: str, tmp_path: Path, transformers: Any
) -> None:
    _, folder = saved(transformers, tmp_path / "x", kind, head)
    lacks = {"roberta": r"lm_head\.bias, lm_head\.dense", "bert": r"cls\.predictions\.bias, cls"}[KINDS[kind]]
    with pytest.raises(ConfigError, match=rf"model for pretraining lacks {lacks}.* and 1 more") as error:
        MaskedModel.from_folder(str(folder))
    assert "\n" not in str(error.value)


def test_a_head_that_nobody_asked_for_may_be_anything(tmp_path: Path, transformers: Any) -> None:
    """An encoder is read of a model with untied embeddings; filling masks with it is refused."""
    _, folder = saved(transformers, tmp_path / "x", "Roberta", "ForMaskedLM", tie_word_embeddings=False)
    assert "lm_head.decoder.weight" in tensors_of(folder)
    assert "lm_head.bias" in InitialModel.from_folder(str(folder)).note
    with pytest.raises(ConfigError, match="tied embeddings"):
        MaskedModel.from_folder(str(folder))


def test_a_unigram_tokenizer_beside_a_model_is_refused_in_its_own_line(tmp_path: Path, transformers: Any) -> None:
    _, folder = saved(transformers, tmp_path / "x", "XLMRoberta", "ForMaskedLM")
    Tokenizer(models.Unigram([("a", 0.0)])).save(str(folder / "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"^pretrained\.path=.*: a Unigram tokenizer is not supported; allowed are"):
        InitialModel.from_folder(str(folder))
    (folder / "tokenizer.json").rename(folder / "sentencepiece.bpe.model")
    with pytest.raises(
        ConfigError, match=r"sentencepiece\.bpe\.model is a SentencePiece model, which is not supported"
    ):
        InitialModel.from_folder(str(folder))


def test_predict_says_what_is_not_used_and_embeds_as_transformers_does(
    tmp_path: Path, transformers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    peer, folder = saved(transformers, tmp_path / "x", "Camembert", "ForTokenClassification")
    command = ["predict", f"pretrained.path={folder}", "predict.text=red circle", "trainer.accelerator=cpu"]
    assert main.main([*command, "predict.what=embed", "predict.pooling=mean", "predict.output=v.jsonl"]) == 0
    assert (
        capsys.readouterr().err.count(f"pretrained.path={folder}: not used: classifier.bias, classifier.weight\n") == 1
    )
    [record] = map(json.loads, Path("v.jsonl").read_text().splitlines())
    ids = torch.tensor([[0, *trained().encode("red circle", add_special_tokens=False).ids, 2]])
    expected = peer.base_model(ids).last_hidden_state[0].mean(0)
    torch.testing.assert_close(torch.tensor(record["vector"]), expected, rtol=1e-4, atol=1e-4)
    assert main.main([*command[:2], "predict.text=a <mask>", "trainer.accelerator=cpu"]) == 2
    assert "a roberta model for pretraining lacks lm_head.bias" in capsys.readouterr().err


# ---------------------------------------------------------------- out again
@pytest.mark.parametrize(
    ("kind", "head", "types"),
    [("Roberta", "ForMaskedLM", 1), ("Roberta", "Model", 2), ("XLMRoberta", "Model", 1), ("Bert", "Model", 2), ("Bert", "Model", 1)],
)  # fmt: skip
def test_what_is_finetuned_from_a_folder_is_of_the_folders_class(
    kind: str, head: str, types: int, tmp_path: Path, transformers: Any
) -> None:
    """A RoBERTa has one row of token types that are not zeros, which BERT's classes could hold too."""
    _, folder = saved(transformers, tmp_path / "x", kind, head, type_vocab_size=types)
    start, data = InitialModel.from_folder(str(folder)), data_of("classification")
    cfg = config("classification", tmp_path, epochs=1, save_model=True)
    found = finetune(cfg, start, data, tmp_path, lambda row: None)
    assert found.weights is not None and start.token_types == types
    written = tmp_path / "model"
    facts = {"run_id": "abc", "result": RunResult("abc", "a run", 1.0, found.result).to_json()}
    huggingface.write(written, start, found.weights, found.head, found.labels, facts)
    expected = f"{KINDS[kind].capitalize()}ForSequenceClassification"
    theirs, report = transformers.AutoModelForSequenceClassification.from_pretrained(written, output_loading_info=True)
    assert type(theirs).__name__ == expected and not any(report.values()), report
    tokens = transformers.AutoTokenizer.from_pretrained(written)
    ours = read(tmp_path / "predictions.jsonl")
    table = packed(generate("classification", data.dev, start.encoding, PairFormat(LENGTH, start.paired)))
    for row, item in enumerate(data.dev[:8]):
        batch = tokens(item.text_a, return_tensors="pt")
        assert batch["input_ids"][0].tolist() == table.batch(torch.tensor([row]).numpy(), 1)["input_ids"][0].tolist()
        with torch.no_grad():
            logits = theirs.eval()(**batch).logits[0]
        assert ours[row]["logits"] == pytest.approx(logits.tolist(), abs=1e-4)
