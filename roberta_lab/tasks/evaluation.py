"""Predictions of a finetuned model: one for each item, with its scores (`tasks.items.Prediction`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from roberta_lab.config import TaskConfig
from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.items import Item, Prediction
from roberta_lab.tasks.task_model import TaskModel

TOKENS = 8192  # of a batch, padding counted in
Batches = Iterator[tuple[np.ndarray, dict[str, torch.Tensor], dict[str, torch.Tensor]]]
Precision = Callable[[], AbstractContextManager[object]]  # a context in which the model computes


def batches_of(table: FeatureTable, tokens: int = TOKENS) -> Iterator[np.ndarray]:
    """Yield features by length, the longest first, in batches of about so many tokens: little padding, and memory runs out
    at once or not at all.
    """
    order = np.argsort(-table.longest, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // int(table.longest[order[start]] * table.lengths.shape[1]))
        yield order[start : start + size]
        start += size


@torch.no_grad()
def outputs(model: TaskModel, table: FeatureTable, pad_id: int, precision: Precision) -> Batches:
    """Yield rows of the table, their batch, and what the model makes of them, dropout off."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    for rows in batches_of(table):
        batch = {name: torch.from_numpy(array).to(device) for name, array in table.batch(rows, pad_id).items()}
        with precision():
            found = model(batch)
        yield rows, batch, found
    model.train(was_training)


def predict(
    model: TaskModel,
    task: TaskConfig,
    items: Sequence[Item],
    table: FeatureTable,
    pad_id: int,
    precision: Precision = nullcontext,
) -> list[Prediction]:
    """Return one prediction for each item, in the items' order."""
    return model.kind.decode(task, items, table, outputs(model, table, pad_id, precision))
