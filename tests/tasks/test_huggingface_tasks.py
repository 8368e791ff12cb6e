"""A finetuned model's folder: the class of transformers for the task loads all of it, and predicts the same of every item."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_finetuning import config, data_of, finetune, read, start_of, trained
from tokenizers import Tokenizer

from roberta_lab.config import ConfigError
from roberta_lab.model.huggingface import model_folder
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import huggingface
from roberta_lab.tasks.feature_table import packed
from roberta_lab.tasks.features import PairFormat, generate
from roberta_lab.tasks.finetuning import Finetuned
from roberta_lab.tasks.heads.span import Window, best_answers
from roberta_lab.tasks.initial_model import InitialModel

CLASSES = {
    "classification": "SequenceClassification",
    "regression": "SequenceClassification",
    "choice": "MultipleChoice",
    "span": "QuestionAnswering",
    "tagging": "TokenClassification",
}
FORMATS = {"roberta": "full_sentences", "bert": "segment_pair"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return trained()


@pytest.fixture
def transformers(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    library.logging.enable_propagation()  # to caplog
    yield library
    library.logging.disable_propagation()
    assert not [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING]


def exported(head: str, kind: str, tokenizer: Tokenizer, path: Path) -> tuple[InitialModel, Finetuned, Path]:
    cfg = config(head, path, input_format=FORMATS[kind], epochs=2, save_model=True)
    start, data = start_of(cfg, tokenizer), data_of(head)
    found = finetune(cfg, start, data, path, lambda row: None)
    facts = {"run_id": "abc", "result": RunResult("abc", "a run", 1.0, found.result).to_json()}
    assert found.weights is not None
    assert huggingface.write(path / "model", start, found.weights, found.head, found.labels, facts) == kind
    return start, found, path / "model"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("head", CLASSES)
def test_transformers_loads_the_model_and_predicts_the_same(
    head: str,
    kind: str,
    tokenizer: Tokenizer,
    tmp_path: Path,
    transformers: Any,
) -> None:
    start, found, folder = exported(head, kind, tokenizer, tmp_path)
    loader = getattr(transformers, f"AutoModelFor{CLASSES[head]}")
    theirs, report = loader.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    theirs.eval()
    items, ours = data_of(head).dev, read(tmp_path / "predictions.jsonl")
    table = packed(generate(head, items, start.encoding, PairFormat(32, start.paired)))
    with_odds = found.head == "span with answerability"
    windows: list[Window] = []
    for row in range(len(table)):
        batch = {k: torch.from_numpy(v) for k, v in table.batch(np.array([row]), 1).items()}
        inputs = {"input_ids": batch["input_ids"]} | (
            {"token_type_ids": batch["token_type_ids"]} if start.paired else {}
        )
        if head == "choice":
            inputs = {k: v[None] for k, v in inputs.items()} | {"attention_mask": batch["attention_mask"][None].long()} if "attention_mask" in batch else {k: v[None] for k, v in inputs.items()}  # fmt: skip
        with torch.no_grad():
            output = theirs(**inputs)
        expected = ours[int(table.item[row])]
        if head == "tagging":
            tags = output.logits[0].argmax(-1)
            assert all(expected["prediction"][word] == tags[token] for token, word in table.places_of(row))
        elif head == "span":
            assert with_odds
            ends = torch.stack([output.start_logits, output.end_logits], -1)
            ends = ends.masked_fill(~batch["context"][:, :, None], -torch.inf).log_softmax(1)
            windows.append((np.array([row]), ends.numpy(), None))
        elif head == "regression":
            assert expected["prediction"] == pytest.approx(output.logits.item(), abs=1e-5)
        else:
            assert expected["prediction"] == int(output.logits.argmax())
            assert expected["logits"] == pytest.approx(output.logits[0].tolist(), abs=1e-5)
    if head == "span":
        assert [a["answer"] for a in best_answers(items, table, 30, windows)] == [p["answer"] for p in ours]
    if head in ("classification", "tagging"):
        assert tuple(theirs.config.id2label.values()) == found.labels


def test_whether_there_is_an_answer_lies_beside_the_model(tokenizer: Tokenizer, tmp_path: Path) -> None:
    start, found, folder = exported("span", "roberta", tokenizer, tmp_path)
    beside = load_file(folder / huggingface.ANSWERABILITY)
    assert beside.keys() == {f"classifier.{layer}.{part}" for layer in ("dense", "out") for part in ("weight", "bias")}
    assert torch.equal(beside["classifier.out.weight"], found.weights["head.classifier.out.weight"])
    assert huggingface.ANSWERABILITY in (folder / "README.md").read_text()
    # written once more over the first, another head's file does not stay
    facts = {"run_id": "abc", "result": RunResult("abc", "a run", 1.0, found.result).to_json()}
    weights = {k: v for k, v in found.weights.items() if "classifier" not in k}
    huggingface.write(folder, start, weights, "span", (), facts)
    assert not (folder / huggingface.ANSWERABILITY).exists()


# ---------------------------------------------------------------- folders to start from
def pretrained(kind: str, tokenizer: Tokenizer, path: Path) -> tuple[InitialModel, Path]:
    start = start_of(config("span", input_format=FORMATS[kind]), tokenizer)
    path.mkdir()
    tokenizer.save(str(path / "tokenizer.json"))
    state = {f"encoder.{k}": v for k, v in start.weights.items()}
    model_folder.write(path / "folder", state, start.model, path, "", {})
    return start, path / "folder"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_is_a_starting_point_with_its_own_sizes_tokenizer_and_pair_format(
    kind: str,
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    start, folder = pretrained(kind, tokenizer, tmp_path / kind)
    found = InitialModel.from_folder(str(folder))
    assert (found.model, found.vocab_size, found.max_length) == (start.model, 290, 32)
    assert found.paired == (kind == "bert") and found.weights.keys() == start.weights.keys()
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in start.weights.items())
    text = "red circle"
    assert found.encoding.encode_batch([text]) == start.encoding.encode_batch([text])
    assert InitialModel.from_folder(str(folder)).weights["embeddings.tokens.weight"].data_ptr() == found.weights["embeddings.tokens.weight"].data_ptr(), "read once"  # fmt: skip


def test_a_tokenizer_that_does_not_fit_a_folder_is_an_error_in_one_line(
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> None:
    _, folder = pretrained("roberta", tokenizer, tmp_path / "x")
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["model"]["vocab"] |= {f"more{i}": 290 + i for i in range(5)}
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(
        ConfigError, match=r"^pretrained\.path=.*ids up to 294, but the embedding has 290 rows"
    ) as error:
        InitialModel.from_folder(str(folder))
    assert "\n" not in str(error.value)
    os.remove(folder / "model.safetensors")
    with pytest.raises(ConfigError, match=r"no model\.safetensors"):
        InitialModel.from_folder(str(folder))
