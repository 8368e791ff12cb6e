"""Scores of classes and numbers against slow definitions and torchmetrics; constants; what chance explains."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional import classification as reference
from torchmetrics.functional import regression

from roberta_lab.config import TaskConfig
from roberta_lab.tasks import metrics
from roberta_lab.tasks.heads import HEADS
from roberta_lab.tasks.items import Choice, Item, Prediction, Span, Tagging, TaskData, TextItem
from roberta_lab.tasks.metrics import constant_predictions, score, share_no_better
from roberta_lab.tasks.result import FinetuningResult, at_chance


def task(head: str, metric: str = "accuracy", num_labels: int = 0) -> TaskConfig:
    return TaskConfig("x", "x", head, num_labels, metric)


def classes(labels: Any) -> list[Item]:
    return [TextItem(str(i), "", None, int(label)) for i, label in enumerate(labels)]


def numbers(scores: Any) -> list[Item]:
    return [TextItem(str(i), "", None, float(value)) for i, value in enumerate(scores)]


def predict(values: Any) -> list[Prediction]:
    return [{"id": str(i), "prediction": value} for i, value in enumerate(values)]


# ---------------------------------------------------------------- classes
def test_two_classes_by_hand() -> None:
    """tp 3, fn 1, fp 2, tn 4: precision 3/5, recall 3/4; Matthews (12 - 2) / sqrt(5 * 4 * 6 * 5)."""
    right = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    found = score(task("classification"), classes(right), predict([1, 1, 1, 0, 1, 1, 0, 0, 0, 0]))
    assert found == {
        "accuracy": 70.0,
        "f1": pytest.approx(200 / 3),
        "f1_macro": pytest.approx(100 * (2 / 3 + 8 / 11) / 2),
        "mcc": pytest.approx(1000 / math.sqrt(600)),
    }


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_classes_equal_torchmetrics(num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    right = rng.integers(num_classes, size=300)
    guess = np.where(rng.random(300) < 0.5, right, rng.integers(num_classes, size=300))
    found = score(task("classification", num_labels=num_classes), classes(right), predict(guess.tolist()))
    a, b = torch.from_numpy(guess), torch.from_numpy(right)
    assert found["mcc"] == pytest.approx(
        100 * float(reference.multiclass_matthews_corrcoef(a, b, num_classes)), abs=1e-4
    )
    macro = reference.multiclass_f1_score(a, b, num_classes, average="macro")
    assert found["f1_macro"] == pytest.approx(100 * float(macro), abs=1e-4)
    assert found["accuracy"] == 100 * int((right == guess).sum()) / 300
    if num_classes == 2:
        assert found["f1"] == pytest.approx(100 * float(reference.binary_f1_score(a, b)), abs=1e-4)
    else:
        assert "f1" not in found


def test_one_class_only_has_no_correlation_and_f1_is_of_the_second_class() -> None:
    assert score(task("classification"), classes([0, 0]), predict([0, 0])) == {"accuracy": 100.0, "mcc": 0.0, "f1_macro": 100.0, "f1": 0.0}  # fmt: skip
    assert score(task("classification"), classes([0, 1]), predict([1, 1]))["mcc"] == 0.0
    assert "f1" not in score(task("classification", num_labels=3), classes([0, 1]), predict([1, 1]))


# ---------------------------------------------------------------- numbers
def slow_pearson(x: list[float], y: list[float]) -> float:
    a, b = sum(x) / len(x), sum(y) / len(y)
    top = sum((p - a) * (q - b) for p, q in zip(x, y, strict=True))
    return top / math.sqrt(sum((p - a) ** 2 for p in x) * sum((q - b) ** 2 for q in y))


def slow_ranks(x: list[float]) -> list[float]:
    """Ties share the mean of their ranks."""
    return [sum(other < value for other in x) + (x.count(value) + 1) / 2 for value in x]


def test_correlations_equal_their_definitions_with_ties() -> None:
    rng = np.random.default_rng(1)
    right = np.round(rng.uniform(0, 5, 200), 1)
    guess = np.round(right * 0.5 + rng.normal(size=200), 1)
    found = score(task("regression"), numbers(right), predict(guess.tolist()))
    assert found["pearson"] == pytest.approx(100 * slow_pearson(guess.tolist(), right.tolist()), abs=1e-9)
    ranks = [slow_ranks(values.tolist()) for values in (guess, right)]
    assert found["spearman"] == pytest.approx(100 * slow_pearson(*ranks), abs=1e-9)
    a, b = torch.from_numpy(guess), torch.from_numpy(right)
    assert found["pearson"] == pytest.approx(100 * float(regression.pearson_corrcoef(a, b)), abs=1e-9)
    assert found["spearman"] == pytest.approx(100 * float(regression.spearman_corrcoef(a, b)), abs=1e-4)


@pytest.mark.parametrize("guess", [[2.0, 2.0, 2.0], [1.0, math.nan, 2.0], [1.0, math.inf, 2.0]])
def test_correlations_without_a_value_are_zero(guess: list[float]) -> None:
    assert score(task("regression"), numbers([1, 2, 3]), predict(guess)) == {"pearson": 0.0, "spearman": 0.0}


def test_predictions_that_hardly_vary_give_no_warning() -> None:
    found = score(task("regression"), numbers([1, 2, 3]), predict([2.0, 2.0 + 1e-9, 2.0 + 2e-9]))
    assert found["pearson"] == pytest.approx(100.0, abs=1e-4) and found["spearman"] == pytest.approx(100.0)


def test_items_without_labels_have_no_score() -> None:
    assert score(task("classification"), [TextItem("0", "", None, None)], predict([1])) == {}
    assert score(task("regression"), [TextItem("0", "", None, None)], predict([1.0])) == {}


# ---------------------------------------------------------------- constants and chance
def is_luck(config: TaskConfig, items: Any, predictions: Any, constant: Any, num_tried: int = 1) -> bool:
    """Whether the best of so many predictions is no better than the constant one."""
    return at_chance(share_no_better(config, items, predictions, constant, num_tried), num_tried)


def test_the_best_constant_is_best_by_the_task_s_metric() -> None:
    labels = [0] * 6 + [1] * 4
    data = TaskData(classes(labels), classes(labels))
    for metric, best in (("accuracy", 0), ("f1", 1), ("mcc", 0)):
        config = task("classification", metric, 2)
        constant = constant_predictions(config, data)
        assert {p["prediction"] for p in constant} == {best} and [p["id"] for p in constant] == [
            str(i) for i in range(10)
        ]
    scores: list[Item] = numbers([1, 2, 6])
    constant = constant_predictions(task("regression", "pearson"), TaskData(scores, scores))
    assert [p["prediction"] for p in constant] == [3.0] * 3
    spans: list[Item] = [Span("a", "?", "x", None), Span("b", "?", "x", (0, 1))]
    constant = constant_predictions(task("span", "f1"), TaskData(spans, spans))
    assert score(task("span", "f1"), spans, constant)["f1"] == 50.0
    choices: list[Item] = [Choice(str(i), "", ("a", "b", "c"), label) for i, label in enumerate((2, 1, 2))]
    assert constant_predictions(task("choice"), TaskData(choices, choices))[0]["prediction"] == 2


@pytest.mark.parametrize(
    ("head", "metric"),
    [("classification", "accuracy"), ("classification", "mcc"), ("classification", "f1"), ("regression", "spearman"), ("span", "best_f1")],
)  # fmt: skip
def test_chance_is_what_the_choice_of_items_explains(head: str, metric: str) -> None:
    """Informed predictions are better than a constant; random ones are not, but for the one draw in forty that may."""
    rng = np.random.default_rng(0)
    number, config = 200, task(head, metric, 2)

    def of(share: float) -> bool:
        informed = rng.random(number) < share
        if head == "regression":
            right = rng.normal(size=number)
            guess, items = np.where(informed, right, rng.normal(size=number)), numbers(right)
        elif head == "span":
            has = rng.random(number) < 0.5
            items = [Span(str(i), "?", "cat", (0, 3) if h else None) for i, h in enumerate(has)]
            guess = np.where(informed, np.where(has, "cat", ""), np.where(rng.random(number) < 0.5, "cat", ""))
        else:
            right = rng.integers(2, size=number)
            guess, items = np.where(informed, right, rng.integers(2, size=number)), classes(right)
        predictions = predict(guess.tolist())
        constant = constant_predictions(config, TaskData(items, items))
        return is_luck(config, items, predictions, constant)

    strong = 0.6 if metric == "f1" else 0.45  # always the second class has an F1 of 67 already
    assert not of(strong) and sum(of(0.0) for _ in range(5)) >= 4


@pytest.mark.parametrize(("alike", "uncorrected"), [(0.0, 6), (0.7, 2)])
def test_useless_models_seldom_pass_as_the_best_of_ten_epochs(
    alike: float, uncorrected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs guess, each anew or much like the others; the level for one prediction would let several times too many pass."""
    monkeypatch.setattr(metrics, "NUM_RESAMPLES", 40)
    rng, number, trials, epochs, config = np.random.default_rng(1), 100, 40, 10, task("classification", "mcc", 2)
    right = np.arange(number) % 2
    items, constant = classes(right), predict([0] * number)
    passed = {1: 0, epochs: 0}
    for _ in range(trials):
        of_model = rng.integers(2, size=number)
        guesses = np.where(rng.random((epochs, number)) < alike, of_model, rng.integers(2, size=(epochs, number)))
        best = max(guesses, key=lambda guess: float((guess == right).mean()))
        share = share_no_better(config, items, predict(best.tolist()), constant, epochs)
        for num_tried in passed:
            passed[num_tried] += not at_chance(share, num_tried)
    assert passed[1] >= uncorrected and passed[epochs] <= 1 + 0.025 * trials


def test_the_share_is_that_of_resamples_which_gain_nothing() -> None:
    """Compares with the normal distribution of the mean gain, which has 1 in ten items, -1 in twenty."""
    right = np.zeros(1000, int)
    constant, guess = np.arange(1000) % 2, np.arange(1000) % 2
    guess[np.flatnonzero(constant)[:100]], guess[np.flatnonzero(constant == 0)[:50]] = 0, 1
    found = share_no_better(
        task("classification", "accuracy", 2), classes(right), predict(guess.tolist()), predict(constant.tolist()), 10
    )
    deviation = math.sqrt((0.15 - 0.05**2) * 1000)
    expected = 0.5 * math.erfc((50 - 0.5) / deviation / math.sqrt(2))  # no more than 0 of a mean gain of 50
    assert found == pytest.approx(expected, abs=4e-4) and expected < 1e-3


def test_each_setting_of_a_grid_is_one_more_chance() -> None:
    values = {
        "task": "t",
        "stands_for": "",
        "caution": "",
        "metric": "f1",
        "score": 1.0,
        "majority": 0.0,
        "metrics": {},
    }
    values |= {"at_chance": False, "diverged": False, "best_epoch": 1, "num_train": 1, "num_dev": 9, "finetune_seed": 1}
    result = FinetuningResult(**values, epochs=5, examples_per_second=1.0, share_no_better=0.003)
    assert (result.is_at_chance(), result.is_at_chance(2)) == (False, True)
    older = replace(result, share_no_better=None)
    assert not older.is_at_chance(100) and replace(older, at_chance=True).is_at_chance()


def test_predictions_that_are_no_numbers_are_at_chance() -> None:
    items = numbers(range(20))
    good, constant = predict([float(i) for i in range(20)]), predict([1.0] * 20)
    assert not is_luck(task("regression", "pearson"), items, good, constant)
    assert is_luck(task("regression", "pearson"), items, constant, constant)
    assert is_luck(task("regression", "pearson"), items, predict([math.nan] * 20), predict([1.0] * 20))


def test_constant_tags_are_the_best_class_for_all_words() -> None:
    """B-type for all: 3 of 4 entities of one word among 6 words found, F1 60; O finds none, and has more words right."""
    items: list[Item] = [Tagging("0", ("w",) * 4, (1, 1, 0, 3)), Tagging("1", ("w",) * 2, (1, 0))]
    best = {"f1": ([1], 60.0), "accuracy": ([1], 50.0)}
    for metric, (tags, expected) in best.items():
        config = task("tagging", metric)
        constant = constant_predictions(config, TaskData(items, items))
        assert [p["prediction"] for p in constant] == [tags * 4, tags * 2]
        assert score(config, items, constant)[metric] == expected
    nothing: list[Item] = [Tagging("0", ("w",) * 4, (0, 0, 0, 0))]
    assert constant_predictions(task("tagging", "f1"), TaskData(nothing, nothing))[0]["prediction"] == [0] * 4


def test_random_tags_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    right = [np.where(rng.random(8) < 0.2, 1, 0).tolist() for _ in range(100)]
    items: list[Item] = [Tagging(str(i), ("w",) * 8, tuple(tags)) for i, tags in enumerate(right)]
    config, data = task("tagging", "f1"), TaskData(items, items)
    guess = predict([np.where(rng.random(8) < 0.2, 1, 0).tolist() for _ in right])
    assert score(config, items, guess)["f1"] > 10
    assert is_luck(config, items, guess, constant_predictions(config, data))
    assert not is_luck(config, items, predict(right), constant_predictions(config, data))


def test_a_constant_answer_is_the_first_words_where_all_questions_have_one() -> None:
    """The second word is right: of one to three words, two have the best F1, 2/3."""
    items: list[Item] = [Span(str(i), "?", f"red cat{i} sat there on a log", (4, 8)) for i in range(9)]
    squad1 = TaskConfig("squad1", "squad", "span", 0, "f1")
    constant = constant_predictions(squad1, TaskData(items, items))
    assert [p["prediction"] for p in constant] == [f"red cat{i}" for i in range(9)]
    assert score(squad1, items, constant)["f1"] == pytest.approx(200 / 3)


def test_random_spans_are_at_chance() -> None:
    rng = np.random.default_rng(0)

    def spans(words: list[list[str]]) -> list[tuple[int, int]]:
        return [(int(f := rng.integers(18)), int(f + rng.integers(1, 4))) for _ in words]

    words = [[f"w{rng.integers(60)}" for _ in range(20)] for _ in range(150)]
    items: list[Item] = []
    for i, (text, (first, last)) in enumerate(zip(words, spans(words), strict=True)):
        start = len(" ".join([*text[:first], ""]))
        items.append(Span(str(i), "?", " ".join(text), (start, start + len(" ".join(text[first:last])))))
    config = TaskConfig("squad1", "squad", "span", 0, "f1")
    constant = constant_predictions(config, TaskData(items, items))
    guess = predict([" ".join(text[a:b]) for text, (a, b) in zip(words, spans(words), strict=True)])
    assert score(config, items, guess)["f1"] > 3
    assert is_luck(config, items, guess, constant)
    right = predict([item.answer_text for item in items if isinstance(item, Span)])
    assert not is_luck(config, items, right, constant)


@pytest.mark.parametrize(("number", "expected"), [(9, True), (10, False)])
def test_of_fewer_than_ten_items_nothing_is_better_than_chance(number: int, expected: bool) -> None:
    items = numbers(range(number))
    good, constant = predict([float(i) for i in range(number)]), predict([1.0] * number)
    assert is_luck(task("regression", "pearson"), items, good, constant) is expected


def test_every_metric_that_may_be_chosen_is_scored() -> None:
    span: list[Item] = [Span("0", "?", "cat", (0, 3))]
    found = {
        "classification": score(task("classification"), classes([0, 1]), predict([0, 1])),
        "regression": score(task("regression"), numbers([0, 1]), predict([0.0, 1.0])),
        "span": score(task("span"), span, [{"id": "0", "prediction": "", "answer": "cat", "no_answer": 1.0}]),
    }
    for head, scores in found.items():
        assert set(HEADS[head].metrics) <= set(scores)
    assert found["span"]["f1"] == 0.0 and found["span"]["best_f1"] == 100.0
