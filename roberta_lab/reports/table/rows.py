"""From runs to the rows of a table. Everything shown is computed here, from results and published figures alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from roberta_lab.config import Config, ConfigError, SweepConfig
from roberta_lab.reports.table.columns import Column, of_pretraining, of_tasks, published, source
from roberta_lab.reports.table.differences import Difference, Seeds, difference

AT_CHANCE = "at chance"


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
    config: Config | None  # as the row composes it; None if that is not known


@dataclass(frozen=True)
class Cell:
    """Some runs of one row, and the figure they give together."""

    records: tuple[Record, ...]
    by_seed: dict[Seeds, float]  # of the runs that are there; finite ones only, the others are marked
    published: float | None = None
    marks: tuple[str, ...] = ()
    difference: Difference | None = None  # from the reference row; None in that row itself

    @property
    def values(self) -> tuple[float, ...]:
        """One per run."""
        return tuple(self.by_seed.values())

    @property
    def median(self) -> float | None:
        return median(self.values) if self.by_seed else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Smallest and largest value; None for fewer than two."""
        return (min(self.values), max(self.values)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """One row: a cell per column, and what its pretraining gave."""

    name: str
    cells: tuple[Cell, ...]  # of the tasks' columns
    held_out: tuple[Cell, ...]  # of pretraining's columns; the first is perplexity
    unigram_ppl: float | None
    tokens_seen: int | None
    passes: float | None
    steps: int | None
    nsp_accuracy: float | None = None  # on held-out pairs, 0 to 1

    @property
    def perplexity(self) -> Cell:
        return self.held_out[0]

    @property
    def config(self) -> Config | None:
        """Of the row's pretraining, its first seed's; None for a row that has none."""
        return next((record.config for record in self.perplexity.records), None)


@dataclass(frozen=True)
class Best:
    """Of a grid over finetuning settings, the one with the best median on dev."""

    column: Column
    row: str
    cell: Cell
    num_settings: int  # with at least one run


@dataclass(frozen=True)
class Table:
    """A sweep's rows beside the published ones; `published_only` are rows of the paper that the sweep does not run."""

    name: str
    title: str
    question: str
    scale: str
    columns: tuple[Column, ...]
    held_out: tuple[Column, ...]
    rows: tuple[Row, ...]
    published_only: dict[str, tuple[float | None, ...]]  # by all columns
    source: str | None = None  # of the published figures; None without any
    reference: str | None = None  # the row that the others are compared with
    best: tuple[Best, ...] = field(default=())

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The tasks' columns, then pretraining's."""
        return (*self.columns, *self.held_out)

    def cells(self, row: Row) -> list[tuple[Column, Cell]]:
        """All cells of a row with their columns."""
        return list(zip(self.all_columns, (*row.cells, *row.held_out), strict=True))

    @property
    def records(self) -> list[Record]:
        """Every run of the sweep once per row it is in."""
        found = [record for row in self.rows for _, cell in self.cells(row) for record in cell.records]
        return list({id(record): record for record in found}.values())

    @property
    def num_runs(self) -> int:
        """Runs of the sweep; one that several rows or columns share counts once."""
        return len({record.run_id for record in self.records})

    @property
    def num_missing(self) -> int:
        """Those that are not there yet."""
        return len({record.run_id for record in self.records if record.result is None})


def table(sweep: SweepConfig, scale: str, records: Iterable[Record]) -> Table:
    """Groups the records by row and column, in the sweep's order.

    Raises: ConfigError when `sweep.reference` is no row of the sweep.
    """
    records = list(records)
    if sweep.reference is not None and sweep.reference not in sweep.rows:
        raise ConfigError(f"sweep.reference={sweep.reference}: no such row. Allowed: {', '.join(sweep.rows)}.")
    paper = published(sweep.published) if sweep.published else {}
    by_task = {task: [r.result for r in records if r.task == task and r.result] for task in sweep.tasks}
    columns = of_tasks(sweep, by_task)
    held_out = of_pretraining(r.result for r in records if r.kind == "pretrain" and r.result)
    there = dict.fromkeys(record.row for record in records)
    names = sorted(there, key=list(sweep.rows).index)  # not all have a pretraining run, which come first
    rows = [_row(n, columns, held_out, [r for r in records if r.row == n], paper.get(n, {})) for n in names]
    reference = sweep.reference if sweep.reference in names else next(iter(names), None)
    compared = _compared(sweep.name, rows, reference)
    metrics = [column.metric for column in (*columns, *held_out)]
    return Table(
        name=sweep.name,
        title=sweep.title,
        question=sweep.question,
        scale=scale,
        columns=columns,
        held_out=held_out,
        rows=compared,
        published_only={k: tuple(v.get(m) for m in metrics) for k, v in paper.items() if k not in sweep.rows},
        source=source(sweep.published) if sweep.published else None,
        reference=reference,
        best=_best(columns, compared) if is_grid(sweep) else (),
    )


def _row(
    name: str,
    columns: tuple[Column, ...],
    held_out: tuple[Column, ...],
    records: list[Record],
    paper: dict[str, float | None],
) -> Row:
    pretrained = [record for record in records if record.kind == "pretrain"]

    def shared(key: str) -> Any:
        return next((record.result.get(key) for record in pretrained if record.result), None)

    return Row(
        name=name,
        cells=tuple(_cell([r for r in records if r.task == c.task], c, paper) for c in columns),
        held_out=tuple(_against_unigram(_cell(pretrained, c, paper), c, shared("unigram_ppl")) for c in held_out),
        unigram_ppl=shared("unigram_ppl"),
        tokens_seen=shared("tokens_seen"),
        passes=shared("epochs"),
        steps=shared("steps"),
        nsp_accuracy=shared("val/nsp_acc"),
    )


def _against_unigram(cell: Cell, column: Column, unigram: float | None) -> Cell:
    """With a mark where a perplexity is one that word frequencies alone would have."""
    if column.metric != "ppl" or cell.median is None or unigram is None or cell.median < unigram:
        return cell
    return replace(cell, marks=(*cell.marks, "no better than the unigram model"))


def _cell(records: list[Record], column: Column, paper: dict[str, float | None]) -> Cell:
    values = [(r, column.value(r.result)) for r in records if r.result is not None]
    # What no run of the row measures is another matter than a run that broke; runs of older code have no bits per byte.
    unmeasured = (
        bool(values) and all(value is None for _, value in values) and (not column.principal or column.optional)
    )
    found = {(r.seed, r.finetune_seed): float(v) for r, v in values if v is not None and math.isfinite(v)}
    results = [r.result for r, _ in values if r.result is not None]
    marks = []
    if len(values) < len(records):
        marks.append(f"{len(records) - len(values)} of {len(records)} runs missing")
    if unmeasured:
        marks.append(f"not measured{f' by {column.stand_in}' if column.stand_in else ''}")
    elif len(found) < len(values):  # a NaN sorts nowhere, so a median over it would depend on the order of the runs
        marks.append(f"{len(values) - len(found)} of {len(values)} runs nan")
    chance = sum(bool(result.get("at_chance")) for result in results) if column.principal else 0
    if chance:
        marks.append(AT_CHANCE if 2 * chance >= len(results) else f"{chance} of {len(results)} {AT_CHANCE}")
    if diverged := sum(bool(result.get("diverged")) for result in results):
        marks.append(f"{diverged} diverged")
    if column.stand_in:
        marks.append(f"stand-in: {column.stand_in}")
    return Cell(tuple(records), found, paper.get(column.metric), tuple(marks))


# ---------------------------------------------------------------- rows against each other
def _compared(name: str, rows: list[Row], reference: str | None) -> tuple[Row, ...]:
    """The rows, each cell with its difference from the reference row's."""
    against = next((row for row in rows if row.name == reference), None)
    if against is None:
        return tuple(rows)
    size = len(against.cells)
    found = []
    for row in rows:
        pairs = zip((*row.cells, *row.held_out), (*against.cells, *against.held_out), strict=True)
        cells = [c if row is against else _with_difference(c, a, f"{name}/{row.name}") for c, a in pairs]
        found.append(replace(row, cells=tuple(cells[:size]), held_out=tuple(cells[size:])))
    return tuple(found)


def _with_difference(cell: Cell, against: Cell, name: str) -> Cell:
    found = difference(cell.by_seed, against.by_seed, name)
    if found is not None and {r.run_id for r in cell.records} == {r.run_id for r in against.records}:
        found = replace(found, same_runs=True)
    return replace(cell, difference=found)


def is_grid(sweep: SweepConfig) -> bool:
    """Whether the rows are settings of finetuning, of which the best one counts (RoBERTa, Section 5.1)."""
    keys = [o.lstrip("+~").partition("=")[0] for overrides in sweep.rows.values() for o in overrides]
    return len(sweep.rows) > 1 and all(sweep.rows.values()) and all(key.startswith("finetune.") for key in keys)


def _best(columns: tuple[Column, ...], rows: tuple[Row, ...]) -> tuple[Best, ...]:
    found = []
    for i, column in enumerate(columns):
        there = [row for row in rows if row.cells[i].median is not None]
        if column.principal and there:
            row = max(there, key=lambda row, i=i: row.cells[i].median)  # of equal ones the first
            found.append(Best(column, row.name, replace(row.cells[i], difference=None), len(there)))
    return tuple(found)
