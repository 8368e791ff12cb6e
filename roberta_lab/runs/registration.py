"""What Hydra must know before it composes a config: the schema, the sweep files, the resolvers, and the sweeper of rows."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from roberta_lab.config import Config
from roberta_lab.runs import identity
from roberta_lab.runs.compose import build, divide, rate
from roberta_lab.runs.options import SWEEPS
from roberta_lab.runs.sweeper import RowSweeper

_SWEEPER = "hydra_plugins.roberta_lab.RowSweeper"  # Hydra takes plugins by a name in this namespace only


def register() -> None:
    """Calling it twice changes nothing."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for path in sorted(SWEEPS.glob("*.yaml")):
        store.store(group="sweep", name=path.stem, node=_read(path))
    sweeper = {"_target_": _SWEEPER, "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="rows", node=sweeper)
    Plugins.instance().class_name_to_class[_SWEEPER] = RowSweeper
    OmegaConf.register_new_resolver("divide", divide, replace=True)
    OmegaConf.register_new_resolver("rate", rate, replace=True)
    OmegaConf.register_new_resolver("cpus", _num_cpus, replace=True)
    OmegaConf.register_new_resolver("run_directory", _run_directory, replace=True)


@cache
def _read(path: Path) -> DictConfig:
    """A sweep file; its YAML takes a while to parse, and a process may run several commands."""
    found = OmegaConf.load(path)
    assert isinstance(found, DictConfig)
    return found


def _num_cpus(devices: int = 1) -> int:
    """Jobs of so many processes each that the cores have room for, with four processes at most: each has its memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores) // max(1, devices))


def _run_directory(*, _root_: DictConfig) -> str:
    """For Hydra's own folder of a job: the run's directory, so that single runs, multiruns and every launcher agree."""
    command = _root_.hydra.job.name
    return str(identity.directory(build(_root_), command)) if command in identity.KINDS else "."
