"""The columns of a table: one for each figure of a task that the paper gives, with its place in a run's result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

import yaml

from roberta_lab.config import ConfigError, SweepConfig
from roberta_lab.model.metrics import BITS_PER_BYTE, PERPLEXITY, Metric
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks.result import EvaluationResult, FinetuningResult, TaskResult
from roberta_lab.training.rows import PretrainingResult

# The figure of each task that the paper's tables show, and that a run's own metric fills: its `score`.
METRIC_OF_TASK = {
    **{"squad1": "squad1_f1", "squad2": "squad2_f1", "mnli": "mnli_m_acc", "cola": "cola_mcc", "stsb": "stsb_pearson"},
    **{task: f"{task}_acc" for task in ("sst2", "race", "qnli", "qqp", "rte", "mrpc", "wnli", "blimp")},
}
# The paper's name of a figure, without the task -> its name among the scores of the dev split.
METRICS = {"acc": "accuracy", "m_acc": "accuracy", "middle_acc": "accuracy_middle", "high_acc": "accuracy_high"}
OTHER_SPLITS = {"mm_acc": ("dev_mm", "accuracy")}  # figures of another split than dev
HELD_OUT = "held_out"  # the `task` of columns that pretraining fills
PAPER = "Liu et al. 2019, RoBERTa, arXiv:1907.11692v1"
NAMES = {BITS_PER_BYTE.name: "bits_per_byte"}  # of held-out metrics, where a table's name is another
# of the common held-out text, by the names of their fields in a result
COMMON_BITS = Metric("common_bits_per_byte", lower_is_better=True, digits=3)
COMMON_PERPLEXITY = Metric("common_perplexity", lower_is_better=True)
SAME_BYTES = 1e-6  # share by which the mean bytes of predicted tokens may differ where they are the same tokens


@dataclass(frozen=True)
class Column:
    """A figure of one of the paper's tasks, with the task that stands in for it here and the baseline on its dev items."""

    task: str
    metric: str  # the paper's name; published.yaml's
    stand_in: str | None = None
    other_text: bool = False  # of a run's own held-out inputs: whether they are of another text than the paper's
    majority: float | None = None
    num_dev: int | None = None
    caution: str = ""
    zero_shot: bool = False  # scored without finetuning
    measured: str | None = None  # the metric that is shown, where it is not the paper's
    principal: bool = True  # the score of its task, which also chose the best epoch
    lower_is_better: bool = False
    digits: int = 1
    optional: bool = False  # a complete run may lack it
    held_out: Metric | None = None  # of columns that pretraining fills, as the run's objective declares it

    def value(self, result: RunResult) -> float | None:
        """Return this column's figure in a run's result; None where the run did not measure it."""
        if isinstance(result.found, PretrainingResult):
            assert self.held_out is not None, self.metric
            if self.is_common:
                found = result.found
                return found.common_bits_per_byte if self.held_out == COMMON_BITS else found.common_perplexity
            value = result.found.metrics.get(f"val/{self.held_out.name}")
            return 100 * value if value is not None and self.held_out.is_share else value
        if self.principal:
            return result.found.score
        name = self.metric.removeprefix(f"{self.task}_")
        if name in OTHER_SPLITS:
            split, metric = OTHER_SPLITS[name]
            others = result.found.others if isinstance(result.found, FinetuningResult) else {}
            return others.get(split, {}).get(metric)
        return result.found.metrics.get(METRICS.get(name, name))

    @property
    def is_apart(self) -> bool:
        """Return whether the paper's value is of other items or other text than the figure, so that it stands apart."""
        return bool(self.stand_in) or self.other_text

    def published_in(self, paper: Mapping[str, float | None]) -> float | None:
        """Return the published value that may stand beside this column's scores; beside those of a stand-in, which is another
        task, none may.
        """
        return None if self.is_apart else paper.get(self.metric)

    def is_called(self, name: str) -> bool:
        """Return whether a name means this column: that of its figure, or of the task whose score it is."""
        return name == self.metric or (name == self.task and self.principal and self.held_out is None)

    @property
    def is_common(self) -> bool:
        """Return whether the figure is of the common held-out text, not of a run's own inputs."""
        return self.held_out in (COMMON_BITS, COMMON_PERPLEXITY)

    @property
    def head(self) -> tuple[str, str]:
        """Return whose figure it is, and its name: (squad2, squad2_f1), (common, bits per byte), (the run's own, sop acc, %)."""
        if self.held_out is None:
            return self.task, self.metric
        whose, metric = (
            ("common", self.metric.removeprefix("common_")) if self.is_common else ("the run's own", self.metric)
        )
        return whose, metric.replace("_", " ") + (", %" if self.held_out.is_share else "")

    @property
    def title(self) -> str:
        """Return the column's name for people: `squad2 (squad2_f1)`, `common bits per byte`, `the run's own ppl`."""
        whose, name = self.head
        return f"{whose} ({name})" if self.held_out is None else f"{whose} {name}"

    @property
    def shown(self) -> str | None:
        """Return what is shown in place of the paper's figure: `pydoc_topic (accuracy)`, `best_f1`; None for that figure."""
        if self.stand_in:
            return self.stand_in + (f" ({self.measured})" if self.measured else "")
        return self.measured


class _PublishedTable(TypedDict, total=False):
    """A table of published.yaml: the values of each row stand in the order of the metrics."""

    source: str  # where it is not the RoBERTa paper
    encoding: str  # the kind of tokenizer that its rows probably have, where it is not byte-level BPE
    tasks: list[str]  # of yardsticks: the columns beside which these rows stand, in any table
    metrics: list[str]
    rows: dict[str, list[float | None]]


@cache
def _tables() -> dict[str, _PublishedTable]:
    tables: dict[str, _PublishedTable] = yaml.safe_load(
        (Path(__file__).parent / "published.yaml").read_text(encoding="utf-8")
    )
    return tables


def _published(key: str) -> _PublishedTable:
    tables = _tables()
    if key not in tables:
        raise ConfigError(f"sweep.published={key}: no such table. Allowed: {', '.join(tables)}.")
    return tables[key]


def stated_for(name: str, stated: Mapping[str, float]) -> float | None:
    """Return what a sweep states for a figure, or for the score of a task, its margin or spread: by figure, else by task."""
    task = next((task for task in METRIC_OF_TASK if name == task or name.startswith(f"{task}_")), name)
    return stated.get(METRIC_OF_TASK.get(name, name), stated.get(task))


def source(key: str) -> str:
    """Return where the figures of one table are published."""
    return _published(key).get("source", PAPER)


def encoding(key: str) -> str | None:
    """Return the kind of tokenizer that the rows of one table probably have; None: byte-level BPE."""
    return _published(key).get("encoding")


def published(key: str) -> dict[str, dict[str, float | None]]:
    """Return the published figures of one table: row -> metric -> value. Raises ConfigError for an unknown table."""
    table = _published(key)
    return {str(name): dict(zip(table["metrics"], values, strict=True)) for name, values in table["rows"].items()}


def beside(tasks: Sequence[str]) -> list[str]:
    """Return the keys of published figures that stand beside the columns of these tasks in any table."""
    return [key for key, table in _tables().items() if not {*table.get("tasks", ())}.isdisjoint(tasks)]


def task_columns(
    sweep: SweepConfig, results: Mapping[str, Sequence[TaskResult]], scored_by: Mapping[str, str]
) -> tuple[Column, ...]:
    """Return the columns of each task that the sweep has runs of, in its order: the figures that the paper's table has of the task,
    else the figure that papers usually give. `results` are those that are there, by task; `scored_by` is the task that is scored for
    it, where that is known before there is a result.
    """
    metrics = _published(sweep.published)["metrics"] if sweep.published else []
    found = []
    for task in results:
        own = [metric for metric in metrics if metric.startswith(f"{task}_")] or [METRIC_OF_TASK.get(task, task)]
        score = METRIC_OF_TASK.get(task, own[0])
        principal = score if score in own else own[0]
        by = scored_by.get(task, task)
        found += [_column(task, metric, metric == principal, results[task], by) for metric in own]
    return tuple(found)


def _column(task: str, metric: str, principal: bool, results: Sequence[TaskResult], scored_by: str) -> Column:
    if not results:
        return Column(task, metric, stand_in=scored_by if scored_by != task else None, principal=principal)
    first, name = results[0], metric.removeprefix(f"{task}_")
    return Column(
        task=task,
        metric=metric,
        stand_in=first.task if first.task != task else None,
        majority=first.majority if principal else None,
        num_dev=first.num_dev if principal else None,
        caution=first.caution,
        zero_shot=isinstance(first, EvaluationResult),
        measured=first.metric if principal and first.metric != METRICS.get(name, name) else None,
        principal=principal,
    )


def common_columns(results: Sequence[PretrainingResult]) -> tuple[Column, ...]:
    """Return the columns of the common held-out text: bits per byte always, perplexity where all runs predict the same tokens."""
    figures = [(r.common_perplexity, r.common_bits_per_byte) for r in results if r.common_bits_per_byte is not None]
    metrics = (COMMON_BITS, COMMON_PERPLEXITY) if are_same_tokens(figures) else (COMMON_BITS,)
    return tuple(_held_out(metric, optional=True) for metric in metrics)


def are_same_tokens(figures: Sequence[tuple[float | None, float | None]]) -> bool | None:
    """Return whether runs predict the same tokens of one text, by their perplexities and bits per byte; None if not known.

    Both are of the same loss, so their ratio is the mean length of the predicted tokens, in bytes.
    """
    lengths = []
    for perplexity, bits in figures:
        if not perplexity or not bits or not math.isfinite(perplexity) or not math.isfinite(bits):
            return None
        lengths.append(math.log2(perplexity) / bits)
    return max(lengths) <= (1 + SAME_BYTES) * min(lengths) if lengths else None


def held_out_columns(results: Sequence[PretrainingResult]) -> tuple[Column, ...]:
    """Return the columns of pretraining: perplexity always, then what the objective of any run declares and measured."""
    declared = dict.fromkeys([PERPLEXITY, *(metric for result in results for metric in result.declared)])
    found = []
    for metric in declared:
        values = [result.metrics.get(f"val/{metric.name}") for result in results]
        if metric is PERPLEXITY or any(value is not None and math.isfinite(value) for value in values):
            found.append(_held_out(metric, optional=metric is not PERPLEXITY or None in values))
    return tuple(found)


def _held_out(metric: Metric, optional: bool) -> Column:
    name = NAMES.get(metric.name, metric.name)
    better, digits = metric.lower_is_better, metric.digits
    return Column(HELD_OUT, name, lower_is_better=better, digits=digits, optional=optional, held_out=metric)
