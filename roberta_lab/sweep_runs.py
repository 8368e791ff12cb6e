"""The runs of a sweep with their configs and folders, before anything is started: what is there, what is missing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from roberta_lab import run
from roberta_lab.composition import CONF
from roberta_lab.config import Config
from roberta_lab.sweeper import Configs, Job, expand, key_of

_configs = Configs(lambda overrides: compose("config", overrides))  # composes each setting once in a process


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: where it lies, and the overrides that make it."""

    kind: str  # pretrain | finetune
    job: Job
    config: Config
    path: Path

    @property
    def name(self) -> str:
        """`static seed 1`, or `static seed 1, mnli 2` of the second finetuning seed."""
        column = f", {self.job.task} {self.job.finetune_seed}" if self.kind == "finetune" else ""
        return f"{self.job.row} seed {self.job.seed}{column}"

    @property
    def is_complete(self) -> bool:
        wants_model = self.kind == "finetune" and self.config.finetune.save_model
        return run.is_complete(self.path) and (not wants_model or (self.path / run.MODEL).is_dir())

    @property
    def needs(self) -> Path | None:
        """The pretraining run without which this one cannot start."""
        start = self.config.pretrained
        own = self.kind == "finetune" and start.start == "run" and not start.path
        return run.directory(self.config, "pretrain") if own else None

    def command(self, user: Sequence[str]) -> str:
        """What to type for this run alone; `user` are the overrides of the whole sweep, without `sweep`."""
        assert self.config.sweep is not None
        chosen = {"sweep": self.config.sweep.name, "sweep.only": f"[{_in_hydra(self.job.row)}]"}
        if not any(key_of(o) == "seed" for o in user):
            chosen["sweep.seeds"] = f"[{self.job.seed}]"
        if self.kind == "finetune":
            chosen |= {"sweep.tasks": f"[{self.job.task}]", "sweep.finetune_seeds": f"[{self.job.finetune_seed}]"}
        words = [f"{key}={value}" for key, value in chosen.items()]
        words += [o for o in user if key_of(o) not in chosen]
        return shlex.join(["roberta-lab", self.kind, *words])


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
    """Every run of `config.sweep`, pretraining first; to be called while `composing`.

    Args:
        user: the overrides that `config` was composed with, `sweep=NAME` among them.
    """
    return [_addressed(kind, job, config) for kind in run.KINDS for job in expand(config, kind, user)]


def _addressed(kind: str, job: Job, config: Config) -> SweepRun:
    assert config.sweep is not None
    made = _configs.of(job, config.sweep)
    return SweepRun(kind, job, made, run.directory(made, kind))
