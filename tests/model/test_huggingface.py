"""Folders of Hugging Face: what is written loads there and computes the same, what is read fits or is refused by name."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_run import SHORT, small_source  # noqa: F401 (a fixture)
from tokenizers import AddedToken, Tokenizer, models

from roberta_lab.axes import tokenizer
from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece, wordpiece
from roberta_lab.cli import main
from roberta_lab.config import ConfigError, ModelConfig
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.huggingface import model_folder
from roberta_lab.model.huggingface.names import state_from_huggingface, state_to_huggingface

CONFIG = ModelConfig(layers=2, hidden=16, heads=2, ffn=40, dropout=0.2, attention_dropout=0.3, layer_norm_eps=1e-6)
TEXTS = ["the cat sat on the mat", " The Dog's log, naïve", "e\u0301 日本 🙂\t\n x", "", " ", "a <mask> </s>b [SEP]"]
LENGTH = 40


@pytest.fixture(autouse=True)
def strict(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What transformers logs as a warning fails the test."""
    yield
    assert not [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING]


@pytest.fixture
def transformers() -> Iterator[object]:
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    library.logging.enable_propagation()  # to caplog
    yield library
    library.logging.disable_propagation()


def tokenizer_folder(path: Path, made: Tokenizer) -> Path:
    path.mkdir()
    made.save(str(path / "tokenizer.json"))
    return path


def bert_like() -> Tokenizer:
    words = ["the", "cat", "sat", "on", "##at", "m", "log", ",", "'", "dog", "s", "##s", "n", "##i", "x", "a", "b"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    made = wordpiece(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in pieces[:5]])
    return made


RUNS: dict[str, tuple[Callable[[], Tokenizer], int, bool, str, str]] = {  # tokenizer, token types, NSP; kind, class
    "full_sentences": (lambda: train_bytelevel_bpe(iter(TEXTS * 9), 280), 0, False, "roberta", "RobertaForMaskedLM"),
    "wordpiece": (lambda: train_wordpiece(TEXTS * 9, 60), 0, False, "roberta", "RobertaForMaskedLM"),
    "segment_pair": (lambda: train_bytelevel_bpe(iter(TEXTS * 9), 280), 2, True, "bert", "BertForPreTraining"),
    "bert's own": (bert_like, 2, True, "bert", "BertForPreTraining"),
    "nsp=off": (bert_like, 2, False, "bert", "BertForMaskedLM"),
    "another pad": (bert_like, 0, False, "bert", "BertForMaskedLM"),
}


def random_model(
    vocab_size: int, token_types: int, nsp: bool, pad_id: int, config: ModelConfig = CONFIG
) -> PretrainingModel:
    """Every parameter random, biases and norms too, so that none can take another's place unseen."""
    torch.manual_seed(3)
    model = PretrainingModel(config, vocab_size, LENGTH, token_types, nsp, pad_id).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
            if name.endswith("positions.weight"):
                parameter[:2] = 0
    return model


def exported(tmp_path: Path, name: str) -> tuple[PretrainingModel, Encoding, Path]:
    make, token_types, nsp, _, _ = RUNS[name]
    folder = tokenizer_folder(tmp_path / "tokenizer", make())
    encoding = tokenizer.load(folder)
    model = random_model(encoding.vocab_size, token_types, nsp, encoding.pad_id)
    model_folder.write(tmp_path / "out", model.state_dict(), CONFIG, folder, "a card\n", {"run_id": "x"})
    return model, encoding, tmp_path / "out"


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


# ---------------------------------------------------------------- out
@pytest.mark.parametrize("name", RUNS)
def test_what_is_written_loads_there_and_computes_the_same(name: str, tmp_path: Path, transformers) -> None:
    model, _, folder = exported(tmp_path, name)
    kind, expected = RUNS[name][3:]
    auto = transformers.AutoModelForPreTraining if model.nsp_pooler else transformers.AutoModelForMaskedLM
    peer, info = auto.from_pretrained(folder, output_loading_info=True)
    assert type(peer).__name__ == expected and peer.config.model_type == kind and not peer.training
    assert not any(info.values()), info
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokens([TEXTS[0], TEXTS[1]], padding=True, return_tensors="pt")
    assert ("token_type_ids" in batch) == (model.encoder.embeddings.token_types is not None)
    hidden = model.encoder(batch["input_ids"], batch["attention_mask"], batch.get("token_type_ids"))
    found, real = peer(**batch), batch["attention_mask"].bool()
    logits = found.prediction_logits if model.nsp_pooler else found.logits
    torch.testing.assert_close(model.mlm_logits(hidden)[real], logits[real], rtol=1e-5, atol=1e-5)
    if model.nsp_pooler:
        torch.testing.assert_close(model.nsp_logits(hidden[:, 0]), found.seq_relationship_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_the_tokenizer_gives_our_ids_with_the_special_tokens_around(name: str, tmp_path: Path, transformers) -> None:
    model, encoding, folder = exported(tmp_path, name)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    bos, eos = encoding.bos_id, encoding.eos_id
    ours = encoding.encode_batch(TEXTS)
    assert tokens(TEXTS, split_special_tokens=True)["input_ids"] == [[bos, *ids, eos] for ids in ours]
    pair = tokens(TEXTS[0], TEXTS[1])
    if model.encoder.embeddings.token_types is None:  # RoBERTa joins pairs with two separators, BERT with one
        assert pair["input_ids"] == [bos, *ours[0], eos, eos, *ours[1], eos]
    else:
        assert pair["input_ids"] == [bos, *ours[0], eos, *ours[1], eos]
        assert pair["token_type_ids"] == [0] * (len(ours[0]) + 2) + [1] * (len(ours[1]) + 1)
    special = [tokens.bos_token_id, tokens.pad_token_id, tokens.eos_token_id, tokens.unk_token_id, tokens.mask_token_id]
    assert special == [bos, encoding.pad_id, eos, encoding.unk_id, encoding.mask_id]
    assert (tokens.cls_token_id, tokens.sep_token_id, tokens.model_max_length) == (bos, eos, LENGTH)
    before = encoding.encode_batch(["the"])[0]
    assert tokens(f"the {tokens.mask_token}")["input_ids"] == [bos, *before, encoding.mask_id, eos]


@pytest.mark.parametrize("name", RUNS)
def test_there_and_back_is_bitwise(name: str, tmp_path: Path) -> None:
    model, encoding, folder = exported(tmp_path, name)
    back = model_folder.read(folder)
    assert same(back.state, dict(model.state_dict()))
    assert (back.config, back.pad_id, back.vocab_size) == (replace(CONFIG), encoding.pad_id, encoding.vocab_size)
    assert (back.kind, back.max_length) == (RUNS[name][3], LENGTH)
    assert same(dict(back.model().state_dict()), dict(model.state_dict()))
    read_again = tokenizer.load(folder)
    assert read_again.encode_batch(TEXTS) == encoding.encode_batch(TEXTS)
    assert read_again.special_ids == encoding.special_ids


# ---------------------------------------------------------------- in
def saved(transformers, tmp_path: Path, kind: str, head: str, **other: object) -> tuple[object, Path]:
    """A folder by save_pretrained, every weight random, with BERT's tokenizer beside it."""
    sizes = {
        "vocab_size": 30,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
    }
    settings = {**sizes, "max_position_embeddings": LENGTH + 2 * (kind == "Roberta"), **other}
    torch.manual_seed(4)
    model = getattr(transformers, f"{kind}For{head}")(getattr(transformers, f"{kind}Config")(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    tokenizer_folder(tmp_path / "theirs", bert_like())
    model.save_pretrained(tmp_path / "theirs")
    return model, tmp_path / "theirs"


@pytest.mark.parametrize(
    ("kind", "head", "other"),
    [
        ("Roberta", "MaskedLM", {"type_vocab_size": 1}),
        ("Roberta", "MaskedLM", {"type_vocab_size": 2, "layer_norm_eps": 1e-5}),
        ("Bert", "PreTraining", {}),
        ("Bert", "MaskedLM", {}),
        ("Bert", "PreTraining", {"pad_token_id": 7, "type_vocab_size": 3}),
    ],
)
def test_what_they_save_is_read_with_nothing_lost(
    kind: str, head: str, other: dict, tmp_path: Path, transformers
) -> None:
    """Token types that are not zeros stay, RoBERTa's one row too: the same logits, and the same tensors on the way back."""
    peer, folder = saved(transformers, tmp_path, kind, head, **other)
    found = model_folder.read(folder)
    model, ids = found.model().eval(), torch.randint(8, 30, (3, LENGTH))
    theirs = peer(ids)
    logits = theirs.prediction_logits if head == "PreTraining" else theirs.logits
    torch.testing.assert_close(model.mlm_logits(model.encoder(ids)), logits, rtol=1e-5, atol=1e-5)
    assert found.token_types == other.get("type_vocab_size", 2) and ("nsp_classifier.weight" in found.state) == (
        head == "PreTraining"
    )
    back = state_to_huggingface(found.state, found.config, found.kind)
    assert same(back, load_file(folder / "model.safetensors"))


def change(folder: Path, tensors: dict[str, object] | None = None, **config: object) -> None:
    """Other values in config.json; other tensors, where None takes one away and a function makes a new one of the old."""
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **config}))
    found = load_file(folder / "model.safetensors")
    for name, new in (tensors or {}).items():
        found[name] = new(found.get(name)) if callable(new) else new
    found = {name: tensor for name, tensor in found.items() if tensor is not None}
    save_file(found, folder / "model.safetensors")


def test_published_files_are_read_with_their_old_names_and_second_names(tmp_path: Path) -> None:
    """BERT's LayerNorms were gamma and beta; RoBERTa's file has a pooler that nothing reads; buffers were saved once."""
    for name in ("bert's own", "full_sentences"):
        (tmp_path / name).mkdir()
        model, _, folder = exported(tmp_path / name, name)
        kind = RUNS[name][3]
        found = load_file(folder / "model.safetensors")
        if kind == "bert":
            found = {
                n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
                for n, t in found.items()
            }
            found["cls.predictions.decoder.bias"] = found["cls.predictions.bias"].clone()
        else:
            found["lm_head.decoder.weight"] = found["roberta.embeddings.word_embeddings.weight"].clone()
            found["roberta.pooler.dense.weight"], found["roberta.pooler.dense.bias"] = (
                torch.ones(16, 16),
                torch.ones(16),
            )
        found[f"{kind}.embeddings.position_ids"] = torch.arange(LENGTH)[None]
        save_file(found, folder / "model.safetensors")
        assert same(model_folder.read(folder).state, dict(model.state_dict()))


def test_half_precision_is_widened_and_files_may_be_several(tmp_path: Path) -> None:
    _, _, folder = exported(tmp_path, "full_sentences")
    halves = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    names = sorted(halves)
    where = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(where.values()):
        save_file({name: halves[name] for name in names if where[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    back = model_folder.read(folder)
    widened = {name: tensor.float() for name, tensor in halves.items()}
    assert same(back.state, state_from_huggingface(widened, CONFIG, "roberta"))


WORDS = "bert.embeddings.word_embeddings.weight"
REFUSED: dict[str, tuple[dict, dict, str]] = {
    "a tensor too many": (
        {"bert.embeddings.more.weight": torch.ones(2, 2)},
        {},
        "no use for them, bert.embeddings.more",
    ),
    "one too few": ({"cls.predictions.bias": None}, {}, "lacks cls.predictions.bias"),
    "half an NSP head": ({"cls.seq_relationship.weight": None}, {}, "lacks cls.seq_relationship.weight"),
    "a layer too many": ({}, {"num_hidden_layers": 1}, r"bert.encoder.layer.1.* and 12 more"),
    "a layer too few": ({}, {"num_hidden_layers": 3}, r"lacks bert.encoder.layer.2.* and 12 more"),
    "another width": ({}, {"intermediate_size": 41}, r"of shape \(40,.*\(41,"),
    "a table that is none": ({WORDS: torch.ones(())}, {}, r"word_embeddings.weight is of shape \(\)"),
    "untied": ({"cls.predictions.decoder.weight": torch.ones(23, 16)}, {}, "models here have tied embeddings"),
    "integers": ({WORDS: lambda t: t.int()}, {}, "word_embeddings.weight: no float32"),
    "another activation": ({}, {"hidden_act": "gelu_new"}, "hidden_act=gelu_new; allowed is gelu"),
    "relative positions": ({}, {"position_embedding_type": "relative_key"}, "allowed is absolute"),
    "a decoder": ({}, {"is_decoder": True}, "is_decoder=True"),
    "another architecture": (
        {},
        {"model_type": "distilbert"},
        "model_type=distilbert is not read. Allowed: roberta, bert, xlm-roberta, camembert",
    ),
    "no sizes": ({}, {"hidden_size": None}, "hidden_size=None"),
    "heads": ({}, {"num_attention_heads": 3}, "num_attention_heads"),
    "pad": ({}, {"pad_token_id": 99}, "pad_token_id=99 is no id"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name: str, tmp_path: Path) -> None:
    _, _, folder = exported(tmp_path, "bert's own")
    tensors, config, message = REFUSED[name]
    change(folder, tensors, **config)
    with pytest.raises(ConfigError, match=message) as error:
        model_folder.read(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_positions_that_robertas_pad_would_move_are_refused(tmp_path: Path) -> None:
    _, _, folder = exported(tmp_path, "full_sentences")
    change(folder, pad_token_id=0)
    with pytest.raises(ConfigError, match="pad_token_id=0 would move RoBERTa's positions"):
        model_folder.read(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", None, "there is no config.json"),
        ("config.json", b"{", "config.json cannot be read"),
        ("config.json", b"[]", "config.json is no JSON object"),
        ("model.safetensors", None, "there is no model.safetensors"),
        ("model.safetensors", b"\x00" * 20, "model.safetensors cannot be read"),
        ("tokenizer.json", None, "holds no published vocabulary"),
    ],
)
def test_missing_and_broken_files_are_one_line(file: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    _, _, folder = exported(tmp_path, "bert's own")
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        model_folder.read(folder)


# ---------------------------------------------------------------- the folder
def test_an_export_replaces_an_export_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, folder = exported(tmp_path, "full_sentences")
    arguments = (model.state_dict(), CONFIG, tmp_path / "tokenizer", "another card\n", {})
    model_folder.write(folder, *arguments)
    assert (folder / "README.md").read_text() == "another card\n"
    assert sorted(p.name for p in folder.iterdir()) == sorted(model_folder.FILES)
    assert len({p.stat().st_mode for p in folder.iterdir()}) == 1, "who may read one file may read all"
    with monkeypatch.context() as broken:

        def fail(*_: object, **__: object) -> None:
            raise OSError("no space")

        broken.setattr(model_folder, "save_file", fail)
        with pytest.raises(OSError, match="no space"):
            model_folder.write(folder, *arguments)
    assert (folder / "README.md").read_text() == "another card\n"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is no export"):
        model_folder.write(folder, *arguments)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="exists and is no export"):
        model_folder.write(tmp_path / "file", *arguments)
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    model_folder.write(tmp_path / "empty", *arguments)
    assert {p.name for p in tmp_path.iterdir()} == {"tokenizer", "out", "file", "empty"}, "nothing half-written is left"


# ---------------------------------------------------------------- the command
@pytest.mark.usefixtures("small_source")
@pytest.mark.parametrize("input_format", ["segment_pair", "full_sentences"])
def test_export_writes_the_final_weights_of_the_run_that_the_overrides_address(
    input_format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    science = [f"input_format={input_format}", *SHORT]
    assert main.main(["export", *science, "export.path=x"]) == 2
    said = capsys.readouterr().err
    assert "is not complete: roberta-lab pretrain input_format=" in said and "export.path" not in said
    assert main.main(["pretrain", *science]) == 0
    assert main.main(["export", *science]) == 0 and main.main(["export", *science, "export.path=here/x"]) == 0
    [run] = (tmp_path / "outputs" / "pretrain").iterdir()
    assert f"outputs{os.sep}export{os.sep}{run.name}\n" in capsys.readouterr().out
    [last] = run.rglob("step-000000003.ckpt")
    weights = {k.removeprefix("model."): v for k, v in checkpoint.load(last)["state_dict"].items()}
    for folder in (tmp_path / "outputs" / "export" / run.name, tmp_path / "here" / "x"):
        found = model_folder.read(folder)
        assert same(found.state, weights) and found.kind == ("bert" if input_format == "segment_pair" else "roberta")
        card = (folder / "README.md").read_text()
        result = json.loads((run / "result.json").read_text())
        assert run.name in card and f"{result['val/ppl']:,.4g}" in card and "in place of Books + Wikipedia" in card
        assert json.loads((folder / "roberta_lab.json").read_text())["result"] == result
    last.write_bytes(last.read_bytes()[:-50])
    assert main.main(["export", *science]) == 1 and "no whole final checkpoint" in capsys.readouterr().err
