"""From runs to the rows of a table. Everything shown is computed here, from results and published figures alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from roberta_lab.config import ConfigError, SweepConfig

# The figure of each task that the paper's tables show.
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


@dataclass(frozen=True)
class Record:
    """One run of the sweep, present or missing."""

    kind: str  # pretrain | finetune
    row: str
    seed: int
    task: str | None  # the paper's column; None for pretraining
    finetune_seed: int | None
    run_id: str
    directory: str  # relative to the folder that the table is written in
    result: dict[str, Any] | None  # result.json; None while the run is missing or incomplete


@dataclass(frozen=True)
class Cell:
    """Some runs of one row, and the figure they give together."""

    records: tuple[Record, ...]
    values: tuple[float, ...]  # of the runs that are there; finite ones only, the others are marked
    published: float | None = None
    marks: tuple[str, ...] = ()

    @property
    def median(self) -> float | None:
        return median(self.values) if self.values else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Smallest and largest value; None for fewer than two."""
        return (min(self.values), max(self.values)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Column:
    """A task of the paper, what stands in for it here, and the baseline on its dev items."""

    task: str
    metric: str
    stand_in: str | None
    majority: float | None
    num_dev: int | None
    caution: str


@dataclass(frozen=True)
class Row:
    """One row: a cell per column, and what its pretraining gave."""

    name: str
    cells: tuple[Cell, ...]
    perplexity: Cell
    unigram_ppl: float | None
    tokens_seen: int | None
    passes: float | None
    steps: int | None


@dataclass(frozen=True)
class Table:
    """A sweep's rows beside the published ones; `published_only` are rows of the paper that the sweep does not run."""

    name: str
    title: str
    question: str
    scale: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    published_only: dict[str, tuple[float | None, ...]]

    @property
    def num_missing(self) -> int:
        """Runs of the sweep that are not there yet."""
        cells = [cell for row in self.rows for cell in (row.perplexity, *row.cells)]
        return sum(record.result is None for cell in cells for record in cell.records)


@cache
def published(key: str) -> dict[str, dict[str, float | None]]:
    """The paper's figures of one table: row -> metric -> value."""
    tables = yaml.safe_load((Path(__file__).parent / "published.yaml").read_text(encoding="utf-8"))
    if key not in tables:
        raise ConfigError(f"sweep.published={key}: no such table. Allowed: {', '.join(tables)}.")
    table = tables[key]
    return {str(name): dict(zip(table["metrics"], values, strict=True)) for name, values in table["rows"].items()}


def table(sweep: SweepConfig, scale: str, records: Iterable[Record]) -> Table:
    """Groups the records by row and column, in the sweep's order."""
    records = list(records)
    paper = published(sweep.published) if sweep.published else {}
    columns = tuple(_column(task, records) for task in sweep.tasks)
    names = list(dict.fromkeys(record.row for record in records))
    metrics = [column.metric for column in columns]
    return Table(
        name=sweep.name,
        title=sweep.title,
        question=sweep.question,
        scale=scale,
        columns=columns,
        rows=tuple(_row(name, columns, [r for r in records if r.row == name], paper.get(name, {})) for name in names),
        published_only={k: tuple(v.get(m) for m in metrics) for k, v in paper.items() if k not in sweep.rows},
    )


def _column(task: str, records: list[Record]) -> Column:
    results = [r.result for r in records if r.task == task and r.result is not None]
    first = results[0] if results else {}
    stand_in = first["task"] if first.get("task", task) != task else None
    metric = METRIC_OF_TASK.get(task, task)
    return Column(task, metric, stand_in, first.get("majority"), first.get("num_dev"), first.get("caution", ""))


def _row(name: str, columns: tuple[Column, ...], records: list[Record], paper: dict[str, float | None]) -> Row:
    pretrained = [record for record in records if record.kind == "pretrain"]
    cells = [
        _cell(
            [r for r in records if r.task == c.task],
            lambda result: result.get("score"),
            paper.get(c.metric),
            c.stand_in,
        )
        for c in columns
    ]

    def shared(key: str) -> Any:
        return next((record.result.get(key) for record in pretrained if record.result), None)

    return Row(
        name=name,
        cells=tuple(cells),
        perplexity=_cell(pretrained, lambda result: result.get("val/ppl"), paper.get("ppl"), None),
        unigram_ppl=shared("unigram_ppl"),
        tokens_seen=shared("tokens_seen"),
        passes=shared("epochs"),
        steps=shared("steps"),
    )


def _cell(
    records: list[Record],
    value: Callable[[dict[str, Any]], float | None],
    paper: float | None,
    stand_in: str | None,
) -> Cell:
    results = [record.result for record in records if record.result is not None]
    values = [float(v) for v in map(value, results) if v is not None and math.isfinite(v)]
    marks = []
    if len(results) < len(records):
        marks.append(f"{len(records) - len(results)} of {len(records)} runs missing")
    if len(values) < len(results):  # a NaN sorts nowhere, so a median over it would depend on the order of the runs
        marks.append(f"{len(results) - len(values)} of {len(results)} runs nan")
    if results and 2 * sum(bool(result.get("at_chance")) for result in results) >= len(results):
        marks.append("at chance")
    if diverged := sum(bool(result.get("diverged")) for result in results):
        marks.append(f"{diverged} diverged")
    if stand_in:
        marks.append(f"stand-in: {stand_in}")
    return Cell(tuple(records), tuple(values), paper, tuple(marks))
