"""RACE: a file a passage, options in the blank of their question, scores of both groups."""

import json
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks import families
from roberta_lab.tasks.items import Choice
from roberta_lab.tasks.metrics import constant_predictions, score

OPTIONS = ["one", "two", "three", "four"]


def passage(*questions: str, **changes: Any) -> dict[str, Any]:
    return {
        "answers": ["D"] * len(questions),
        "options": [OPTIONS] * len(questions),
        "questions": list(questions),
        "article": "First line.\nSecond  line.",
        "id": "x.txt",
        **changes,
    }


def write(root: Path, files: dict[str, dict[str, Any]]) -> TaskConfig:
    for name, content in files.items():
        path = root / "RACE" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return TaskConfig("race", "race", "choice", 4, "accuracy", str(root))


def test_passages_give_these_items_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    task = write(
        tmp_path,
        {
            "train/high/2.txt": passage("It is _ ."),
            "dev/high/10.txt": passage("How many?", answers=["B"]),
            "dev/high/9.txt": passage("He has ____  cats", "What?"),
            "dev/middle/10.txt": passage("How many?"),
        },
    )
    data = families.load(task, tmp_path)
    text = "First line. Second line."
    appended, asked = tuple(f"How many? {o}" for o in OPTIONS), tuple(f"What? {o}" for o in OPTIONS)
    assert data.dev == [
        Choice("middle/10:0", text, appended, 3, "middle"),
        Choice("high/9:0", text, tuple(f"He has {o} cats" for o in OPTIONS), 3, "high"),
        Choice("high/9:1", text, asked, 3, "high"),
        Choice("high/10:0", text, appended, 1, "high"),
    ]
    assert data.train[0].choices[0] == "It is one ." and "test" not in data.others
    assert any("dev/high: 3 items; the official dev/high has 3,451" in note for note in data.notes)
    assert (
        len(families.load(TaskConfig("race", "race", "choice", 4, "accuracy", str(tmp_path / "RACE")), tmp_path).dev)
        == 4
    )

    found = score(task, data.dev, [{"id": item.id, "prediction": right} for item, right in zip(data.dev, (3, 3, 0, 0), strict=True)])  # fmt: skip
    assert found == {"accuracy": 50.0, "accuracy_middle": 100.0, "accuracy_high": pytest.approx(100 / 3)}
    assert score(task, data.dev, constant_predictions(task, data))["accuracy"] == 75.0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (passage("A \ud83d?"), "2.txt, line 1: \\ud83d is half a surrogate pair"),
        (passage("A?", answers=["E"]), "question 2:0 has 4 options and the answer 'E'"),
        (passage("A?", answers=["AB"]), "the answer 'AB'"),
        (passage("A?", options=[["one", "two"]]), "question 2:0 has 2 options"),
        (passage("A?", answers=[]), "1 questions, 1 lists of options and 0 answers"),
        (passage("A?", article=None), "a text is no text"),
        (passage("A?", options=[[1, 2, 3, 4]]), "a number"),
        ({"article": "x"}, "no key 'questions'. It has: article"),
        ({"article": "x", "questions": 3, "options": [], "answers": []}, "questions is no list"),
    ],
)
def test_a_wrong_passage_is_an_error_with_its_file(wrong: dict[str, Any], reason: str, tmp_path: Path) -> None:
    task = write(tmp_path, {"train/high/2.txt": wrong, "dev/high/3.txt": passage("A?")})
    if reason == "a number":
        reason = "a text is no text"
        wrong["questions"] = ["_?"]
        write(tmp_path, {"train/high/2.txt": wrong})
    with pytest.raises(ConfigError) as error:
        families.load(task, tmp_path)
    assert str(tmp_path / "RACE/train/high/2.txt") in str(error.value) and reason in str(error.value)


def test_folders_must_hold_groups(tmp_path: Path) -> None:
    task = write(tmp_path, {"train/high/2.txt": passage("A?"), "dev/3.txt": passage("A?")})
    with pytest.raises(ConfigError, match="neither a folder middle nor a folder high"):
        families.load(task, tmp_path)
    (tmp_path / "RACE/dev/high").mkdir()
    with pytest.raises(ConfigError, match="holds no items of race"):
        families.load(task, tmp_path)
