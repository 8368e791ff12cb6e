"""A user's own files: three formats, labels of both kinds, a dev split by file or by key."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks import families
from roberta_lab.tasks.items import TextItem

PAIR = {"text_a": "title", "text_b": "body", "label": "topic"}
CSV = 'topic,title,body\nnews,"One, ""two""","line\nbreak"\nart, A ,B\n'
TSV = 'topic\ttitle\tbody\nnews\tOne, "two"\tline break\nart\tA\tB\n'
ROWS = [("news", 'One, "two"', "line break"), ("art", "A", "B")]
JSONL = "\n".join(json.dumps({"topic": t, "title": a, "body": b, "more": [1]}) for t, a, b in ROWS) + "\n\n"


def task(path: Path, head: str = "classification", **options: Any) -> TaskConfig:
    return TaskConfig("text_classification", "text_classification", head, 0, "accuracy", str(path), **options)


@pytest.mark.parametrize(("name", "text"), [("csv", CSV), ("tsv", TSV), ("jsonl", JSONL)])
def test_two_columns_in_three_formats(name: str, text: str, tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.{name}").write_text(f"\ufeff{text}", encoding="utf-8")
    data = families.load(task(tmp_path, columns=PAIR), tmp_path)
    body = "line\nbreak" if name == "csv" else "line break"
    assert data.labels == ("art", "news") and data.train == data.dev
    assert data.dev == [TextItem("0", 'One, "two"', body, 1), TextItem("1", "A", "B", 0)]


def test_labels_that_are_numbers_sort_by_size_and_scores_are_regression(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,label\na,10\nb,-1\nc,2\n")
    files = {"train": "mine.csv", "dev": "mine.csv"}
    data = families.load(task(tmp_path, files=files), tmp_path)
    assert data.labels == ("-1", "2", "10") and [item.gold for item in data.dev] == [2, 0, 1]
    (tmp_path / "mine.jsonl").write_text(
        '{"text": "a", "label": 0.5, "key": "k1"}\n{"text": "b", "label": "2", "key": 7}\n'
    )
    files = {"train": "mine.jsonl", "dev": "mine.jsonl"}
    found = families.load(task(tmp_path, "regression", files=files, columns={"id": "key"}), tmp_path)
    assert found.dev == [TextItem("k1", "a", None, 0.5), TextItem("7", "b", None, 2.0)]


def test_whole_surrogate_pairs_and_escaped_backslashes_are_text(tmp_path: Path) -> None:
    rows = '{"text": "\\ud83d\\uDE00 \\\\ud83d", "label": 1}\n'
    assert load(tmp_path, train_jsonl=rows, dev_jsonl=rows).dev == [TextItem("0", "\U0001f600 \\ud83d", None, 0)]


def test_without_a_dev_file_a_tenth_of_train_is_dev(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(f"t{i}\t{'ab'[i % 2]}\n" for i in range(200)))
    (tmp_path / "test.tsv").write_text("text\nx\n")
    data = families.load(task(tmp_path), tmp_path)
    ids = [[int(item.id) for item in items] for items in (data.train, data.dev)]
    assert sorted(ids[0] + ids[1]) == list(range(200)) and len(ids[1]) == 20 and ids == [sorted(ids[0]), sorted(ids[1])]
    assert families.load(task(tmp_path), tmp_path) == data and "20 of its items, drawn by key, are dev" in data.notes[0]
    assert data.others["test"] == [TextItem("0", "x", None, None)]


@pytest.mark.parametrize(
    ("name", "text", "options", "reason"),
    [
        ("train.csv", "text,label\na,x,y\n", {}, "train.csv, line 2: 3 fields, but 2 columns"),
        ("train.csv", 'text,label\n"a"b,x\n', {}, "train.csv, line 2: no CSV"),
        ("train.csv", 'text,label\n"a,x\n', {}, "train.csv, line 2: no CSV"),
        ("train.csv", "text,label\na,\n", {}, "train.csv, line 2: the label is ''"),
        ("train.csv", "text,class\na,x\n", {}, "train.csv, line 1: no column 'label' (task.columns.label). It has: text, class"),
        ("train.csv", b"text,label\n\xff,x\n", {}, "not UTF-8"),
        ("train.jsonl", '{"text": "a", "label": 1}\n{"text": null, "label": 1}\n', {}, "line 2: 'text' is None"),
        ("train.jsonl", '{"text": "a", "label": [1]}\n', {}, "line 1: the label is [1]"),
        ("train.jsonl", "{\n", {}, "line 1: no JSON"),
        ("train.jsonl", "[1]\n", {}, "line 1: no JSON object"),
        ("train.jsonl", '{"text": "a", "label": 1}\n{"text": "\\uD83D\\\\\\uDE00", "label": 1}\n', {}, "line 2: \\uD83D is half a surrogate pair, which is no character."),
        ("train.jsonl", '{"text": "\\ud83d\\ude00 \\\\ud83d", "label": {"\\ude00": 1}}\n', {}, "line 1: \\ude00 is half a surrogate pair"),
        ("train.csv", "text,label\na,x\n", {"files": {"dev": "dev.tsv"}}, "dev.tsv, line 2: the label is 'z', which no train item has. Known: x"),
        ("train.csv", "text,label\na,x\n", {"files": {"dev": "dev.txt"}}, "the ending '.txt' is unknown"),
        ("train.csv", "text,label\na,x\n", {"columns": {"text": "a"}}, "task.columns.text: no such column. Allowed: text_a, "),
        ("train.csv", "text,label\na,x\n", {"columns": {"text_a": ""}}, "task.columns.text_a is empty"),
        ("train.csv", "text,label\na,x\n", {"head": "span"}, "task.head=span: unknown in text_classification"),
        ("train.csv", "text,label\na,x\n", {"head": "regression"}, "line 2: the score is 'x'"),
        ("other.csv", "text,label\na,x\n", {}, "has no train.csv or train.tsv or train.jsonl"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_an_error_with_its_place(
    name: str, text: str | bytes, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "dev.tsv").write_text("text\tlabel\nb\tz\n")
    (tmp_path / "dev.txt").write_text("text\tlabel\nb\tz\n")
    with pytest.raises(ConfigError) as error:
        families.load(task(tmp_path, **options), tmp_path)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_the_number_of_classes_and_the_metric_must_fit(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"a,{i % 3}\n" for i in range(30)))
    config = task(tmp_path)
    config.num_labels = 2
    with pytest.raises(ConfigError, match=r"task\.num_labels=2: 3 classes are there \(0, 1, 2\)"):
        families.load(config, tmp_path)
    config.num_labels, config.metric = 0, "f1"
    with pytest.raises(ConfigError, match=r"3 are there\. Use task\.metric=f1_macro"):
        families.load(config, tmp_path)

    (tmp_path / "train.csv").write_text("text,label\na,news\nb,news\n")
    with pytest.raises(ConfigError, match=r"^task\.metric=f1 is that of two classes, 1 is there \(news\)\. Use task"):
        families.load(config, tmp_path)
    config.metric = "f1_macro"
    assert families.load(config, tmp_path).labels == ("news",)


# ---------------------------------------------------------------- which file is which split
def test_two_files_of_one_split_are_one_line_unless_task_files_decides(tmp_path: Path) -> None:
    for label, name in enumerate(("train.csv", "dev.csv", "train.jsonl")):
        text = json.dumps({"text": "a", "label": label}) if name.endswith("l") else f"text,label\na,{label}\n"
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as error:
        families.load(task(tmp_path), tmp_path)
    both = f"{tmp_path} has train.csv and train.jsonl. Say which is train: task.files.train=train.csv."
    assert str(error.value) == f"task=text_classification: {both}"
    files = {"train": "train.jsonl", "dev": "train.jsonl"}
    assert families.load(task(tmp_path, files=files), tmp_path).labels == ("2",)


def test_an_empty_name_leaves_a_split_out_unless_it_is_needed(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n" + "a,x\n" * 20)
    found = families.load(task(tmp_path, files={"test": "", "dev": ""}), tmp_path)
    assert (len(found.train), len(found.dev), found.others) == (18, 2, {})
    with pytest.raises(
        ConfigError, match=r"^task\.files\.train is empty and leaves train out, which text_classification needs\.$"
    ):
        families.load(task(tmp_path, files={"train": ""}), tmp_path)


# ---------------------------------------------------------------- labels as people have them
def load(folder: Path, head: str = "classification", **files: str) -> Any:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return families.load(task(folder, head), folder)


@pytest.mark.parametrize("hash_seed", ["0", "1", "2"])
def test_class_numbers_are_the_same_in_every_process(hash_seed: str, tmp_path: Path) -> None:
    """Labels of one size (1, 01) and names: sets of texts have another order in every process."""
    rows = "".join(f"t,{label}\n" for label in ("1", "01", "1.0", "10", "2", "-3"))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "dev.csv").write_text(f"text,label\n{rows}")
    code = (
        "import sys; from pathlib import Path; from roberta_lab.config import TaskConfig; from roberta_lab.tasks import families;"
        "print(families.load(TaskConfig('t', 'text_classification', 'classification', 0, 'accuracy', sys.argv[1]), Path()).labels)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "('-3', '01', '1', '1.0', '2', '10')\n"


def test_labels_of_a_test_file_that_are_all_minus_one_or_empty_are_none(tmp_path: Path) -> None:
    train, own = "text,label\na,0\nb,1\n", "text,label\nc,{0}\nd,{0}\n"
    for label in ("-1", '""'):
        data = load(tmp_path, train_csv=train, dev_csv=train, test_csv=own.format(label))
        assert [item.gold for item in data.others["test"]] == [None, None] and data.labels == ("0", "1")
        data = load(tmp_path, "regression", train_csv=train, dev_csv=train, test_csv=own.format(label))
        assert [item.gold for item in data.others["test"]] == [None, None]
    signs = train.replace("a,0", "a,-1")  # -1 is a class: it is one in the test file as well
    data = load(tmp_path, train_csv=signs, dev_csv=signs, test_csv=own.format("-1"))
    assert [item.gold for item in data.others["test"]] == [0, 0]
    with pytest.raises(ConfigError, match="line 2: the label is '-1', which no train item has"):
        load(tmp_path, train_csv=train, dev_csv=train, test_csv="text,label\nc,-1\nd,1\n")
    with pytest.raises(ConfigError, match=r"dev\.csv, line 2: the label is '-1'"):
        load(tmp_path, train_csv=train, dev_csv=own.format("-1"))


def test_json_booleans_are_two_classes(tmp_path: Path) -> None:
    rows = '{"text": "a", "label": true}\n{"text": "b", "label": false}\n'
    data = load(tmp_path, train_jsonl=rows, dev_jsonl=rows)
    assert data.labels == ("false", "true") and [item.gold for item in data.dev] == [1, 0]


def test_an_index_column_in_front_changes_nothing(tmp_path: Path) -> None:
    rows = ",text,label\n7,one,x\n8,two,y\n"
    data = load(tmp_path, train_csv=rows, dev_csv=rows)
    assert [(item.text_a, item.gold) for item in data.train] == [("one", 0), ("two", 1)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv", "text,text,label\na,b,x\n"),
        ("train.tsv", "text\ttext \tlabel\na\tb\tx\n"),
        ("train.jsonl", '{"text": "a", "text": "b", "label": "x"}\n'),
    ],
)
def test_a_column_that_is_there_twice_is_refused(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}, line 1: the column 'text' is there twice"):
        load(tmp_path, **{name.replace(".", "_"): content})


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_file_in_utf_16_is_read_by_its_mark(ending: str, tmp_path: Path) -> None:
    rows = {"csv": "text,label\nÄh,x\n", "tsv": "text\tlabel\nÄh\tx\n", "jsonl": '{"text": "Äh", "label": "x"}\n'}
    for split in ("train", "dev"):
        (tmp_path / f"{split}.{ending}").write_text(rows[ending], encoding="utf-16")
    assert [item.text_a for item in families.load(task(tmp_path), tmp_path).train] == ["Äh"]
