"""What Hydra must know before it composes a config: the schema, the sweep files, the resolvers, and the sweeper of rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from roberta_lab.config import Config
from roberta_lab.runs.compose import divide, rate
from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.jobs import job_of
from roberta_lab.runs.options import SWEEPS
from roberta_lab.runs.sweeper import RowSweeper

_read_once = cache(OmegaConf.load)  # a sweep file takes a while to parse, and a process may run several commands
_SWEEPER = "hydra_plugins.roberta_lab.RowSweeper"  # Hydra takes plugins by a name in this namespace only


def register() -> None:
    """Register all of it; calling it twice changes nothing."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for path in sorted(SWEEPS.glob("*.yaml")):
        store.store(group="sweep", name=path.stem, node=_read_once(path))
    sweeper = {"_target_": _SWEEPER, "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="rows", node=sweeper)
    Plugins.instance().class_name_to_class[_SWEEPER] = RowSweeper
    resolvers: dict[str, Callable[..., object]] = {
        "divide": divide,
        "rate": rate,
        "cpus": _num_cpus,
        "run_directory": _run_directory,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _num_cpus(devices: int = 1) -> int:
    """Return how many jobs of so many processes each the cores have room for: four processes at most, for each has its memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores) // max(1, devices))


def _run_directory(*, _root_: DictConfig) -> str:
    """Return the run's folder, so that single runs, multiruns and every launcher agree on Hydra's own folder of a job."""
    kind = _root_.hydra.job.name
    return str(job_of(kind, _root_.hydra.overrides.task, _root_).path) if kind in KINDS else "."
