"""Scores of a task's predictions as their official definitions have them, 0 to 100, and what a constant prediction gets.

Each head has two steps: what an item contributes, as a row of numbers, and the scores of a table of such rows. So a resample
of the items (`at_chance`) is a resample of rows. All is float64, as in scikit-learn and SciPy, which GLUE's own code uses;
torchmetrics, with which the tests compare, divides counts in float32 and adds an epsilon to Spearman's denominator. Where a
definition has no value (one class only, no variance), the score is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from roberta_lab.axes.rng import generator
from roberta_lab.config import TaskConfig
from roberta_lab.tasks.items import Choice, Item, Prediction, Span, TaskData, label_of
from roberta_lab.tasks.metrics.entities import entity_counts, entity_scores
from roberta_lab.tasks.metrics.squad import best_of_golds, best_thresholds, exact_match, normalize_answer, span_scores
from roberta_lab.tasks.metrics.squad import token_f1 as token_f1

__all__ = ["at_chance", "constant_predictions", "exact_match", "normalize_answer", "score", "token_f1"]

NUM_RESAMPLES = 400
QUANTILE = 0.025  # of the resampled gains: above 0, the gain is no accident of these items
FEWEST_ITEMS = 10  # of fewer, draws say nothing
FIRST_WORDS = (0, 1, 2, 3, 5, 8, 13, 21)  # of a context, as constant answers
Scores = dict[str, float]


def score(task: TaskConfig, items: Sequence[Item], predictions: Sequence[Prediction]) -> Scores:
    """Every score of the task's head; {} where the items have no labels. Predictions are in the items' order.

    classification: accuracy, mcc, f1_macro, and of two classes f1, that of class 1. regression: pearson, spearman.
    choice: accuracy, and accuracy_GROUP of each group. tagging: precision, recall, f1, accuracy (of words). span: em, f1;
    for all but squad1 also the official script's exact, HasAns_*, NoAns_*, and, with log-odds of no answer, best_*.
    """
    if not items or label_of(items[0]) is None:
        return {}
    rows, scores = HEADS[task.head]
    found = scores(task, rows(task, items, predictions))
    if task.head == "span" and _version(task) == 2:
        found |= best_thresholds(_spans(items), predictions)
    if task.head == "choice":
        groups = np.array([item.group if isinstance(item, Choice) else "" for item in items])
        table = rows(task, items, predictions)
        for group in dict.fromkeys(groups[groups != ""].tolist()):
            found[f"accuracy_{group}"] = scores(task, table[groups == group])["accuracy"]
    return found


def _spans(items: Sequence[Item]) -> list[Span]:
    return [item for item in items if isinstance(item, Span)]


def _version(task: TaskConfig) -> int:
    """Whose official script: 1.1 or 2.0."""
    return 1 if task.name == "squad1" else 2


# ---------------------------------------------------------------- what an item contributes
def _pairs(task: TaskConfig, items: Sequence[Item], predictions: Sequence[Prediction]) -> np.ndarray:
    """(N, 2) float64: predicted, right."""
    return np.array([(p["prediction"], label_of(item)) for item, p in _matched(items, predictions)], np.float64)


def _span_rows(task: TaskConfig, items: Sequence[Item], predictions: Sequence[Prediction]) -> np.ndarray:
    version = _version(task)
    return np.array(
        [
            (*best_of_golds(item, p["prediction"], version), float(item.answer is not None))
            for item, p in _matched(_spans(items), predictions)
        ]
    )


def _entity_rows(task: TaskConfig, items: Sequence[Item], predictions: Sequence[Prediction]) -> np.ndarray:
    return np.array([entity_counts(p["prediction"], label_of(item)) for item, p in _matched(items, predictions)])


def _matched(items: Sequence[Any], predictions: Sequence[Prediction]) -> list[tuple[Any, Prediction]]:
    """Each item with its own prediction; raises ValueError for another order."""
    pairs = list(zip(items, predictions, strict=True))
    for item, prediction in pairs:
        if item.id != prediction["id"]:
            raise ValueError(f"the prediction of {prediction['id']!r} stands in the place of {item.id!r}")
    return pairs


# ---------------------------------------------------------------- the scores of a table of rows
def _class_scores(task: TaskConfig, table: np.ndarray) -> Scores:
    predicted, true = table.astype(np.int64).T
    size = int(table.max()) + 1
    confusion = np.bincount(true * size + predicted, minlength=size**2).reshape(size, size).astype(np.float64)
    hits, of_true, of_predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    occurring = of_true + of_predicted > 0
    f1 = 100 * 2 * hits[occurring] / (of_true + of_predicted)[occurring]
    found = {"accuracy": 100 * float(hits.sum()) / len(table), "mcc": _matthews(hits, of_true, of_predicted)}
    found["f1_macro"] = float(f1.mean())
    if task.num_labels == 2 or (task.num_labels == 0 and size <= 2):
        found["f1"] = float(f1[-1]) if size == 2 and occurring[1] else 0.0
    return found


def _matthews(hits: np.ndarray, of_true: np.ndarray, of_predicted: np.ndarray) -> float:
    """Correlation of two classifications of any number of classes (Gorodkin 2004; scikit-learn's matthews_corrcoef)."""
    total = of_true.sum()
    covariance = hits.sum() * total - of_true @ of_predicted
    variances = (total**2 - of_true @ of_true) * (total**2 - of_predicted @ of_predicted)
    return 100 * float(covariance / np.sqrt(variances)) if variances > 0 else 0.0


def _correlations(task: TaskConfig, table: np.ndarray) -> Scores:
    if not np.isfinite(table).all() or (table.max(0) == table.min(0)).any():
        return {"pearson": 0.0, "spearman": 0.0}
    ranks = np.stack([_ranks(column) for column in table.T])
    return {name: 100 * float(np.corrcoef(x)[0, 1]) for name, x in (("pearson", table.T), ("spearman", ranks))}


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _accuracy(task: TaskConfig, table: np.ndarray) -> Scores:
    return {"accuracy": 100 * float((table[:, 0] == table[:, 1]).sum()) / len(table)}


Rows = Callable[[TaskConfig, Sequence[Item], Sequence[Prediction]], np.ndarray]
HEADS: dict[str, tuple[Rows, Callable[[TaskConfig, np.ndarray], Scores]]] = {
    "classification": (_pairs, _class_scores),
    "regression": (_pairs, _correlations),
    "choice": (_pairs, _accuracy),
    "span": (_span_rows, lambda task, table: span_scores(table, _version(task))),
    "tagging": (_entity_rows, lambda task, table: entity_scores(table)),
}


# ---------------------------------------------------------------- constants
def constant_predictions(task: TaskConfig, data: TaskData) -> list[Prediction]:
    """The best that one prediction for all of dev can get, by the task's metric; of equal ones the first.

    Classes and candidates: one of them. Tags: one class for every word, O first. Scores: their mean. Spans: no answer, or the
    first words of the context, as many for all (`FIRST_WORDS`). Of best_f1 and best_exact f1 and exact speak: with one
    probability of no answer for all, every threshold answers all questions or none.
    """
    items, metric = data.dev, task.metric.removeprefix("best_")
    if task.head == "regression":
        constants = [[float(np.mean([label_of(item) for item in items]))] * len(items)]
    elif task.head == "span":
        constants = [[" ".join(item.context.split()[:n]) for item in _spans(items)] for n in FIRST_WORDS]
    elif task.head == "tagging":
        classes = {0} | {number for item in items for number in label_of(item)}
        constants = [[[number] * len(label_of(item)) for item in items] for number in sorted(classes)]
    else:
        labels = [label for label, _ in Counter(map(label_of, items)).most_common()]
        constants = [[label] * len(items) for label in labels]
    found = [
        [{"id": item.id, "prediction": value} for item, value in zip(items, values, strict=True)]
        for values in constants
    ]
    return max(found, key=lambda predictions: score(task, items, predictions).get(metric, 0.0))


def at_chance(
    task: TaskConfig, items: Sequence[Item], predictions: Sequence[Prediction], constant: Sequence[Prediction]
) -> bool:
    """Whether predictions are no better than constant ones, by the task's metric, beyond what the choice of items explains.

    A paired bootstrap: the items are drawn again with replacement, by a key that is the same for every run, and the gain must
    be above 0 in all but 2.5% of the draws. Of best_f1 and best_exact, f1 and exact speak: a best threshold cannot lose.
    Fewer than `FEWEST_ITEMS` items are always at chance.
    """
    if len(items) < FEWEST_ITEMS:
        return True
    rows, scores = HEADS[task.head]
    ours, theirs = rows(task, items, predictions), rows(task, items, constant)
    metric = task.metric.removeprefix("best_")
    gains = np.empty(NUM_RESAMPLES)
    for number in range(NUM_RESAMPLES):
        drawn = generator(0, f"at_chance/{task.name}", number).integers(len(items), size=len(items))
        gains[number] = scores(task, ours[drawn])[metric] - scores(task, theirs[drawn])[metric]
    return not np.quantile(gains, QUANTILE) > 0
