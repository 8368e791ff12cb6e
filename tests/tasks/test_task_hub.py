"""Tasks from hub datasets, whose shapes differ from the files': the same items, from a hub on this machine."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hub_reader import reading_process
from hub_server import Hub, Repository
from split_sizes import counts

from roberta_lab.config import ConfigError, HubConfig, TaskConfig
from roberta_lab.tasks import families
from roberta_lab.tasks.items import Choice, Span, Tagging, TextItem

PINNED = "0123456789" * 4
Call = Callable[..., Any]


def parquet(columns: dict[str, list[Any]], **classes: list[str]) -> bytes:
    """A file as the hub's own tools write it: `classes` are names of a column's numbers, or of those in its lists."""
    import datasets

    table = datasets.Dataset.from_dict(columns)
    features = table.features.copy()
    for name, names in classes.items():
        label = datasets.ClassLabel(names=names)
        features[name] = datasets.List(label) if isinstance(columns[name][0], list) else label
    stream = io.BytesIO()
    table.cast(features).to_parquet(stream)
    return stream.getvalue()


def card(**subsets: list[str]) -> bytes:
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: {name}/{split}.parquet\n" for split in splits)
        for name, splits in subsets.items()
    )
    return f"---\nlicense: mit\nconfigs:\n{configs}---\n".encode()


def repositories() -> dict[str, Repository]:
    mnli = {"premise": ["A ", "C"], "hypothesis": ["B", "D"], "label": [2, 0], "idx": [0, 1]}
    splits = ["train", "validation_matched", "validation_mismatched", "test_matched"]
    glue = {
        f"mnli/{split}.parquet": parquet({**mnli, "label": [-1, -1]} if "test" in split else mnli) for split in splits
    }
    stsb = {"sentence1": ["A"], "sentence2": ["B"], "label": [3.5], "idx": [7]}
    for split in ("train", "validation", "test"):
        glue[f"stsb/{split}.parquet"] = parquet({**stsb, "label": [-1.0]} if split == "test" else stsb)
    glue["README.md"] = card(mnli=splits, stsb=["train", "validation", "test"])
    answers = [{"text": ["Bern", "in Bern"], "answer_start": [3, 0]}, {"text": [], "answer_start": []}]
    squad = {
        "id": ["a", "b"],
        "title": ["t"] * 2,
        "context": ["in Bern"] * 2,
        "question": ["Where?", "Why?"],
        "answers": answers,
    }
    race = {
        "example_id": ["high3.txt", "high3.txt", "middle4.txt"],
        "article": ["Text."] * 3,
        "answer": ["A", "D", "B"],
        "question": ["It is _ .", "What?", "Who?"],
        "options": [["a", "b", "c", "d"]] * 3,
    }
    tags = {"id": ["0", "1"], "tokens": [["Bern", "is"], ["Peter"]], "ner_tags": [[2, 0], [1]]}
    names = {"ner_tags": ["O", "B-PER", "B-LOC"]}
    own = {"review": ["good", "bad", "fine"], "stars": [1, 0, 1]}
    signs = {"text": ["bad", "so", "good"], "label": [-1, 0, 1]}

    def both(content: bytes, dev: str = "validation") -> dict[str, bytes]:
        return {f"data/{split}-00000-of-00001.parquet": content for split in ("train", dev)}

    commits = {
        "owner/glue": glue,
        "owner/squad": both(parquet(squad)),
        "owner/race": {"README.md": card(all=["train", "validation"]), "all/train.parquet": parquet(race), "all/validation.parquet": parquet(race)},
        "owner/ner": both(parquet(tags, **names)),
        "owner/untold": both(parquet(tags)),
        "owner/own": {"data/train.parquet": parquet({key: values * 5 for key, values in own.items()}, stars=["bad", "good"])},
        "owner/signs": {f"data/{split}.parquet": parquet(signs) for split in ("train", "validation", "test")},
        "owner/scores": {
            f"data/{split}.parquet": parquet({**signs, "label": [-1.0] * 3 if split == "test" else [-0.5, 0.5, 1.0]})
            for split in ("train", "validation", "test")
        },
        "owner/wrong": both(parquet({"sentence1": ["A"], "sentence2": ["B"], "label": [2], "idx": [7]})),
    }  # fmt: skip
    return {name: Repository({PINNED: files}) for name, files in commits.items()}


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """tasks.load(...) in a process of its own, which knows no other hub than this one."""
    pytest.importorskip("datasets")
    home = tmp_path_factory.mktemp("home")
    with Hub(repositories()) as there, reading_process(there.url, home) as process:
        yield lambda task: process.submit(families.load, task, home).result(60)


def task(name: str, family: str, head: str, path: str, subset: str | None = None, **options: Any) -> TaskConfig:
    metrics = {"regression": "pearson", "span": "f1", "tagging": "f1"}
    hub = HubConfig(path, PINNED, subset)
    return TaskConfig(name, family, head, 0, metrics.get(head, "accuracy"), hub=hub, **options)


def test_glue_s_subsets_and_labels(call: Call) -> None:
    data = call(task("mnli", "glue", "classification", "owner/glue"))
    items = [TextItem("0", "A", "B", 2), TextItem("1", "C", "D", 0)]
    hidden = [TextItem("0", "A", "B", None), TextItem("1", "C", "D", None)]
    assert (data.train, data.dev, data.others) == (items, items, {"dev_mm": items, "test": hidden})
    assert data.labels == ("entailment", "neutral", "contradiction")
    assert "owner/glue/validation_matched: 2 items; the official validation_matched has 9,815." in data.notes
    data = call(task("stsb", "glue", "regression", "owner/glue"))
    assert data.dev == [TextItem("7", "A", "B", 3.5)] and data.others["test"] == [TextItem("7", "A", "B", None)]


def test_squad_s_lists_of_answers(call: Call) -> None:
    data = call(task("squad2", "squad", "span", "owner/squad"))
    assert data.dev == [
        Span("a", "Where?", "in Bern", (3, 7), ("Bern", "in Bern")),
        Span("b", "Why?", "in Bern", None),
    ]
    with pytest.raises(ConfigError, match="question b has no answer, which squad1 always has"):
        call(task("squad1", "squad", "span", "owner/squad"))


def test_race_s_rows_are_questions(call: Call) -> None:
    data = call(task("race", "race", "choice", "owner/race"))
    asked = ("What? a", "What? b", "What? c", "What? d")
    assert data.dev[1] == Choice("high/3:1", "Text.", asked, 3, "high") and data.dev[0].choices[0] == "It is a ."
    assert [(item.id, item.group, item.gold) for item in data.dev] == [("high/3:0", "high", 0), ("high/3:1", "high", 3), ("middle/4:0", "middle", 1)]  # fmt: skip


def test_tags_are_numbers_with_names(call: Call) -> None:
    data = call(task("ner_conll2003", "ner", "tagging", "owner/ner"))
    assert data.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert data.dev == [Tagging("0", ("Bern", "is"), (1, 0)), Tagging("1", ("Peter",), (3,))]
    with pytest.raises(ConfigError, match=r"owner/untold/train: row 1: .*tags without names"):
        call(task("ner_conll2003", "ner", "tagging", "owner/untold"))


def test_a_user_s_own_dataset_without_dev(call: Call) -> None:
    own = task("text_classification", "text_classification", "classification", "owner/own", columns={"text_a": "review", "label": "stars"})  # fmt: skip
    data = call(own)
    assert data.labels == ("bad", "good") and counts(data) == {"train": 13, "dev": 2}
    assert all(item.gold == (item.text_a != "bad") for item in [*data.train, *data.dev])


def test_minus_one_is_a_class_where_train_has_it(call: Call) -> None:
    found = call(task("text_classification", "text_classification", "classification", "owner/signs"))
    assert found.labels == ("-1", "0", "1") and found.others["test"] == found.dev
    assert [item.gold for item in found.dev] == [0, 1, 2]
    found = call(task("text_classification", "text_classification", "regression", "owner/scores"))
    assert [item.gold for item in found.others["test"]] == [None] * 3 and found.dev[0].gold == -0.5


def test_an_empty_name_leaves_a_split_out(call: Call) -> None:
    data = call(task("stsb", "glue", "regression", "owner/glue", files={"test": ""}))
    assert data.others == {} and len(data.dev) == 1


def test_what_does_not_fit_is_one_line(call: Call) -> None:
    for wrong, expected in (
        (task("rte", "glue", "classification", "owner/wrong", "default"), "row 1: the label is 2. Allowed: 0 to 1"),
        (task("rte", "glue", "classification", "owner/glue"), "has no subset 'rte'. Allowed: mnli, stsb"),
        (task("stsb", "glue", "regression", "owner/glue", files={"dev": "dev"}), "has no split dev. It has: train, validation, test"),
        (task("stsb", "glue", "regression", "owner/glue", files={"dev": ""}), "task.files.dev is empty and leaves dev out, which stsb needs"),
        (task("sst2", "glue", "classification", "owner/wrong", "default"), "has no field 'sentence'"),
        (task("pydoc_pair", "pydoc", "classification", "owner/glue"), "family pydoc is not read from the hub"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as error:
            call(wrong)
        assert expected in str(error.value) and "\n" not in str(error.value)
