"""A table of any runs, such as those of a multirun: its rows are what they differ in, its seeds are folded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from roberta_lab.config import Config, ConfigError, SweepConfig
from roberta_lab.data.storage import digest
from roberta_lab.reports import run_notes
from roberta_lab.reports.table.rows import Record, record_of
from roberta_lab.runs import identity, names
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.loading import find_run, read_config
from roberta_lab.runs.overrides import Override, parse, texts, without
from roberta_lab.runs.tables import TABLES

QUESTION = "What do these settings change?"
NOT_PRETRAINING = ("task", "finetune", "evaluate", "pretrained")  # what no pretraining run reads
SAME = "same settings"  # the row of runs that differ in seeds only


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
        return None if self.kind == "pretrain" else self.config.task.name

    @property
    def kind(self) -> str:
        return self.path.parent.name

    @property
    def finetune_seed(self) -> int | None:
        return self.config.finetune.seed if self.kind == "finetune" else None

    @property
    def is_second(self) -> bool:
        """Return whether it starts from a pretraining run."""
        return self.task is not None and identity.starts_from_run(self.config)

    @property
    def seeds(self) -> tuple[str | None, int, int | None]:
        """Return what tells a run from others of its row: the task and the seeds."""
        return self.task, self.config.seed, self.finetune_seed


@dataclass(frozen=True)
class _Placed:
    run: _Noted
    row: str
    settings: dict[str, str]  # the values of the keys in which rows differ

    def record(self, folder: Path) -> Record:
        """Return the run as the table in a folder shows it."""
        run = self.run
        seeds = run.config.seed, run.task, run.finetune_seed
        return record_of(run.path, folder, self.row, seeds, run.config)


def grid_of(job: Job) -> Grid:
    """Return the table of `table.runs`. Raises ConfigError for what is no run, and for runs with nothing in common."""
    outputs = Path(job.config.paths.outputs)
    runs = [_noted(path) for path in dict.fromkeys(find_run(run, outputs) for run in job.config.table.runs)]
    scales = sorted({run.config.scale.name for run in runs})
    if len(scales) > 1:
        raise ConfigError(f"table.runs: they are of the scales {', '.join(scales)}. Allowed: runs of one scale.")
    placed = _placed(runs)
    rows = [place.row for place in placed]
    # named by the runs that were asked for: the same line writes the same table
    folder = outputs / TABLES / f"runs-{digest({'runs': sorted(run.path.name for run in runs)}, 8)}" / scales[0]
    set_by_row = {place.row: texts(names.told(place.run.overrides)) for place in placed}
    sweep = SweepConfig(
        name=folder.parent.name,
        title=_title(rows),
        question=QUESTION,
        rows={row: _own(set_by_row, row) for row in set_by_row},
        tasks=list(dict.fromkeys(run.task for run in runs if run.task is not None)),
    )
    records = [place.record(folder) for place in placed]
    config = replace(runs[0].config, sweep=sweep, paths=job.config.paths, table=job.config.table)
    settings = {place.row: place.settings for place in placed}
    return Grid(config, records, folder, typed("table", _words(job)), settings)


def _placed(runs: Sequence[_Noted]) -> list[_Placed]:
    """Return the runs in their rows; a pretraining run is in each row of runs that start from its settings.

    Runs with the same settings and seeds, of other data or code, have rows of their own.
    """
    of_pretraining = names.differing([without(run.overrides, *NOT_PRETRAINING) for run in runs])
    starting = {  # from a pretraining run, by its place in the list
        number: [i for i, other in enumerate(runs) if other.is_second and of_pretraining[i] == of_pretraining[number]]
        for number, run in enumerate(runs)
        if run.task is None
    }
    leading = [number for number in range(len(runs)) if not starting.get(number)]
    chosen = [runs[number].overrides for number in leading]
    named = zip(leading, names.told_apart(chosen), names.differing(chosen), strict=True)
    rows = {number: _Placed(runs[number], name or SAME, own) for number, name, own in named}
    placed: list[_Placed] = []
    for number, run in enumerate(runs):
        own = {rows[i].row: rows[i] for i in starting.get(number) or [number]}
        placed += [replace(place, run=run) for place in own.values()]
    alike = Counter((place.row, place.run.seeds) for place in placed)
    return [
        replace(place, row=f"{place.row}, {place.run.path.name}") if alike[place.row, place.run.seeds] > 1 else place
        for place in placed
    ]


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
