"""What a table is made of: runs as records, cells of several runs, rows, and the whole."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from roberta_lab.config import Config
from roberta_lab.reports import run_notes
from roberta_lab.reports.statistics.paired import Seeds
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.differences import Difference
from roberta_lab.reports.table.verdict import Verdict
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.results import RunResult
from roberta_lab.training.rows import Cut


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
    result: RunResult | None  # None while the run is missing or incomplete, and for a damaged result
    config: Config | None  # as the row composes it; None if that is not known
    setting: str = ""  # of finetuning, where a grid of them is searched
    damage: str | None = None  # why the result cannot be read, and how to mend it


def read_record(run: Job, folder: Path) -> Record:
    """Return a run as tables show it, its directory relative to `folder`."""
    seeds = run.seed, run.task, run.finetune_seed
    return record_of(run.path, folder, run.row, seeds, run.config, run.setting_name)


def record_of(
    run: Path, folder: Path, row: str, seeds: tuple[int, str | None, int | None], config: Config, setting: str = ""
) -> Record:
    """Return the run in a folder as a row shows it; a damaged result costs its own cell, not the table.

    `seeds` are that of pretraining, the column, and that of finetuning.
    """
    result, damage = run_notes.result(run)
    where = os.path.relpath(run, folder)
    return Record(run.parent.name, row, *seeds, run.name, where, result, config, setting, damage)


@dataclass(frozen=True)
class Cell:
    """Some runs of one row, and the figure they give together: of several settings of finetuning, the best one's."""

    records: tuple[Record, ...]  # of all settings
    by_seed: Mapping[Seeds, float]  # of the shown runs that are there; finite ones only, the others are marked
    published: float | None = None
    marks: tuple[str, ...] = ()
    difference: Difference | None = None  # from the reference row; None in that row itself
    setting: str = ""  # the one that is shown, where there are several
    num_settings: int = 1  # of which it is the best

    @property
    def shown(self) -> list[Record]:
        """Return the runs of the setting that is shown."""
        return [record for record in self.records if record.setting == self.setting]

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(self.by_seed.values())

    @property
    def median(self) -> float | None:
        """Return the figure that the table shows; None without a run."""
        return median(self.values) if self.by_seed else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Return the smallest and the largest value; None for fewer than two."""
        return (min(self.values), max(self.values)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """One row: a cell per column, and what its pretraining gave."""

    name: str
    cells: tuple[Cell, ...]  # of the tasks' columns
    held_out: tuple[Cell, ...]  # of pretraining's columns; the first is perplexity
    common: tuple[Cell, ...] = ()  # of the common set's columns; the first is bits per byte
    marks: tuple[str, ...] = ()  # of the row as a whole: how it was made unlike the others
    cuts: tuple[tuple[Cut, ...], ...] = ()  # of each complete pretraining run
    common_texts: tuple[str, ...] = ()  # the different ones of its runs
    unigram_ppl: float | None = None
    tokens_seen: int | None = None
    passes: float | None = None
    steps: int | None = None

    @property
    def perplexity(self) -> Cell:
        return self.held_out[0]

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        return (*self.common, *self.cells, *self.held_out)

    @property
    def config(self) -> Config | None:
        """Return the config of the row's first pretraining run; None for a row that has none."""
        return next((record.config for record in self.perplexity.records), None)

    @property
    def complete(self) -> list[Record]:
        """Return the complete runs, pretraining first, each once."""
        found = (record for cell in (self.perplexity, *self.cells) for record in cell.records if record.result)
        return list({record.run_id: record for record in found}.values())


@dataclass(frozen=True)
class Best:
    """The setting with the best median on dev, out of a grid over finetuning settings."""

    column: Column
    row: str
    cell: Cell
    num_settings: int  # with at least one run


@dataclass(frozen=True)
class Table:
    """A sweep's rows beside the published ones."""

    name: str
    title: str
    question: str
    scale: str
    common: tuple[Column, ...]  # of the common set
    columns: tuple[Column, ...]  # of tasks
    held_out: tuple[Column, ...]  # of each run's own held-out inputs
    rows: tuple[Row, ...]
    published_only: Mapping[str, tuple[float | None, ...]]  # rows that the sweep does not run, by all columns
    stood_in_for: tuple[Column, ...] = ()  # whose figures are of other items or text than the paper's
    published_apart: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)  # all rows, by `stood_in_for`
    encoding: str | None = None  # of the published rows' texts, where it need not be ours
    source: str | None = None  # of the published figures; None without any
    reference: str | None = None  # the row that the others are compared with
    best: tuple[Best, ...] = ()
    left_out: tuple[str, ...] = ()  # tasks of the sweep that have no column at this scale
    verdicts: tuple[Verdict, ...] = ()  # on the claims of the sweep
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by row: those with columns of their own

    @property
    def setting_columns(self) -> list[str]:
        """Return the settings that have a column of their own: of a grid, what varies."""
        return list(dict.fromkeys(key for own in self.settings.values() for key in own))

    @property
    def all_columns(self) -> tuple[Column, ...]:
        return (*self.common, *self.columns, *self.held_out)

    @property
    def published_below(self) -> dict[str, tuple[float | None, ...]]:
        """Return the published rows that the sweep does not run, as far as they have a value of a column here."""
        return {name: values for name, values in self.published_only.items() if any(v is not None for v in values)}

    def cells(self, row: Row) -> list[tuple[Column, Cell]]:
        return list(zip(self.all_columns, row.all_cells, strict=True))

    @property
    def records(self) -> list[Record]:
        """Return every run of the sweep once per row it is in."""
        cells = (cell for row in self.rows for cell in row.all_cells)
        return list({id(record): record for cell in cells for record in cell.records}.values())

    @property
    def num_runs(self) -> int:
        """Return the number of runs; one that several rows or columns share counts once."""
        return len({record.run_id for record in self.records})

    @property
    def num_missing(self) -> int:
        """Return the number of runs without a result that can be read."""
        return len({record.run_id for record in self.records if record.result is None})
