"""Every task file of the shared folder, read; counts compared with the sources' own and with other readers.

Hand-made files hold what their author thought of. The files are not part of the project: without a folder `shared` near the
checkout, or ROBERTA_LAB_SHARED, these tests are skipped. Where the files are whole, notes say nothing; where they are parts,
they say so.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from split_sizes import counts

from roberta_lab.config import TaskConfig
from roberta_lab.runs.options import CONF
from roberta_lab.tasks import families
from roberta_lab.tasks.items import Choice, Span, Tagging, TextItem
from roberta_lab.tasks.metrics import constant_predictions, score

NEAR = [parent / "shared" for parent in Path(__file__).parents[2:5]]
FOLDERS = [Path(os.environ["ROBERTA_LAB_SHARED"])] if "ROBERTA_LAB_SHARED" in os.environ else NEAR
PACKED = next((f / "data" / "tasks" for f in FOLDERS if (f / "data" / "tasks").is_dir()), None)
pytestmark = pytest.mark.skipif(PACKED is None, reason=f"no data/tasks in {', '.join(map(str, FOLDERS))}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("tasks"))


def unpacked(folder: Path, names: str = "*") -> Path:
    """The archives of the shared folder, in `folder`."""
    zstandard = pytest.importorskip("zstandard")
    assert PACKED is not None
    for packed in PACKED.glob(f"{names}.tar.zst"):
        with open(packed, "rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as plain:
            content = io.BytesIO(plain.read())
        with tarfile.open(fileobj=content) as files:
            files.extractall(folder, filter="data")
    return folder


def load(name: str, path: Path, **options: Any) -> tuple[TaskConfig, families.TaskData]:
    settings = OmegaConf.merge(OmegaConf.structured(TaskConfig), OmegaConf.load(CONF / "task" / f"{name}.yaml"))
    task = OmegaConf.to_object(OmegaConf.merge(settings, {"path": str(path), **options}))
    assert isinstance(task, TaskConfig)
    return task, families.load(task, path)


def rows(path: Path, header: bool = True) -> int:
    """Rows as the csv module counts them, with quoting off."""
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        found = sum(1 for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row)
    return found - header


WHOLE = {
    "cola": ("CoLA", (8_551, 1_043, 1_063), 69.12752),
    "sst2": ("SST-2", (67_349, 872, 1_821), 50.91743),
    "mrpc": ("MRPC", (3_668, 408, 1_725), 68.38235),
    "stsb": ("STS-B", (5_749, 1_500, 1_379), None),
    "rte": ("RTE", (2_490, 277, 3_000), 52.70758),
    "wnli": ("WNLI", (635, 71, 146), 56.33803),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_glue_tasks_have_the_official_counts(name: str, shared: Path) -> None:
    folder, official, majority = WHOLE[name]
    task, data = load(name, shared / "glue")
    assert tuple(counts(data).values()) == official and not data.notes
    for split, number in counts(data).items():
        headed = name != "cola" or split == "test"
        assert rows(shared / "glue" / folder / f"{split}.tsv", headed) == number
    accuracy = score(task, data.dev, constant_predictions(task, data)).get("accuracy")
    assert accuracy == (None if majority is None else pytest.approx(majority, abs=1e-4))
    for item in [*data.train, *data.dev]:
        assert isinstance(item, TextItem) and item.text_a
        assert name == "stsb" or item.gold is not None
    assert len({item.id for item in data.train}) == len(data.train)


PARTS: list[tuple[str, str, dict[str, str], tuple[int, ...]]] = [
    ("qnli", "QNLI", {"train": "train.10k.tsv"}, (9_999, 5_463, 5_463)),
    ("qqp", "QQP", {"train": "train.31k.tsv", "dev": "dev.wang10k.tsv", "test": "test.wang10k.tsv"}, (31_148, 10_000, 10_000)),
    ("mnli", "MNLI", {"train": "train.10k.tsv"}, (9_999, 9_815)),
    ("mnli", "MNLI", {"train": "official_columns_sample.train.tsv", "dev": "official_columns_sample.dev_matched.tsv"}, (240, 240)),
    ("mrpc", "MRPC", {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}, (3_668, 408, 1_725)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "folder", "files", "expected"), PARTS)
def test_parts_of_glue_tasks(name: str, folder: str, files: dict[str, str], expected: Any, shared: Path) -> None:
    _, data = load(name, shared / "glue" / folder, files=files)
    found = counts(data)
    assert tuple(found.values()) == expected and not data.notes
    for split, file in files.items():
        held_out = 408 if file == "msr_paraphrase_train.txt" else 0
        assert rows(shared / "glue" / folder / file) == found[split] + held_out
    assert len({item.id for item in data.dev}) == len(data.dev)


def test_raw_mrpc_gives_glue_s_own_train_items(shared: Path) -> None:
    texts = []
    for files in ({}, {"train": "msr_paraphrase_train.txt"}):
        _, data = load("mrpc", shared / "glue", files=files)
        texts.append([(item.text_a, item.text_b, item.gold) for item in data.train])
    assert sorted(texts[0]) == sorted(texts[1])


def test_mnli_s_json_lines_are_read_as_a_user_s_own(shared: Path) -> None:
    path = shared / "glue" / "MNLI"
    columns = {"text_a": "premise", "text_b": "hypothesis", "id": "index"}
    files = {"train": "dev_matched.tokenized.jsonl", "dev": "dev_matched.tokenized.jsonl"}
    _, data = load("text_classification", path, files=files, columns=columns)
    _, original = load("mnli", path, files={"train": "train.10k.tsv"})
    assert data.labels == ("contradiction", "entailment", "neutral") and len(data.dev) == 9_815
    ours, theirs = ([(d.labels[i.gold], i.id) for i in d.dev] for d in (data, original))
    assert ours == theirs


SQUAD = {
    "dev-v1.1.json": ("squad1", 10_570, 0),
    "dev-v2.0.json": ("squad2", 11_873, 5_945),
    "train-v1.1.du-test-44articles.json": ("squad1", 11_877, 0),
    "train-v2.0.first10articles.json": ("squad2", 4_719, 348),
}


@pytest.mark.parametrize("file", SQUAD)
def test_squad_files_and_the_places_of_their_answers(file: str, shared: Path) -> None:
    name, number, unanswerable = SQUAD[file]
    task, data = load(name, shared, files={"train": file, "dev": file})
    assert len(data.dev) == number and not data.notes
    raw = json.loads((shared / "squad" / file).read_text(encoding="utf-8"))["data"]
    questions = [(p["context"], q) for article in raw for p in article["paragraphs"] for q in p["qas"]]
    assert sum(isinstance(item, Span) and item.answer is None for item in data.dev) == unanswerable
    for item, (context, question) in zip(data.dev, questions, strict=True):
        assert isinstance(item, Span)
        assert (item.id, item.context) == (question["id"], context)
        assert item.answers == tuple(answer["text"] for answer in question["answers"])
        assert item.answer_text == (item.answers[0] if item.answers else "")
    if file == "dev-v2.0.json":
        found = score(task, data.dev, constant_predictions(task, data))
        assert found["f1"] == found["exact"] == 100 * 5_945 / 11_873


def test_race_has_the_official_dev(shared: Path) -> None:
    _, data = load("race", shared)
    assert counts(data) == {"train": 14_389, "dev": 4_887}
    groups = [item.group for item in data.dev if isinstance(item, Choice)]
    assert groups.count("middle") == 1_436 and groups.count("high") == 3_451
    assert [note.split(":")[1].split(";")[0] for note in data.notes] == [" 6,017 items", " 8,372 items"]
    in_files = sum(
        len(json.loads(path.read_bytes())["questions"]) for path in (shared / "RACE" / "train").rglob("*.txt")
    )
    assert in_files == 14_389


def test_wnut17_has_the_official_counts_and_entities(shared: Path) -> None:
    task, data = load("wnut17", shared / "ner")
    assert counts(data) == {"train": 3_394, "dev": 1_009, "test": 1_287} and not data.notes
    file = (shared / "ner" / "wnut17" / "emerging.test.annotated").read_bytes().decode()
    begins = sum("\tB-" in line for line in file.split("\n"))
    found = [item for item in data.others["test"] if isinstance(item, Tagging)]
    labels = np.array([number for item in found for number in item.gold or ()])
    assert begins == 1_079 == (labels % 2 == 1).sum() and sum(len(i.words) for i in found) == 23_394
    right = [{"id": item.id, "prediction": list(item.gold or ())} for item in found]
    assert score(task, found, right) == {"precision": 100.0, "recall": 100.0, "f1": 100.0, "accuracy": 100.0}
