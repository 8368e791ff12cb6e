"""The runs of a sweep with their configs and folders, before anything is started: what is there, what is missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from roberta_lab.config import Config, ConfigError, SweepConfig
from roberta_lab.runs import identity, run_folder
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.compose import build, check, encoder_config
from roberta_lab.runs.options import CONF
from roberta_lab.runs.overrides import encoder_overrides, key_of, without_sweep
from roberta_lab.runs.sweeps import Job, expand

OWN = ("sweep", "reproduce.sweeps")
MANY = 3  # tables beyond which composing takes noticeably long


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: where it lies, and the overrides that make it."""

    kind: str  # pretrain | finetune
    job: Job
    config: Config
    path: Path
    is_encoder: bool = False  # a start of other runs (`finetune.init_from`)

    @property
    def name(self) -> str:
        """`static seed 1`, or `static seed 1, mnli 2` of the second finetuning seed."""
        column = f", {self.job.task} {self.job.finetune_seed}" if self.kind == "finetune" else ""
        return f"{self.job.row} seed {self.job.seed}{column}"

    @property
    def is_complete(self) -> bool:
        """With everything that is asked for."""
        return (
            run_folder.has_all(self.config, self.path) if self.kind == "finetune" else run_folder.is_complete(self.path)
        )

    @property
    def is_trained(self) -> bool:
        """With everything that only training gives."""
        return (
            run_folder.is_finetuned(self.config, self.path)
            if self.kind == "finetune"
            else run_folder.is_complete(self.path)
        )

    @cached_property
    def needs(self) -> tuple[Path, ...]:
        """The runs without which this one cannot start: that of pretraining, that of `finetune.init_from`."""
        found = []
        if self.kind == "finetune" and identity.starts_from_run(self.config):
            found.append(identity.directory(self.config, "pretrain"))
        if (encoder := self.encoder) is not None:
            found.append(encoder.path)
        return tuple(found)

    @cached_property
    def encoder(self) -> SweepRun | None:
        """The run of `finetune.init_from`, which the table need not show, with its weights; None without one."""
        if self.kind != "finetune" or not self.config.finetune.init_from:
            return None
        config = encoder_config(self.config)
        overrides = tuple(encoder_overrides(self.config, self.job.overrides))
        job = replace(self.job, task=config.task.name, overrides=overrides)
        return SweepRun("finetune", job, config, identity.directory(config, "finetune"), is_encoder=True)

    def asking(self, other: SweepRun) -> SweepRun:
        """This run with what another row, or one that starts from it, asks of the same run beside its result."""
        tune, more = self.config.finetune, other.config.finetune
        asked = [name for name in identity.ASKED if getattr(more, name) and not getattr(tune, name)]
        if self.kind != "finetune" or not asked:
            return self
        finetune = replace(tune, **dict.fromkeys(asked, True))
        kept = [o for o in self.job.overrides if key_of(o) not in [f"finetune.{name}" for name in asked]]
        job = replace(self.job, overrides=(*kept, *(f"finetune.{name}=true" for name in asked)))
        return replace(self, job=job, config=replace(self.config, finetune=finetune))

    def command(self, user: Sequence[str]) -> str:
        """What to type for this run alone; `user` are the overrides of the whole sweep, without `sweep`."""
        assert self.config.sweep is not None
        if self.is_encoder:  # no column of the sweep is sure to be this run
            return typed(self.kind, without_sweep(self.job.overrides))
        chosen = {"sweep": self.config.sweep.name, "sweep.only": f"[{_in_hydra(self.job.row)}]"}
        if not any(key_of(o) == "seed" for o in user):
            chosen["sweep.seeds"] = f"[{self.job.seed}]"
        if self.kind == "finetune":
            chosen |= {"sweep.tasks": f"[{self.job.task}]", "sweep.finetune_seeds": f"[{self.job.finetune_seed}]"}
            of_rows = {key_of(o) for row in self.config.sweep.rows.values() for o in row}
            asked = [name for name in identity.ASKED if getattr(self.config.finetune, name)]
            chosen |= {f"finetune.{name}": "true" for name in asked if f"finetune.{name}" not in of_rows}
        words = [f"{key}={value}" for key, value in chosen.items()]
        words += [o for o in user if key_of(o) not in chosen]
        return typed(self.kind, words)


@dataclass(frozen=True)
class Sweep:
    """One table: its config, the overrides it was composed with, its runs."""

    config: Config
    overrides: list[str]
    runs: list[SweepRun]

    @property
    def name(self) -> str:
        assert self.config.sweep is not None
        return self.config.sweep.name


def num_shared(sweeps: Sequence[Sweep]) -> int:
    """Runs that more than one table shows."""
    tables: dict[Path, set[str]] = {}
    for sweep in sweeps:
        for one in sweep.runs:
            tables.setdefault(one.path, set()).add(sweep.name)
    return sum(len(names) > 1 for names in tables.values())


def each_once(runs: Iterable[SweepRun]) -> dict[Path, SweepRun]:
    """The runs and those of `finetune.init_from`, each once and with all that is asked of it, as its first row has it."""
    shown, found = list(runs), {}
    for one in [*shown, *(one.encoder for one in shown if one.encoder is not None)]:
        found[one.path] = found[one.path].asking(one) if one.path in found else one
    return found


def _in_hydra(name: str) -> str:
    """A row's name as an element of a list in Hydra's grammar."""
    if re.fullmatch(r"[A-Za-z_][\w-]*", name):
        return name
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextmanager
def composing() -> Iterator[None]:
    """Hydra ready to compose, also inside a job of its own."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def runs_of(config: Config, user: Sequence[str]) -> list[SweepRun]:
    """Every run of `config.sweep`, pretraining first, without those of rows that start from a folder or random weights; to be
    called while `composing`.

    Args:
        user: the overrides that `config` was composed with, `sweep=NAME` among them.
    """
    found = [_addressed(kind, job, config) for kind in identity.KINDS for job in expand(config, kind, user)]
    return [one for one in found if one.kind == "finetune" or identity.starts_from_run(one.config)]


def _addressed(kind: str, job: Job, config: Config) -> SweepRun:
    assert config.sweep is not None
    made = _configs.of(job, config.sweep)
    return SweepRun(kind, job, made, identity.directory(made, kind))


def of_all_tables(overrides: Sequence[str]) -> list[str]:
    """The overrides that are not about which tables are asked for."""
    return [o for o in overrides if key_of(o) not in OWN]


def sweeps_of(config: Config, overrides: Sequence[str]) -> list[Sweep]:
    """Every table that is asked for (`sweep=NAME`, or `reproduce.sweeps`), with all of its runs.

    Raises: ConfigError when rows are chosen of several tables.
    """
    assert config.sweep is not None
    user, names = of_all_tables(overrides), config.reproduce.sweeps or [config.sweep.name]
    if len(names) > 1 and any(key_of(o) == "sweep.only" for o in user):
        raise ConfigError("sweep.only: rows belong to one table; choose one with sweep=NAME.")
    if len(names) > MANY:
        print(f"composing the runs of {len(names)} tables ...", file=sys.stderr)
    sweeps = []
    with composing():
        for name in names:
            own = [f"sweep={name}", *user]
            chosen = build(compose("config", own))
            sweeps.append(Sweep(chosen, own, runs_of(chosen, own)))
    return sweeps


_PER_JOB = ("seed", "finetune.seed")  # and all of `sweep`


class Configs:
    """The typed configs of many jobs. Composing takes a sixth of a second, so what jobs share is composed once: pretraining
    settings, which those of finetuning do not touch, and the settings of each task.

    Args:
        compose: from overrides to a composed tree, as Hydra's own within `initialize_config_dir`.
    """

    def __init__(self, compose: Callable[[list[str]], DictConfig]) -> None:
        self._composed = cache(lambda overrides: build(compose(list(overrides))))

    def of(self, job: Job, sweep: SweepConfig) -> Config:
        """As `build(compose(job.overrides))` has it."""
        shared = [o for o in job.overrides if key_of(o) not in _PER_JOB and key_of(o).split(".")[0] != "sweep"]
        of_task = [o for o in shared if key_of(o).split(".")[0] in ("task", "finetune")]  # `++task.files.train=x` too
        pretraining = self._composed(tuple(o for o in shared if o not in of_task))
        tuning = self._composed(tuple(o for o in shared if o in of_task or key_of(o) == "scale"))
        seed = tuning.finetune.seed if job.finetune_seed is None else job.finetune_seed
        finetune = replace(tuning.finetune, seed=seed)
        own = {"seed": job.seed, "sweep": replace(sweep, row=job.row), "task": tuning.task, "finetune": finetune}
        config = replace(pretraining, **own)
        check(config)
        return config


_configs = Configs(lambda overrides: compose("config", overrides))  # composes each setting once in a process
