"""Scores of a task's predictions as their official definitions have them, 0 to 100, and what a constant prediction gets.

Each head has two steps: what an item contributes, as a row of numbers, and the scores of a table of such rows. So a resample
of the items (`share_no_better`) is a resample of rows. All is float64, as in scikit-learn and SciPy, which GLUE's own code uses;
torchmetrics, with which the tests compare, divides counts in float32 and adds an epsilon to Spearman's denominator. Where a
definition has no value (one class only, no variance), the score is 0.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from roberta_lab.axes.rng import generator
from roberta_lab.config import TaskConfig
from roberta_lab.tasks import heads
from roberta_lab.tasks.items import Item, Prediction, Predictions, Span, TaskData

NUM_RESAMPLES = 400  # for each prediction that was tried, so that the share that decides is of ten resamples always
FEWEST_ITEMS = 10  # with fewer items a bootstrap says nothing
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
Scores = dict[str, float]


def score(task: TaskConfig, items: Sequence[Item], predictions: Predictions) -> Scores:
    """Return every score of the task's head; {} where the items have no labels. Predictions are in the items' order."""
    if not items or items[0].gold is None:
        return {}
    head, pairs = heads.load(task.head), matched(items, predictions)
    table = head.rows(task, pairs)
    return head.scores(task, table) | head.more_scores(task, pairs, table)


def matched(items: Sequence[Item], predictions: Predictions) -> list[tuple[Item, Prediction]]:
    """Return each item with its own prediction; raise ValueError for another order."""
    pairs = list(zip(items, predictions, strict=True))
    for item, prediction in pairs:
        if item.id != prediction["id"]:
            raise ValueError(f"the prediction of {prediction['id']!r} stands in the place of {item.id!r}")
    return pairs


def constant_predictions(task: TaskConfig, data: TaskData) -> Predictions:
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


def chance_scores(task: TaskConfig, data: TaskData) -> Scores:
    """Return the dev scores of the best constant prediction."""
    return score(task, data.dev, constant_predictions(task, data))


def share_no_better(
    task: TaskConfig, items: Sequence[Item], predictions: Predictions, constant: Predictions, num_tried: int = 1
) -> float:
    """Return the share of resamples of the items, 0 to 1, in which predictions are no better than constant ones by the task's metric.

    A paired bootstrap: the items are drawn again with replacement, by a key that is the same for every run. What share is small
    enough, `FinetuningResult.is_at_chance` says: it depends on of how many predictions (`num_tried`) these are the best, and so
    do the resamples. For best_f1 and best_exact, f1 and exact decide: a best threshold cannot lose. With fewer than
    `FEWEST_ITEMS` items a bootstrap says nothing, and the share is 1.
    """
    if len(items) < FEWEST_ITEMS:
        return 1.0
    head = heads.load(task.head)
    ours, theirs = (head.rows(task, matched(items, found)) for found in (predictions, constant))
    metric, draw = task.metric.removeprefix("best_"), generator(0, f"at_chance/{task.name}")
    num_resamples, num_no_better = NUM_RESAMPLES * num_tried, 0
    for _ in range(num_resamples):
        drawn = draw.integers(len(items), size=len(items))
        is_better = head.scores(task, ours[drawn])[metric] > head.scores(task, theirs[drawn])[metric]
        num_no_better += not is_better  # nor is what is no number
    return num_no_better / num_resamples


# ---------------------------------------------------------------- answers, as the official scripts of SQuAD score them, to the last digit
# (Rajpurkar et al. 2016, 2018). 1.1 and 2.0 normalize alike and differ twice: 2.0 leaves out right answers of which normalizing
# leaves nothing, and to it an empty answer is right where none exists. Sums run over the items in their order, as theirs do.
def normalize_answer(text: str) -> list[str]:
    """Return the words of an answer: lower case, no punctuation, no articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(prediction: str, answer: str) -> float:
    """Return 1 when both have the same words; empty stands for no answer."""
    return float(normalize_answer(prediction) == normalize_answer(answer))


def token_f1(prediction: str, answer: str, version: int = 2) -> float:
    """Return F1 of the words in common. If either is empty it is 1 exactly when both are, in 1.1 always 0."""
    predicted, true = normalize_answer(prediction), normalize_answer(answer)
    if version == 2 and not (predicted and true):
        return float(predicted == true)
    common = (Counter(predicted) & Counter(true)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(true)
    return 2 * precision * recall / (precision + recall)


def best_of_golds(item: Span, text: str, version: int) -> tuple[float, float]:
    """Return exact match and F1 of a text with the right answer that it is nearest to, 0 to 1."""
    golds: Sequence[str] = item.gold
    if version == 2:
        golds = [gold for gold in golds if normalize_answer(gold)] or [""]
    return max(exact_match(text, gold) for gold in golds), max(token_f1(text, gold, version) for gold in golds)


def mean(scores: np.ndarray) -> float:
    """Return the mean, 0 to 100, summed one after another."""
    return 100.0 * float(np.cumsum(scores)[-1]) / len(scores)


def span_scores(table: np.ndarray, version: int) -> Scores:
    """Return the scores that are means of a table (N, 3): of each item exact match, F1, and 1 where it has an answer."""
    exact, f1, has_answer = table.T
    found = {"em": mean(exact), "f1": mean(f1)}
    if version == 1:
        return found
    found["exact"] = found["em"]
    for name, chosen in (("HasAns", has_answer == 1), ("NoAns", has_answer == 0)):
        if chosen.any():
            found |= {f"{name}_exact": mean(exact[chosen]), f"{name}_f1": mean(f1[chosen])}
    return found


def no_answer_probability(prediction: Prediction) -> float:
    """Return what the official script calls na_prob, of the prediction's log-odds."""
    odds = float(prediction["no_answer"])
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def best_thresholds(pairs: Sequence[tuple[Span, Prediction]]) -> Scores:
    """Return the best scores that any threshold on the probability of no answer gives the answers, and that threshold.

    An answer is `answer`, the best text that is not empty; where that key is absent, `prediction`. {} without `no_answer`.
    """
    if not all("no_answer" in p for _, p in pairs):
        return {}
    texts = [str(p.get("answer", p["prediction"])) for _, p in pairs]
    scores = np.array([best_of_golds(item, text, 2) for (item, _), text in zip(pairs, texts, strict=True)])
    has_answer = np.array([item.answer is not None for item, _ in pairs])
    cost = np.array([-float(bool(text)) for text in texts])  # of answering where there is no answer
    probabilities = np.array([no_answer_probability(p) for _, p in pairs])
    order = np.argsort(probabilities, kind="stable")
    found = {}
    for name, column in (("best_exact", scores[:, 0]), ("best_f1", scores[:, 1])):
        gains = np.where(has_answer, column, cost)[order]
        totals = np.cumsum(np.concatenate(([float((~has_answer).sum())], gains)))
        best = int(totals.argmax())
        found[name] = 100.0 * float(totals[best]) / len(pairs)
        found[f"{name}_thresh"] = float(probabilities[order[best - 1]]) if best else 0.0
    return found
