"""The heads of downstream tasks, one file for each, read when it is used. This registry is read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roberta_lab.tasks.heads.base import Head
    from roberta_lab.tasks.items import Item


@dataclass(frozen=True)
class HeadEntry:
    """The facts of a head that are needed before its file is imported."""

    module: str  # the file in this folder; its `HEADS` has the head under its name
    metrics: tuple[str, ...]  # what task.metric may be
    two_class_metrics: tuple[str, ...] = ()  # those of them that exist for two classes only
    variants: tuple[str, ...] = ()  # other heads of the file, which are chosen from the data
    reads_stride: bool = False  # whether task.stride moves its windows
    inputs_per_item: int = 1  # for estimates of costs


HEADS = {
    "classification": HeadEntry("classification", ("accuracy", "f1", "f1_macro", "mcc"), two_class_metrics=("f1",)),
    "regression": HeadEntry("classification", ("pearson", "spearman")),
    "choice": HeadEntry("choice", ("accuracy",), inputs_per_item=4),  # RACE's
    "span": HeadEntry(
        "span", ("f1", "em", "exact", "best_f1", "best_exact"), variants=("span with answerability",), reads_stride=True
    ),
    "tagging": HeadEntry("tagging", ("f1", "precision", "recall", "accuracy")),
}


def load(name: str) -> Head[Item]:
    """Return the head of this name, which is a key of `HEADS` or a variant."""
    [module] = [entry.module for key, entry in HEADS.items() if name in (key, *entry.variants)]
    return import_module(f"{__name__}.{module}").HEADS[name]
