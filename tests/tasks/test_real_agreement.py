"""Exported folders on real dev items: what transformers predicts from the raw text is what the run predicted, item for item.

Theirs is transformers' own way from text to answer: the folder's tokenizer, its pairs, windows and offsets, the class that the
folder names; only the rule that makes an answer of scores is written again here, slowly. SST-2 and WNUT-17 are all of dev,
SQuAD the first questions of dev (`QUESTIONS`). Models are small and trained for seconds: that predictions are good is not
the point, that they differ from item to item is, and is checked. Without the shared folder these tests are skipped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_finetuning import config as base_config
from test_real_tasks import FOLDERS, PACKED, load, unpacked

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe, train_wordpiece
from roberta_lab.config import ModelConfig
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import huggingface
from roberta_lab.tasks.finetuning import finetune
from roberta_lab.tasks.initial_model import InitialModel
from roberta_lab.tasks.items import Prediction, TaskData

pytestmark = pytest.mark.skipif(PACKED is None, reason=f"no data/tasks in {', '.join(map(str, FOLDERS))}")

QUESTIONS = 80  # of SQuAD's 10,570: the slow rule takes its time
MODEL = ModelConfig(2, 64, 2, 128, init_std=0.2)
VOCABULARY = 2000
SQUAD_TRAIN = "train-v1.1.du-test-44articles.json"
BATCH = 32  # of transformers


@dataclass(frozen=True)
class Run:
    """A finetuned run and its exported folder."""

    folder: Path
    items: list[Any]  # of dev
    ours: list[Prediction]
    labels: tuple[str, ...]
    max_length: int


def run(path: Path, task: str, place: Path, number: int | None = None, paired: bool = False, **options: Any) -> Run:
    """Finetuned for a few steps on the task's files; a tokenizer and an encoder of its own, with or without token types."""
    settings, data = load(task, place, num_train=200, **options)
    data = TaskData(data.train, data.dev[:number], data.labels)
    cfg = base_config(settings.head, path, epochs=1, lr=1e-4, save_model=True)
    cfg = replace(cfg, model=MODEL, task=settings)
    texts = [text for item in data.train for text in vars(item).values() if isinstance(text, str)]
    texts += [" ".join(item.words) for item in data.train if settings.head == "tagging"]
    tokenizer = (train_wordpiece if paired else train_bytelevel_bpe)(texts, VOCABULARY)
    size = Encoding(tokenizer).vocab_size
    start = InitialModel(MODEL, None, tokenizer, size, settings.max_length, 2 if paired else 0)
    found = finetune(cfg, start, data, path, lambda row: None)
    assert found.weights is not None
    facts = {"run_id": "abc", "result": RunResult("abc", "a run", 1.0, found.result).to_json()}
    kind = huggingface.write(path / "model", start, found.weights, found.head, found.labels, facts)
    assert kind == ("bert" if paired else "roberta")
    predictions = [json.loads(line) for line in (path / "predictions.jsonl").read_bytes().splitlines()]
    return Run(path / "model", data.dev, predictions, found.labels, settings.max_length)


def theirs(run: Run, name: str) -> tuple[Any, Any]:
    """Model and tokenizer of the folder; every weight has its place."""
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    model, report = getattr(library, name).from_pretrained(run.folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval(), library.AutoTokenizer.from_pretrained(run.folder)


def varied(predictions: list[int]) -> None:
    """Two classes at least are each predicted of a twentieth of the items or words."""
    counts = Counter(predictions).most_common()
    assert len(counts) > 1 and counts[1][1] > 0.05 * len(predictions), counts[:5]


# ---------------------------------------------------------------- classes of texts
def classes(run: Run) -> Iterator[tuple[str, list[float]]]:
    """The name of each item's class, and its logits."""
    model, tokens = theirs(run, "AutoModelForSequenceClassification")
    for i in range(0, len(run.items), BATCH):
        texts = [item.text_a for item in run.items[i : i + BATCH]]
        batch = tokens(texts, truncation=True, max_length=run.max_length, padding=True, return_tensors="pt")
        with torch.no_grad():
            for row in model(**batch).logits:
                yield model.config.id2label[int(row.argmax())], row.tolist()


# ---------------------------------------------------------------- classes of words
def tags(run: Run) -> Iterator[list[str]]:
    """The class of each word, at its first token in the running text."""
    model, tokens = theirs(run, "AutoModelForTokenClassification")
    for item in run.items:
        batch = tokens(" ".join(item.words), return_offsets_mapping=True, return_tensors="pt")
        starts = [start for start, _ in batch.pop("offset_mapping")[0].tolist()][1:-1]
        assert len(starts) + 2 <= run.max_length, "no windows in this data"
        with torch.no_grad():
            chosen = model(**batch).logits[0, 1:-1].argmax(-1).tolist()
        at, found = 0, []
        for word in item.words:
            first = next(n for n, start in enumerate(starts) if start >= max(0, at - 1))  # with the blank before it
            found.append(model.config.id2label[chosen[first]])
            at += len(word) + 1
        yield found


# ---------------------------------------------------------------- answers
def answers(run: Run, most_tokens: int = 30) -> Iterator[str]:
    """The best span of all windows: 64 tokens of question at most, a quarter of an input from window to window."""
    model, tokens = theirs(run, "AutoModelForQuestionAnswering")
    specials = tokens.num_special_tokens_to_add(pair=True)
    for item in run.items:
        ends = tokens(item.question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        question, length = item.question[: ends[:64][-1][1]], min(64, len(ends))
        assert len(tokens(question, add_special_tokens=False)["input_ids"]) == length, (
            "the cut question has these tokens"
        )
        overlap = run.max_length - specials - length - run.max_length // 4
        options = {"truncation": "only_second", "max_length": run.max_length, "stride": overlap, "padding": True}
        batch = tokens(question, item.context, return_overflowing_tokens=True, return_offsets_mapping=True, return_tensors="pt", **options)  # fmt: skip
        inside = [[part == 1 for part in batch.sequence_ids(i)] for i in range(len(batch["input_ids"]))]
        offsets = batch.pop("offset_mapping").tolist()
        batch.pop("overflow_to_sample_mapping")
        with torch.no_grad():
            found = model(**batch)
        best = (-torch.inf, "")
        for i, context in enumerate(inside):
            allowed = torch.tensor([True, *context[1:]])  # <s>, where windows without an answer point
            first, last = (x[i].masked_fill(~allowed, -torch.inf).log_softmax(0) for x in (found.start_logits, found.end_logits))  # fmt: skip
            sums = (first[:, None] + last).masked_fill(
                ~torch.tensor(context)[:, None] | ~torch.tensor(context), -torch.inf
            )
            sums = sums.masked_fill(torch.ones_like(sums).triu().tril(most_tokens - 1) == 0, -torch.inf)
            a, b = divmod(int(sums.argmax()), len(context))
            best = max(best, (float(sums[a, b]), item.context[offsets[i][a][0] : offsets[i][b][1]].strip()))
        yield best[1]


# ---------------------------------------------------------------- all of them
@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("tasks"))


def test_every_sst2_dev_item_gets_the_same_class(shared: Path, tmp_path: Path) -> None:
    made = run(tmp_path, "sst2", shared / "glue")
    assert len(made.items) == 872
    varied([p["prediction"] for p in made.ours])
    for item, ours, (name, logits) in zip(made.items, made.ours, classes(made), strict=True):
        assert made.labels[ours["prediction"]] == name, item
        assert ours["logits"] == pytest.approx(logits, abs=1e-4), item


def test_every_wnut17_dev_word_gets_the_same_class(shared: Path, tmp_path: Path) -> None:
    made = run(tmp_path, "wnut17", shared / "ner", max_length=256)
    assert len(made.items) == 1_009
    varied([number for p in made.ours for number in p["prediction"]])
    for item, ours, names in zip(made.items, made.ours, tags(made), strict=True):
        assert [made.labels[number] for number in ours["prediction"]] == names, item


@pytest.mark.parametrize("paired", [False, True], ids=["roberta", "bert"])
def test_squad_dev_questions_get_the_same_answers(paired: bool, shared: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_length": 192, "files": {"train": SQUAD_TRAIN}}
    made = run(tmp_path, "squad1", shared / "squad", QUESTIONS, paired, **options)
    assert len(set(answers_of(made))) > QUESTIONS // 5
    assert answers_of(made) == list(answers(made))


def answers_of(made: Run) -> list[str]:
    return [p["prediction"] for p in made.ours]
