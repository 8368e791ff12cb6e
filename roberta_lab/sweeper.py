"""A sweep's rows as Hydra jobs. Rows are correlated settings, so a Cartesian product cannot say them; the launcher stays Hydra's.

Sweep files are written in the paper's own terms. A scale replaces what a machine cannot hold (`scale.stands_for`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, flag_override

from roberta_lab.composition import build, groups, nearest, spelled_out
from roberta_lab.config import Config, ConfigError, ScaleConfig, SweepConfig

COLUMNS = {"task": "sweep.tasks", "finetune.seed": "sweep.finetune_seeds"}  # set per column, and by which list


@dataclass(frozen=True)
class Job:
    """One run of a sweep, and where in its table it belongs. `task` and `finetune_seed` are None for pretraining."""

    row: str
    seed: int
    task: str | None  # the paper's name of the column
    finetune_seed: int | None
    overrides: tuple[str, ...]


def key_of(override: str) -> str:
    """`+masking.name=x` -> `masking.name`."""
    return override.lstrip("+~").partition("=")[0]


def rows_of(sweep: SweepConfig) -> dict[str, list[str]]:
    """The rows that `sweep.only` leaves, in the sweep's order."""
    if sweep.only is None:
        return sweep.rows
    if not sweep.only:
        raise ConfigError(f"sweep.only=[]: no rows. Allowed: some of {', '.join(sweep.rows)}.")
    for name in sweep.only:
        if name not in sweep.rows:
            raise ConfigError(
                f"sweep.only={name}: no such row in {sweep.name}.{nearest(name, list(sweep.rows))} Allowed: {', '.join(sweep.rows)}."
            )
    return {name: overrides for name, overrides in sweep.rows.items() if name in sweep.only}


def expand(config: Config, command: str, user: Sequence[str]) -> list[Job]:
    """Every job of the sweep for `command`, each with the overrides that address its run: base, row, then the user's.

    Raises: ConfigError when the user sets what the rows or the columns differ in.
    """
    sweep = config.sweep
    assert sweep is not None
    differing = {key_of(o).split(".")[0] for overrides in sweep.rows.values() for o in overrides}
    for override in user:
        if key_of(override).split(".")[0] in differing:
            raise ConfigError(
                f"{override}: the rows of sweep={sweep.name} differ in it; take some rows with sweep.only=[...]."
            )
        if key_of(override) in COLUMNS:
            raise ConfigError(
                f"{override}: the columns of sweep={sweep.name} set it; choose them with {COLUMNS[key_of(override)]}=[...]."
            )
    seeds = [int(o.partition("=")[2]) for o in user if key_of(o) == "seed"][-1:] or sweep.seeds
    columns: list[tuple[str | None, int | None]] = [(None, None)]
    if command == "finetune":
        _check_tasks(sweep, config.scale)
        columns = list(itertools.product(sweep.tasks, sweep.finetune_seeds))
    jobs = []
    for (row, own), seed, (task, finetune_seed) in itertools.product(rows_of(sweep).items(), seeds, columns):
        paper = spelled_out([*sweep.base, *own, *([f"task={task}"] if task else [])])
        settings = [config.scale.stands_for.get(o, o) for o in paper] + [f"seed={seed}", f"sweep.row={row}"]
        if finetune_seed is not None:
            settings.append(f"finetune.seed={finetune_seed}")
        given = {key_of(o) for o in user}
        overrides = [o for o in settings if key_of(o) not in given] + list(user)
        jobs.append(Job(row, seed, task, finetune_seed, tuple(overrides)))
    return jobs


def _check_tasks(sweep: SweepConfig, scale: ScaleConfig) -> None:
    """Each task is there, or the scale has a stand-in for it."""
    paper = [override.removeprefix("task=") for override in scale.stands_for if override.startswith("task=")]
    allowed = [*groups()["task"], *paper]
    for task in sweep.tasks:
        if task not in allowed:
            raise ConfigError(
                f"sweep.tasks={task}: no such task.{nearest(task, allowed)} Allowed: {', '.join(allowed)}."
            )


def set_jobs(config: DictConfig) -> None:
    """`trainer.jobs` for a launcher that counts jobs (joblib), unless `hydra.launcher.n_jobs` is given. Not in the YAML, for
    other launchers have no such key."""
    given = any(key_of(o) == "hydra.launcher.n_jobs" for o in config.hydra.overrides.hydra)
    if "n_jobs" in config.hydra.launcher and not given:
        with flag_override(config, ["readonly", "struct"], False):
            config.hydra.launcher.n_jobs = config.trainer.jobs


class RowSweeper(Sweeper):
    """Hydra's own sweeper for plain multiruns; with `sweep=NAME`, the rows of that sweep. Any launcher runs the jobs."""

    def __init__(self, **basic_sweeper: Any) -> None:
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config
        set_jobs(config)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launches every job once all of them compose and pass the checks; then the first failure speaks."""
        assert self.context is not None
        jobs = self._jobs(arguments)
        for job in jobs:
            build(self.context.config_loader.load_sweep_config(self.config, job))
        results = self.launcher.launch(jobs, initial_job_idx=0)
        for result in results:
            if isinstance(failure := result.return_value, Exception):
                raise failure
        return results

    def _jobs(self, arguments: list[str]) -> list[list[str]]:
        assert self.context is not None
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        [products] = BasicSweeper.split_arguments(parser.parse_overrides(arguments), None)
        if self.config.sweep is None:
            return [list(job) for job in products]
        config, command = build(self.config), self.config.hydra.job.name
        return [list(job.overrides) for user in products for job in expand(config, command, list(user))]
