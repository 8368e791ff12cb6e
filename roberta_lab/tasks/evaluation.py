"""Predictions of a finetuned model: one per item, with its scores (`tasks.items.Prediction`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.items import Item, Prediction
from roberta_lab.tasks.spans import Answers
from roberta_lab.tasks.task_model import Ends, Outputs, TaskModel

TOKENS = 8192  # of a batch, padding counted in
Batches = Iterator[tuple[np.ndarray, dict[str, torch.Tensor], Outputs]]


def batches_of(table: FeatureTable, tokens: int = TOKENS) -> Iterator[np.ndarray]:
    """Features by length, the longest first, in batches of about so many tokens: little padding, and memory runs out at once."""
    order = np.argsort(-table.longest, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // int(table.longest[order[start]] * table.lengths.shape[1]))
        yield order[start : start + size]
        start += size


@torch.no_grad()
def outputs(
    model: TaskModel, table: FeatureTable, pad_id: int, context: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Batches:
    """Rows of the table, their batch, and what the model makes of them, dropout off.

    Args:
        context: the precision to compute in.
    """
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    for rows in batches_of(table):
        batch = {name: torch.from_numpy(array).to(device) for name, array in table.batch(rows, pad_id).items()}
        with context():
            found = model(batch)
        yield rows, batch, found
    model.train(was_training)


def predict(
    model: TaskModel,
    head: str,
    items: Sequence[Item],
    table: FeatureTable,
    pad_id: int,
    most_tokens: int,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> list[Prediction]:
    """One prediction per item, in the items' order.

    Args:
        most_tokens: of an answer; for spans.
    """
    return HEADS[head](model, items, table, outputs(model, table, pad_id, context), most_tokens)


def _numbers(values: torch.Tensor) -> list[Any]:
    """Finite ones, which JSON can hold: a model whose weights are NaN predicts 0, and its run is marked as diverged."""
    return torch.nan_to_num(values.float()).tolist()


def _classes(
    model: TaskModel, items: Sequence[Item], table: FeatureTable, batches: Batches, most_tokens: int
) -> list[Prediction]:
    """The class, or the candidate, with the largest logit."""
    logits: dict[int, list[float]] = {}
    for rows, _, found in batches:
        logits |= zip(table.item[rows].tolist(), _numbers(found["logits"]), strict=True)
    chosen = {number: int(np.argmax(row)) for number, row in logits.items()}
    return [{"id": item.id, "prediction": chosen[i], "logits": logits[i]} for i, item in enumerate(items)]


def _scores(
    model: TaskModel, items: Sequence[Item], table: FeatureTable, batches: Batches, most_tokens: int
) -> list[Prediction]:
    scores: dict[int, float] = {}
    for rows, _, found in batches:
        scores |= zip(table.item[rows].tolist(), _numbers(found["logits"][:, 0]), strict=True)
    return [{"id": item.id, "prediction": scores[i]} for i, item in enumerate(items)]


def _answers(
    model: TaskModel, items: Sequence[Any], table: FeatureTable, batches: Batches, most_tokens: int
) -> list[Prediction]:
    answers = Answers(items, table, most_tokens)
    assert isinstance(model.head, Ends)
    for rows, batch, found in batches:
        answerable = found["answerable"].float().cpu().numpy() if "answerable" in found else None
        answers.add(rows, model.head.log_probabilities(found, batch).cpu().numpy(), answerable)
    return answers.predictions()


def _tags(
    model: TaskModel, items: Sequence[Any], table: FeatureTable, batches: Batches, most_tokens: int
) -> list[Prediction]:
    """The class of each word, and its probability."""
    chosen: list[list[int]] = [[-1] * len(item.words) for item in items]
    scores: list[list[float]] = [[0.0] * len(item.words) for item in items]
    for rows, _, found in batches:
        best, tags = (t.cpu().numpy() for t in found["tags"].float().softmax(-1).nan_to_num().max(-1))
        for i, row in enumerate(rows):
            number, places = int(table.item[row]), table.places_of(int(row))
            for token, word in places.tolist():
                chosen[number][word], scores[number][word] = int(tags[i, token]), float(best[i, token])
    assert all(tag >= 0 for tags in chosen for tag in tags), "every word is in one window"
    return [{"id": item.id, "prediction": chosen[i], "scores": scores[i]} for i, item in enumerate(items)]


HEADS: dict[str, Callable[..., list[Prediction]]] = {
    "classification": _classes,
    "regression": _scores,
    "choice": _classes,
    "span": _answers,
    "tagging": _tags,
}
