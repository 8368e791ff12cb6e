"""SQuAD: places of answers in their contexts, and scores equal to what the official definitions say, by a slow reference."""

import json
import math
import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks import families, submission
from roberta_lab.tasks.items import Prediction, Span
from roberta_lab.tasks.metrics import score

CONTEXT = " The  café in Bern\u2028(an old café) opened in 1890.\n"


def question(name: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "question": f" What is {name}? ",
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
        **more,
    }


def task(name: str, path: Path) -> TaskConfig:
    return TaskConfig(name, "squad", "span", metric="f1", path=str(path))


def write(folder: Path, questions: list[dict[str, Any]], version: str = "v2.0") -> Path:
    content = {"version": version, "data": [{"title": "x", "paragraphs": [{"context": CONTEXT, "qas": questions}]}]}
    for split in ("train", "dev"):
        (folder / f"{split}-{version}.json").write_text(json.dumps(content))
    return folder


def test_questions_have_places_and_all_their_answers(tmp_path: Path) -> None:
    second = CONTEXT.rindex("café")
    questions = [
        question("a", ("café", second), ("an old café", second - 7)),
        question("b", is_impossible=True, plausible_answers=[{"text": "Bern", "answer_start": 14}]),
    ]
    data = families.load(task("squad2", write(tmp_path, questions)), tmp_path)
    place = (second, second + 4)
    assert data.dev == [
        Span("a", "What is a?", CONTEXT, place, ("café", "an old café")),
        Span("b", "What is b?", CONTEXT, None),
    ]
    assert data.dev[0].answer_text == "café" and data.dev[1].gold == ("",)
    assert data.notes[0].endswith("train-v2.0.json: 2 items; the official train-v2.0.json has 130,319.")
    assert families.load(task("squad1", write(tmp_path, questions[:1], "v1.1")), tmp_path).train == data.train[:1]


def test_a_task_s_own_folder_goes_before_that_of_its_family(tmp_path: Path) -> None:
    for version, folder in (("v1.1", "squad"), ("v2.0", "squad2")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, [question("a", ("Bern", CONTEXT.index("Bern")))], version)
    for name in ("squad1", "squad2"):
        assert len(families.load(task(name, tmp_path), tmp_path).dev) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (question("a", ("café", 5)), "question a: at 5 the context has ' caf', not 'café'"),
        (question("a", ("Bern", -4)), "question a: at -4 the context has '', not 'Bern'"),
        (question("a", ("", 0)), "question a: at 0 the context has '', not ''"),
        (question("a", is_impossible=False), "question a: is_impossible contradicts its 0 answers"),
        (question("a", ("Bern", CONTEXT.index("Bern")), is_impossible=True), "contradicts its 1 answers"),
        (question("good"), "question good is there twice"),
        ({"id": "a", "question": "?"}, "not SQuAD's structure after question good (KeyError: 'answers')"),
    ],
)
def test_a_wrong_question_is_an_error_with_file_and_id(wrong: dict[str, Any], reason: str, tmp_path: Path) -> None:
    write(tmp_path, [question("good"), wrong])
    with pytest.raises(ConfigError) as error:
        families.load(task("squad2", tmp_path), tmp_path)
    assert "train-v2.0.json: " in str(error.value) and reason in str(error.value)


def test_squad1_refuses_questions_without_answer_and_files_must_be_json(tmp_path: Path) -> None:
    write(tmp_path, [question("a")], "v1.1")
    with pytest.raises(ConfigError, match=r"question a has no answer, which squad1 always has\. Use task=squad2"):
        families.load(task("squad1", tmp_path), tmp_path)
    for text, reason in (
        ('{"data":\n[', "line 2: no JSON"),
        ("[]", "no JSON object"),
        ("{}", "at its start"),
        ('{"data":\n"\\ude00"}', r"json, line 2: \\ude00 is half a surrogate pair"),
    ):
        (tmp_path / "train-v1.1.json").write_text(text)
        with pytest.raises(ConfigError, match=reason):
            families.load(task("squad1", tmp_path), tmp_path)


# ---------------------------------------------------------------- a slow reference, after the papers and the scripts' help
def slow_words(text: str) -> list[str]:
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return [word for word in re.split(r"\s+", re.sub(r"\b(a|an|the)\b", " ", kept)) if word]


def slow_f1(prediction: str, gold: str, version: int) -> float:
    ours, theirs = slow_words(prediction), slow_words(gold)
    if version == 2 and not (ours and theirs):
        return float(ours == theirs)
    left, common = list(theirs), 0
    for word in ours:
        if word in left:
            left.remove(word)
            common += 1
    if not common:
        return 0.0
    return 2 * (common / len(ours)) * (common / len(theirs)) / (common / len(ours) + common / len(theirs))


def slow_raw(item: Span, text: str, version: int) -> tuple[float, float]:
    golds = list(item.answers)
    if version == 2:
        golds = [gold for gold in golds if slow_words(gold)] or [""]
    return max(float(slow_words(text) == slow_words(g)) for g in golds), max(slow_f1(text, g, version) for g in golds)


def slow_best(items: list[Span], texts: list[str], odds: list[float], column: int) -> tuple[float, float]:
    """The best score over all thresholds: every question whose probability is at most the threshold is answered."""
    best, best_threshold = sum(item.answer is None for item in items) / len(items), 0.0
    probabilities = [1 / (1 + math.exp(-value)) for value in odds]
    for threshold in sorted(set(probabilities)):
        total = 0.0
        for item, text, probability in zip(items, texts, probabilities, strict=True):
            if probability > threshold:
                total += item.answer is None
            else:
                total += slow_raw(item, text, 2)[column] if item.answer is not None else not text
        if total / len(items) > best:
            best, best_threshold = total / len(items), threshold
    return 100 * best, best_threshold


def synthetic(number: int, seed: int) -> tuple[list[Span], list[Prediction]]:
    """Questions with several answers and predictions near them; odds without ties."""
    rng = np.random.default_rng(seed)
    words = np.array(["the", "a", "cat", "Cat,", "dog", "3.5", "café", "-", "an old", "U.S."])
    items, predictions = [], []
    for i in range(number):
        texts = [" ".join(rng.choice(words, rng.integers(1, 5))) for _ in range(rng.integers(1, 4))]
        golds = tuple(texts) if rng.random() < 0.6 else ()
        items.append(Span(str(i), "?", "x", (0, 1) if golds else None, golds))
        near = golds[-1] if golds and rng.random() < 0.5 else " ".join(rng.choice(words, 2))
        odds = float(rng.normal(0 if golds else 1, 2))
        predictions.append({"id": str(i), "prediction": "" if odds > 0 else near, "answer": near, "no_answer": odds})
    return items, predictions


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_slow_reference(seed: int) -> None:
    items, predictions = synthetic(60, seed)
    found = score(task("squad2", Path()), items, predictions)
    raw = [slow_raw(item, p["prediction"], 2) for item, p in zip(items, predictions, strict=True)]
    for column, name in enumerate(("exact", "f1")):
        for prefix, chosen in (("", [True] * 60), ("HasAns_", [bool(i.answers) for i in items]), ("NoAns_", [not i.answers for i in items])):  # fmt: skip
            values = [scores[column] for scores, here in zip(raw, chosen, strict=True) if here]
            total = 0.0
            for value in values:
                total += value
            assert found[prefix + name] == 100 * total / len(values), "to the last digit"
        texts, odds = [p["answer"] for p in predictions], [p["no_answer"] for p in predictions]
        best, threshold = slow_best(items, texts, odds, column)
        assert found[f"best_{name}"] == pytest.approx(best, abs=1e-9)
        assert found[f"best_{name}_thresh"] == pytest.approx(threshold, abs=1e-12)
    assert found["em"] == found["exact"]


def test_squad1_differs_from_squad2_where_the_scripts_do() -> None:
    item = Span("x", "?", "the", (0, 3), ("the",))
    nothing = [{"id": "x", "prediction": "a"}]
    assert score(task("squad1", Path()), [item], nothing) == {"em": 100.0, "f1": 0.0}
    assert score(task("squad2", Path()), [item], nothing)["f1"] == 100.0
    several = Span("y", "?", "x", (0, 1), ("the", "red cat"))
    cat = [{"id": "y", "prediction": "cat"}]
    assert score(task("squad1", Path()), [several], cat) == {"em": 0.0, "f1": pytest.approx(200 / 3)}
    assert set(score(task("squad1", Path()), [several], [{**cat[0], "no_answer": 0.0}])) == {"em", "f1"}


def test_a_best_threshold_by_hand() -> None:
    """Answering the two surest gives 2 right of 4 and loses one; the best is to answer the first only."""
    golds = [("cat",), (), ("dog",), ()]
    items = [Span(str(i), "?", "x", (0, 1) if g else None, g) for i, g in enumerate(golds)]
    odds = [-2.0, -1.0, 3.0, 4.0]
    predictions = [{"id": str(i), "prediction": "cat", "answer": "cat", "no_answer": x} for i, x in enumerate(odds)]
    found = score(task("squad2", Path()), items, predictions)
    assert found["best_exact"] == found["best_f1"] == 75.0 and found["exact"] == 25.0
    assert found["best_exact_thresh"] == pytest.approx(1 / (1 + math.exp(2.0)))
    assert "best_f1" not in score(task("squad2", Path()), items, [{**p, "no_answer": 0.0} for p in predictions[:3]] + [{"id": "3", "prediction": ""}])  # fmt: skip


def test_a_best_threshold_may_fall_between_equal_odds_and_empty_answers_cost_nothing() -> None:
    """The official script goes from question to question in the file's order, also where their odds are the same."""
    items = [Span(str(i), "?", "x", (0, 1) if i < 100 else None, ("cat",) if i < 100 else ()) for i in range(200)]
    predictions = [{"id": str(i), "prediction": "cat", "no_answer": float(i % 2)} for i in range(200)]
    assert score(task("squad2", Path()), items, predictions)["best_exact"] == 75.0  # 100 without answer, then 50 more
    empty = [{**prediction, "no_answer": odds} for prediction, odds in zip(predictions[99:101], (1.0, -1.0), strict=True)]  # fmt: skip
    empty[1]["prediction"] = ""
    assert score(task("squad2", Path()), items[99:101], empty)["best_exact"] == 100.0


def test_extreme_odds_do_not_overflow() -> None:
    items = [Span("a", "?", "x", (0, 1), ("x",)), Span("b", "?", "x", None)]
    predictions = [
        {"id": i.id, "prediction": "x", "no_answer": odds} for i, odds in zip(items, (-9e3, 9e3), strict=True)
    ]
    found = score(task("squad2", Path()), items, predictions)
    assert found["best_f1"] == 100.0 and found["best_f1_thresh"] == 0.0


def test_prediction_files_hold_texts_and_probabilities(tmp_path: Path) -> None:
    predictions = [
        {"id": "a", "prediction": "", "answer": "café", "no_answer": math.log(3)},
        {"id": "b", "prediction": "x", "answer": "x", "no_answer": -math.log(3)},
    ]
    submission.write(tmp_path / "new", task("squad2", tmp_path), "dev", predictions)
    files = [tmp_path / "new" / f"{name}.json" for name in ("predictions", "answers", "na_odds")]
    assert [path.name for path in files] == ["predictions.json", "answers.json", "na_odds.json"]
    texts, answers, odds = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    assert texts == {"a": "", "b": "x"} and answers == {"a": "café", "b": "x"}
    assert odds == {"a": pytest.approx(0.75), "b": pytest.approx(0.25)}
    submission.write(tmp_path / "one", task("squad1", tmp_path), "dev", predictions)
    [only] = (tmp_path / "one").iterdir()
    assert only.name == "predictions.json"


def test_predictions_in_another_order_are_refused() -> None:
    items, predictions = synthetic(3, 0)
    with pytest.raises(ValueError, match="'2' stands in the place of '0'"):
        score(task("squad2", Path()), items, predictions[::-1])
    assert Counter(p["id"] for p in predictions) == Counter(item.id for item in items)
