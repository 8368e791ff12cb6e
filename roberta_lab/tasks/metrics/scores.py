"""Scores of a task's predictions as their official definitions have them, 0 to 100, and what a constant prediction gets.

Each head has two steps: what an item contributes, as a row of numbers, and the scores of a table of such rows. So a resample
of the items (`at_chance`) is a resample of rows. All is float64, as in scikit-learn and SciPy, which GLUE's own code uses;
torchmetrics, with which the tests compare, divides counts in float32 and adds an epsilon to Spearman's denominator. Where a
definition has no value (one class only, no variance), the score is 0.
"""

from collections.abc import Sequence

import numpy as np

from roberta_lab.axes.rng import generator
from roberta_lab.config import TaskConfig
from roberta_lab.tasks import heads
from roberta_lab.tasks.items import Item, Prediction, TaskData

NUM_RESAMPLES = 400
QUANTILE = 0.025  # of the resampled gains: above 0, the gain is no accident of these items
FEWEST_ITEMS = 10  # of fewer, draws say nothing
Scores = dict[str, float]


def score(task: TaskConfig, items: Sequence[Item], predictions: Sequence[Prediction]) -> Scores:
    """Return every score of the task's head; {} where the items have no labels. Predictions are in the items' order."""
    if not items or items[0].gold is None:
        return {}
    head = heads.load(task.head)
    table = head.rows(task, items, predictions)
    return head.scores(task, table) | head.more_scores(task, items, predictions, table)


def constant_predictions(task: TaskConfig, data: TaskData) -> list[Prediction]:
    """Return the best that one prediction for all of dev can get, by the task's metric; of equal ones the first.

    For best_f1 and best_exact, f1 and exact decide: with one probability of no answer for all, every threshold answers all
    questions or none.
    """
    items, metric = data.dev, task.metric.removeprefix("best_")
    found = [
        [{"id": item.id, "prediction": value} for item, value in zip(items, values, strict=True)]
        for values in heads.load(task.head).constants(items)
    ]
    return max(found, key=lambda predictions: score(task, items, predictions).get(metric, 0.0))


def at_chance(
    task: TaskConfig, items: Sequence[Item], predictions: Sequence[Prediction], constant: Sequence[Prediction]
) -> bool:
    """Return whether predictions are no better than constant ones, by the task's metric, beyond what the choice of items explains.

    A paired bootstrap: the items are drawn again with replacement, by a key that is the same for every run, and the gain must
    be above 0 in all but 2.5% of the draws. For best_f1 and best_exact, f1 and exact decide: a best threshold cannot lose.
    Fewer than `FEWEST_ITEMS` items are always at chance.
    """
    if len(items) < FEWEST_ITEMS:
        return True
    head = heads.load(task.head)
    ours, theirs = head.rows(task, items, predictions), head.rows(task, items, constant)
    metric = task.metric.removeprefix("best_")
    gains = np.empty(NUM_RESAMPLES)
    for number in range(NUM_RESAMPLES):
        drawn = generator(0, f"at_chance/{task.name}", number).integers(len(items), size=len(items))
        gains[number] = head.scores(task, ours[drawn])[metric] - head.scores(task, theirs[drawn])[metric]
    return not np.quantile(gains, QUANTILE) > 0
