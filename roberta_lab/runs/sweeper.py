"""Hydra's sweeper of this project: the rows of a sweep, or a plain product, as jobs for the chosen launcher."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, flag_override

from roberta_lab.runs import identity
from roberta_lab.runs.compose import build
from roberta_lab.runs.overrides import key_of
from roberta_lab.runs.sweeps import expand


def set_jobs(config: DictConfig) -> None:
    """`trainer.jobs` for a launcher that counts jobs (joblib), unless `hydra.launcher.n_jobs` is given. Not in the YAML, for
    other launchers have no such key."""
    given = any(key_of(o) == "hydra.launcher.n_jobs" for o in config.hydra.overrides.hydra)
    if "n_jobs" in config.hydra.launcher and not given:
        with flag_override(config, ["readonly", "struct"], False):
            config.hydra.launcher.n_jobs = config.trainer.jobs


def side_by_side(num_runs: int, launcher: DictConfig) -> str:
    """`3 runs, 2 side by side`, as far as the launcher says how many (joblib: -1 is one a core)."""
    jobs = launcher.get("n_jobs")
    if jobs is None:  # Hydra's own runs one after the other; a cluster's queue decides for itself
        return f"{num_runs} runs" + (", one after the other" if "BasicLauncher" in launcher._target_ else "")
    if jobs < 0:
        from joblib import effective_n_jobs

        jobs = effective_n_jobs(jobs)
    jobs = min(num_runs, jobs)
    return f"{num_runs} runs, " + (f"{jobs} side by side" if jobs > 1 else "one after the other")


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
        jobs = self._once(self._jobs(arguments))
        if len(jobs) > 1 and self.config.hydra.job.name in identity.KINDS:
            print(side_by_side(len(jobs), self.config.hydra.launcher), flush=True)
        results = self.launcher.launch(jobs, initial_job_idx=0)
        for result in results:
            if isinstance(failure := result.return_value, Exception):
                raise failure
        return results

    def _once(self, jobs: list[list[str]]) -> list[list[str]]:
        """The jobs, checked, each run once: rows and columns that have the same stand-ins are one run. Raises: ConfigError."""
        assert self.context is not None
        command, runs = self.config.hydra.job.name, {}
        for number, job in enumerate(jobs):
            config = build(self.context.config_loader.load_sweep_config(self.config, job))
            key = identity.directory(config, command) if command in identity.KINDS else number
            runs.setdefault(key, job)
        return list(runs.values())

    def _jobs(self, arguments: list[str]) -> list[list[str]]:
        assert self.context is not None
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        [products] = BasicSweeper.split_arguments(parser.parse_overrides(arguments), None)
        if self.config.sweep is None:
            return [list(job) for job in products]
        config, command = build(self.config), self.config.hydra.job.name
        return [list(job.overrides) for user in products for job in expand(config, command, list(user))]
