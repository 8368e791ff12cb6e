"""A table of any runs, such as those of a multirun: its rows are what they differ in, its seeds are folded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from roberta_lab.config import Config, ConfigError, SweepConfig
from roberta_lab.data.storage import digest
from roberta_lab.reports import run_notes
from roberta_lab.reports.table.rows import Record
from roberta_lab.runs import names
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.loading import find_run, read_config
from roberta_lab.runs.overrides import Override, parse, texts
from roberta_lab.runs.tables import TABLES

QUESTION = "What do these settings change?"
USUAL = "usual settings"  # the row of runs that differ in seeds only


@dataclass(frozen=True)
class Grid:
    """A table of runs that were named one by one."""

    config: Config  # its sweep has a row for each setting
    records: list[Record]
    folder: Path
    command: str  # makes the table again
    settings: dict[str, dict[str, str]]  # by row: the values of the keys in which rows differ


@dataclass(frozen=True)
class _Noted:
    path: Path
    config: Config
    overrides: tuple[Override, ...]

    @property
    def task(self) -> str | None:
        return None if self.path.parent.name == "pretrain" else self.config.task.name


def grid_of(job: Job) -> Grid:
    """Return the table of `table.runs`. Raises ConfigError for what is no run, and for runs with nothing in common."""
    outputs = Path(job.config.paths.outputs)
    runs = [_noted(path) for path in dict.fromkeys(find_run(run, outputs) for run in job.config.table.runs)]
    scales = sorted({run.config.scale.name for run in runs})
    if len(scales) > 1:
        raise ConfigError(f"table.runs: they are of the scales {', '.join(scales)}. Allowed: runs of one scale.")
    rows = [name or USUAL for name in names.told_apart([run.overrides for run in runs])]
    # named by the runs that were asked for: the same line writes the same table
    folder = outputs / TABLES / f"runs-{digest({'runs': sorted(run.path.name for run in runs)}, 8)}" / scales[0]
    sweep = SweepConfig(
        name=folder.parent.name,
        title=_title(rows),
        question=QUESTION,
        rows={row: [] for row in rows},
        tasks=list(dict.fromkeys(run.task for run in runs if run.task is not None)),
    )
    set_by_row = {row: texts(names.told(run.overrides)) for row, run in zip(rows, runs, strict=True)}
    sweep.rows = {row: _own(set_by_row, row) for row in sweep.rows}
    records = [_record(run, row, folder) for run, row in zip(runs, rows, strict=True)]
    config = replace(runs[0].config, sweep=sweep, paths=job.config.paths, table=job.config.table)
    settings = dict(zip(rows, names.differing([run.overrides for run in runs]), strict=True))
    return Grid(config, records, folder, typed("table", _words(job)), settings)


def _words(job: Job) -> list[str]:
    """Return what to type for the same table, its runs without the quotes that Hydra's grammar wants."""
    runs = f"table.runs=[{','.join(job.config.table.runs)}]"
    return [*texts(o for o in job.overrides if o.key_or_group != "table.runs"), runs]


def _own(set_by_row: dict[str, list[str]], row: str) -> list[str]:
    """Return the overrides of a row that some other row lacks."""
    common = set.intersection(*map(set, set_by_row.values()))
    return [text for text in set_by_row[row] if text not in common]


def _title(rows: Sequence[str]) -> str:
    different = [*dict.fromkeys(rows)]
    return different[0] if len(different) == 1 else f"{len(different)} settings: {different[0]} to {different[-1]}"


def _noted(path: Path) -> _Noted:
    overrides = run_notes.overrides(path)
    if overrides is None:
        raise ConfigError(f"{path}: its overrides.yaml cannot be read, so what it differs in is not known.")
    return _Noted(path, read_config(path), parse(overrides))


def _record(run: _Noted, row: str, folder: Path) -> Record:
    result, damage = run_notes.result(run.path)
    kind = run.path.parent.name
    return Record(
        kind=kind,
        row=row,
        seed=run.config.seed,
        task=run.task,
        finetune_seed=run.config.finetune.seed if kind == "finetune" else None,
        run_id=run.path.name,
        directory=os.path.relpath(run.path, folder),
        result=result,
        config=run.config,
        damage=damage,
    )
