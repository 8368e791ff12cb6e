"""The columns of a table: a figure of a task each, as the paper has them, and where it stands in a run's result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from roberta_lab.config import ConfigError, SweepConfig

# The figure of each task that the paper's tables show, and that a run's own metric fills: its `score`.
METRIC_OF_TASK = {
    "squad1": "squad1_f1",
    "squad2": "squad2_f1",
    "mnli": "mnli_m_acc",
    "sst2": "sst2_acc",
    "race": "race_acc",
    "qnli": "qnli_acc",
    "qqp": "qqp_acc",
    "rte": "rte_acc",
    "mrpc": "mrpc_acc",
    "cola": "cola_mcc",
    "stsb": "stsb_pearson",
    "wnli": "wnli_acc",
}
# The paper's name of a figure, without the task -> the path to it in result.json.
PATHS = {
    "acc": ("metrics", "accuracy"),
    "m_acc": ("metrics", "accuracy"),
    "mm_acc": ("others", "dev_mm", "accuracy"),
    "middle_acc": ("metrics", "accuracy_middle"),
    "high_acc": ("metrics", "accuracy_high"),
    "mcc": ("metrics", "mcc"),
    "pearson": ("metrics", "pearson"),
    "spearman": ("metrics", "spearman"),
    "em": ("metrics", "em"),
    "f1": ("metrics", "f1"),
}
HELD_OUT = "held_out"  # the `task` of columns that pretraining fills
PAPER = "Liu et al. 2019, RoBERTa, arXiv:1907.11692v1"
PERPLEXITY, BITS_PER_BYTE = "val/ppl", "val/bits_per_nonspace_byte"


@dataclass(frozen=True)
class Column:
    """A figure of a task of the paper, what stands in for it here, and the baseline on its dev items."""

    task: str
    metric: str  # the paper's name; published.yaml's
    stand_in: str | None = None
    majority: float | None = None
    num_dev: int | None = None
    caution: str = ""
    measured: str | None = None  # the metric that is shown, where it is not the paper's
    principal: bool = True  # the score of its task, which also chose the best epoch
    lower_is_better: bool = False
    digits: int = 1
    optional: bool = False  # a run that is complete may lack it

    def value(self, result: Mapping[str, Any]) -> float | None:
        """This column's figure in a result.json; None where the run did not measure it."""
        if self.task == HELD_OUT:
            return result.get({"ppl": PERPLEXITY, "bits_per_byte": BITS_PER_BYTE}[self.metric])
        if self.principal:
            return result.get("score")
        found: Any = result
        for name in path_of(self.task, self.metric):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    @property
    def title(self) -> str:
        """For people: `squad2 (squad2_f1)`, `held-out perplexity`."""
        names = {"ppl": "held-out ppl", "bits_per_byte": "held-out bits per byte"}
        return names[self.metric] if self.task == HELD_OUT else f"{self.task} ({self.metric})"


def path_of(task: str, metric: str) -> tuple[str, ...]:
    """`mnli_mm_acc` of mnli -> others, dev_mm, accuracy."""
    name = metric.removeprefix(f"{task}_")
    return PATHS.get(name, ("metrics", name))


@cache
def _published(key: str) -> dict[str, Any]:
    tables = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
    if key not in tables:
        raise ConfigError(f"sweep.published={key}: no such table. Allowed: {', '.join(tables)}.")
    return tables[key]


def source(key: str) -> str:
    """Where the figures of one table are published."""
    return str(_published(key).get("source", PAPER))


def published(key: str) -> dict[str, dict[str, float | None]]:
    """The paper's figures of one table: row -> metric -> value."""
    table = _published(key)
    return {str(name): dict(zip(table["metrics"], values, strict=True)) for name, values in table["rows"].items()}


def of_tasks(sweep: SweepConfig, results: Mapping[str, list[Mapping[str, Any]]]) -> tuple[Column, ...]:
    """The columns of each task of the sweep, in its order: the paper's figures of it, else the one that papers show.

    Args:
        results: of each task, those that are there.
    """
    rows = published(sweep.published) if sweep.published else {}
    metrics = list(next(iter(rows.values()), {}))
    found = []
    for task in sweep.tasks:
        own = [metric for metric in metrics if metric.startswith(f"{task}_")] or [METRIC_OF_TASK.get(task, task)]
        found += [_column(task, metric, own, results.get(task, [])) for metric in own]
    return tuple(found)


def _column(task: str, metric: str, own: list[str], results: list[Mapping[str, Any]]) -> Column:
    first: Mapping[str, Any] = results[0] if results else {}
    shown = METRIC_OF_TASK.get(task, metric)
    principal = metric == (shown if shown in own else own[0])
    measured = first.get("metric") if principal and first.get("metric") != path_of(task, metric)[-1] else None
    return Column(
        task=task,
        metric=metric,
        stand_in=first["task"] if first.get("task", task) != task else None,
        majority=first.get("majority") if principal else None,
        num_dev=first.get("num_dev") if principal else None,
        caution=first.get("caution", ""),
        measured=measured,
        principal=principal,
    )


def of_pretraining(results: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Perplexity always; bits per byte, which other tokens do not change, where a run measured it."""
    columns = [Column(HELD_OUT, "ppl", lower_is_better=True)]
    if any(isinstance(r.get(BITS_PER_BYTE), float) and math.isfinite(r[BITS_PER_BYTE]) for r in results):
        columns.append(Column(HELD_OUT, "bits_per_byte", lower_is_better=True, digits=3, optional=True))
    return tuple(columns)
