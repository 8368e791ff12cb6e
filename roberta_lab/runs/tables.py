"""The tables that a command asks for, with all of their runs, before anything is started."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.config import Config, ConfigError
from roberta_lab.config.console import say
from roberta_lab.runs import names
from roberta_lab.runs.composition import composed, composing
from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.jobs import Job, by_folder, jobs_of
from roberta_lab.runs.overrides import Override, assign

TABLES = "tables"  # in paths.outputs


@dataclass(frozen=True)
class Sweep:
    """One table: its config, the overrides that it was composed with, its runs."""

    config: Config
    overrides: tuple[Override, ...]
    runs: list[Job]

    @property
    def name(self) -> str:
        """Return the sweep's name."""
        assert self.config.sweep is not None
        return self.config.sweep.name

    @property
    def settings(self) -> list[Override]:
        """Return what was asked for that makes it another table than the sweep's own."""
        return names.settings_of(self.overrides)

    @property
    def folder(self) -> Path:
        """Return where the table lies: a folder for each sweep, scale, and settings that differ from the sweep's own."""
        name = names.folder_name(self.config.scale.name, self.settings)
        return Path(self.config.paths.outputs) / TABLES / self.name / name


def runs_of(config: Config, overrides: Sequence[Override]) -> list[Job]:
    """Return every run of `config.sweep`, pretraining first; to be called while `composing`."""
    return [job for kind in KINDS for job in jobs_of(kind, overrides, config)]


def without_table_choice(overrides: Sequence[Override]) -> list[Override]:
    """Return the overrides without those that choose tables (`sweep`, `reproduce.sweeps`)."""
    return [o for o in overrides if o.key_or_group not in ("sweep", "reproduce.sweeps")]


def sweeps_of(config: Config, overrides: Sequence[Override]) -> list[Sweep]:
    """Return every table that is asked for, with its runs. Raises ConfigError when rows are chosen of several tables."""
    assert config.sweep is not None
    user, names = without_table_choice(overrides), config.reproduce.sweeps or [config.sweep.name]
    if len(names) > 1 and any(o.key_or_group == "sweep.only" for o in user):
        raise ConfigError("sweep.only: rows belong to one table; choose one with sweep=NAME.")
    if len(names) > 3:  # which takes noticeably long
        say(f"composing the runs of {len(names)} tables ...")
    with composing():
        every = [(assign("sweep", name), *user) for name in names]
        return [Sweep(chosen := composed(own), own, runs_of(chosen, own)) for own in every]


def each_once(runs: Iterable[Job]) -> dict[Path, Job]:
    """Return the runs and those of `finetune.init_from` by folder, each once and with all that its rows ask of it."""
    shown = list(runs)
    return by_folder([*shown, *(job.encoder for job in shown if job.encoder is not None)])


def num_shared(sweeps: Sequence[Sweep]) -> int:
    """Return how many runs more than one table shows."""
    tables = Counter(path for sweep in sweeps for path in {job.path for job in sweep.runs})
    return sum(number > 1 for number in tables.values())
