"""Tasks of the embedded corpus: no module in both splits, labels that are what they say; features and metrics by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composed_jobs import config
from omegaconf import OmegaConf

from roberta_lab.axes.tokenizer import Encoding, train_bytelevel_bpe
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data.corpus import parts
from roberta_lab.runs.options import CONF
from roberta_lab.tasks import families, zero_shot
from roberta_lab.tasks.families import pydoc
from roberta_lab.tasks.families.pydoc import described_parameters
from roberta_lab.tasks.heads import HEADS
from roberta_lab.tasks.metrics import constant_predictions, exact_match, score, token_f1

GOOGLE = "Do it.\n\nArgs:\n    alpha (int): the first of them,\n        on two lines\n    beta: the second\n\nReturns:\n    gamma: no parameter\n"
NUMPY = "Do it.\n\nParameters\n----------\nalpha : int\n    The first of them,\n    on two lines\nbeta : int, optional\n    The second.\n\nReturns\n-------\ngamma : int\n    No parameter.\n"
REST = "Do it.\n\n:param alpha: the first of them,\n    on two lines\n:param int beta: the second\n:returns: nothing\n"


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return Encoding(train_bytelevel_bpe(iter(["alpha beta gamma delta the of which is"] * 5), 290))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sixty modules of four packages, a third held out, with one sentence that is everywhere."""
    path = tmp_path
    documents: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    docstrings = []
    for i in range(60):
        package, held_out = pydoc.PACKAGES[i % 4], i % 3 == 0
        own = [f"The module number {i} says {package} in its own words number {j}." for j in range(3)]
        documents[held_out].append(
            {"id": f"m{i}", "title": "", "package": package, "sentences": ["Everywhere the same five words.", *own]}
        )
        for j in range(3):
            text = f"Return the value {i} of part {j}. It is computed in the way number {i} and {j} of all ways.\n\nArgs:\n    first{i}: the input number {i} of {j}\n    second{j}: the other input {i} of {j}\n"
            docstrings.append(
                {
                    "module": f"m{i}",
                    "package": package,
                    "qualname": f"f{j}",
                    "kind": "function",
                    "text": text,
                    "params": [],
                    "held_out": held_out,
                }
            )
    (path / "parts").mkdir()
    records = np.zeros(60, parts.RECORD)
    records["held_out"] = np.arange(60) % 3 == 0
    np.save(path / "parts" / "0-0.records.npy", records)
    for split, held_out in (("train", False), ("validation", True)):
        (path / "parts" / f"0-0.{split}.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents[held_out]))
    (path / "docstrings.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docstrings))
    return path


NAMES = ("pydoc_topic", "pydoc_pair", "pydoc_span", "pydoc_choice")


def load(name: str, corpus: Path, **options: Any) -> families.TaskData:
    return families.load(TaskConfig(name, "pydoc", "x", 0, "accuracy", **options), corpus)


def majority(data: families.TaskData, head: str = "classification", metric: str = "accuracy") -> float:
    task = TaskConfig("pydoc", "pydoc", head, metric=metric)
    return score(task, data.dev, constant_predictions(task, data))[metric]


def held_out(item: Any) -> bool:
    return int(item.id.split(":")[0][1:]) % 3 == 0


@pytest.mark.parametrize("name", NAMES)
def test_dev_items_come_from_held_out_modules_only(name: str, corpus: Path) -> None:
    data = load(name, corpus)
    assert len(data.train) > 20 and len(data.dev) > 10
    assert not any(map(held_out, data.train)) and all(map(held_out, data.dev))
    assert load(name, corpus) == data, "items do not depend on the run"
    assert load(name, corpus, num_train=7, num_dev=5).train == data.train[:7]


def test_topics_are_balanced_and_no_text_is_in_both_splits(corpus: Path) -> None:
    data = load("pydoc_topic", corpus)
    assert majority(data) == 25.0 and data.labels == pydoc.PACKAGES
    for items in (data.train, data.dev):
        assert set(np.bincount([item.gold for item in items])) == {len(items) // 4}
    texts = [{item.text_a for item in items} for items in (data.train, data.dev)]
    assert not texts[0] & texts[1]
    assert all(item.text_a.split()[5] == pydoc.PACKAGES[item.gold] for item in data.dev if "module" in item.text_a)


def test_pairs_are_half_true_and_false_lines_are_of_the_same_package(corpus: Path) -> None:
    data = load("pydoc_pair", corpus)
    assert majority(data) == 50.0
    for item in data.dev:
        value = item.text_b.split()[7]  # "It is computed in the way number I ..."
        line_of = item.text_a.split()[3 if item.gold else 7]
        assert (value == line_of and held_out(item)) if item.gold else item.text_a not in item.text_b
        if not item.gold:
            assert int(line_of) % 4 == int(value) % 4, "another package"
    false_lines = [item.text_a for item in data.dev if not item.gold]
    assert len(set(false_lines)) == len(false_lines), "each is used once"


def test_one_of_four_choices_is_the_summary(corpus: Path) -> None:
    data = load("pydoc_choice", corpus)
    for item in data.dev:
        own = item.text.split()[7]
        assert item.choices[item.gold].startswith(f"Return the value {own} of")
        assert len(set(item.choices)) == 4
    assert len({item.gold for item in data.dev}) == 4
    most = max(np.bincount([item.gold for item in data.dev]))
    assert majority(data, "choice") == pytest.approx(100 * most / len(data.dev))


def test_spans_are_descriptions_and_a_third_has_none(corpus: Path) -> None:
    data = load("pydoc_span", corpus)
    answered = [item for item in data.dev if item.answer]
    assert len(answered) == 2 * (len(data.dev) - len(answered))
    for item in answered:
        assert f"{item.question}: {item.answer_text}" in item.context
        assert item.answer_text.startswith(("the input number", "the other input"))
    assert all(item.question not in item.context for item in data.dev if not item.answer)
    assert majority(data, "span", "em") == pytest.approx(100 / 3), "no answer; first words are none, but have some F1"


@pytest.mark.parametrize(("text", "first"), [(GOOGLE, "the first of them, on two lines"), (REST, "the first of them, on two lines"), (NUMPY, "The first of them, on two lines")])  # fmt: skip
def test_three_styles_of_parameters_are_read(text: str, first: str) -> None:
    section, entries = described_parameters(text)
    assert list(entries) == ["alpha", "beta"] and entries["alpha"] == first
    assert all(description in section for description in entries.values())
    assert "no parameter" not in section.lower()


def test_parameters_with_the_same_words_have_their_own_places() -> None:
    context = "left: the size of x right: the size of x"
    entries = {"left": "the size of x", "right": "the size of x"}
    items = pydoc._questions("f", context, entries, [], np.random.default_rng(0))
    assert {item.question: item.answer for item in items} == {"left": (6, 19), "right": (27, 40)}


def test_a_sentence_of_one_body_is_in_one_split_only(corpus: Path) -> None:
    """Two docstrings, one held out, differ but for the first sentence of their bodies, which serves as a false line."""
    with open(corpus / "docstrings.jsonl") as file:
        first = json.loads(file.readline())
    shared = "All of it is computed in place."
    more = [
        first
        | {"module": module, "held_out": held_out, "text": f"Return the {word} of it.\n\n{shared} So it is {word}."}
        for module, held_out, word in (("m3", True, "cosine"), ("m1", False, "sine"))
    ]
    more.append(
        first
        | {"module": "m1", "held_out": False, "text": "Do it in one go.\n\nIt says: Do it in one go. Then no more."}
    )
    with open(corpus / "docstrings.jsonl", "a") as file:
        file.writelines(json.dumps(record) + "\n" for record in more)
    data = load("pydoc_pair", corpus)
    assert not any(shared in item.text_b or "one go" in item.text_a for item in data.train)
    assert any(shared in item.text_b for item in data.dev)


def test_a_text_without_parameters_has_none() -> None:
    assert described_parameters("Do it: now.\n\nExample:\n    x: no\n") == ("", {})


def test_unknown_names_are_refused(corpus: Path) -> None:
    with pytest.raises(ConfigError, match="pydoc_topic"):
        load("pydoc_topc", corpus)
    with pytest.raises(ConfigError, match="family"):
        families.load(TaskConfig("x", "gleu", "x"), corpus)


# ---------------------------------------------------------------- the options of the group
@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "task").glob("*.yaml")))
def test_each_option_composes_and_says_which_files_it_needs(name: str, tmp_path: Path) -> None:
    settings = OmegaConf.load(CONF / "task" / f"{name}.yaml")
    task = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskConfig), settings))
    assert isinstance(task, TaskConfig)
    assert task.name == name and not task.path
    if zero_shot.is_yardstick(task.family):
        assert task.metric in zero_shot.get(task.family).metrics
        with pytest.raises(ConfigError, match=f"task={name} needs its files: task.path=FOLDER with "):
            zero_shot.get(task.family).read(task)
        return
    assert task.metric in HEADS[task.head].metrics
    if families.get(task.family).files:
        with pytest.raises(ConfigError) as error:
            families.load(task, tmp_path)
        assert str(error.value).startswith(f"task={name} needs its original files: task.path=FOLDER with ")
        assert "\n" not in str(error.value)


@pytest.mark.usefixtures("composing")
def test_files_columns_and_the_hub_are_set_from_the_command_line() -> None:
    overrides = ["task=text_classification", "task.files.train=x.csv", "task.columns.label=topic", "task.hub.path=a/b", "task.hub.revision=c"]  # fmt: skip
    task = config(*overrides, "task.hub.subset=d").task
    assert task.files == {"train": "x.csv"} and task.columns == {"label": "topic"}
    assert task.hub is not None and (task.hub.path, task.hub.revision, task.hub.subset) == ("a/b", "c", "d")


# ---------------------------------------------------------------- metrics, by hand
@pytest.mark.parametrize(
    ("prediction", "answer", "f1", "em"),
    [
        ("The cat.", "cat", 1.0, 1.0),
        ("the big cat", "cat", 2 / 3, 0.0),
        ("cat cat", "cat", 2 / 3, 0.0),
        ("dog", "cat", 0.0, 0.0),
        ("", "", 1.0, 1.0),
        ("", "cat", 0.0, 0.0),
        ("cat", "", 0.0, 0.0),
        ("a", "", 1.0, 1.0),
        ("one two three four", "three four five six", 0.5, 0.0),
    ],
)
def test_f1_and_exact_match_are_squad_s(prediction: str, answer: str, f1: float, em: float) -> None:
    assert token_f1(prediction, answer) == pytest.approx(f1) and exact_match(prediction, answer) == em
