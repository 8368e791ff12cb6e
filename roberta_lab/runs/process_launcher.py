"""Hydra's launcher of this project: jobs in processes of their own, `trainer.jobs` side by side.

With GPUs that many go on each of them (`leases`). A job whose process dies, or whose GPU has no memory left, takes no other with
it. It is tried once more when the others are done, alone: another one may have used up the memory. A signal that only this process got is passed on, and the jobs are waited for.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.version import setbase
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from roberta_lab.config import ConfigError, ProcessDied, Stopped, one_line, starters, stopping
from roberta_lab.config.console import say
from roberta_lab.data.corpus.workers import cores
from roberta_lab.data.pool import ANYWHERE, Outcome, Places, Pool, Work
from roberta_lab.runs import leases
from roberta_lab.runs.compose import build
from roberta_lab.runs.leases import Leases, Need
from roberta_lab.runs.wandb import environment

Done: TypeAlias = tuple[JobStatus, Any, str | None]  # of a job: status, what it returned or raised, what is left of W&B
_pool: Pool | None = None  # kept from one launch to the next: a process takes seconds to start


def close() -> None:
    """End the processes that were kept."""
    global _pool
    if _pool is not None:
        _pool.close()
        _pool = None


def _pool_of(most: int) -> Pool:
    global _pool
    if _pool is None or _pool.most != most:
        close()
        _pool = Pool(most)
    return _pool


class ProcessLauncher(Launcher):
    """`hydra/launcher=processes`, of which `n_jobs` is `trainer.jobs` unless it is given."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction

    def __init__(self, n_jobs: int = 1) -> None:
        self.most = max(1, n_jobs) if n_jobs >= 0 else cores()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config, self.task = hydra_context, config, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs and return what came of each. Raises Stopped after a signal, when those at work have saved."""
        shared = self.context, self.config, self.task
        works: list[Work] = [
            (_run, (*shared, list(words), initial_job_idx + i)) for i, words in enumerate(job_overrides)
        ]
        found, gpus = dict[int, Outcome](), leases.devices()
        at_once = 1 if starters.place() is not None else self.most * max(1, len(gpus))  # all processes make one run
        pool = _pool_of(at_once)
        needs = self._needs(job_overrides)
        places: Places = Leases(gpus, self.most, needs) if gpus else ANYWHERE
        if gpus and len(works) > 1 and needs(0).devices:
            names = ", ".join(gpu.name for gpu in gpus)
            say(f"on GPU {names}: at most {self.most} side by side on each, as their memory allows")
        with stopping.finishing():
            for number, outcome in pool.outcomes(works, places=places):
                found[number] = outcome
                if outcome.error is None:
                    environment.learn(_done(outcome)[2])
                if (lost := _lost(outcome)) and not stopping.asked():
                    words = " ".join(job_overrides[number])
                    say(f"job {number} ({words}): {lost}; once more, alone, after the others")
            again = [number for number in found if _lost(found[number])]
            if again and gpus:
                pool.close()  # a process that waits has memory of its GPU
            alone = Leases(gpus, 1, self._needs([job_overrides[number] for number in again])) if gpus else ANYWHERE
            for i, outcome in pool.outcomes([works[number] for number in again], most=1, places=alone):
                found[again[i]] = outcome
            if number := stopping.asked():
                said = [one.error.said for one in found.values() if isinstance(one.error, Stopped) and one.error.said]
                stopping.stop(number, "; ".join(said))
        return [_returned(found[number]) for number in range(len(works))]

    def _needs(self, job_overrides: Sequence[Sequence[str]]) -> Callable[[int], Need]:
        """Return what says what a job needs of GPUs, by its number. A job that cannot be composed says so where it runs."""

        @cache
        def need(number: int) -> Need:
            own = self.context.config_loader.load_sweep_config(self.config, list(job_overrides[number]))
            try:
                return leases.need_of(build(own), own.hydra.job.name)
            except (ConfigError, OmegaConfBaseException):
                return Need(1)

        return need


def _lost(outcome: Outcome) -> str:
    """Return why a job was lost that alone may succeed; empty for others. torch's error has its name, torch need not be here."""
    if isinstance(outcome.error, ProcessDied):
        return str(outcome.error)
    value = outcome.value[1] if isinstance(outcome.value, tuple) else outcome.error
    return one_line(value) if isinstance(value, Exception) and type(value).__name__ == "OutOfMemoryError" else ""


def _run(context: HydraContext, config: DictConfig, task: TaskFunction, words: list[str], number: int) -> Done:
    """Run one job in this process as Hydra's own launchers do."""
    setbase("1.3")
    setup_globals()
    own = context.config_loader.load_sweep_config(config, words)
    with open_dict(own):
        own.hydra.job.id = f"{own.hydra.job.name}_{number}"
        own.hydra.job.num = number
    HydraConfig.instance().set_config(own)
    done = run_job(
        hydra_context=context,
        config=own,
        task_function=task,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():  # others on this GPU may need what the job has left
        gc.collect()
        torch.cuda.empty_cache()
    return done.status, done._return_value, environment.failed()


def _done(outcome: Outcome) -> Done:
    return cast(Done, outcome.value)


def _returned(outcome: Outcome) -> JobReturn:
    """Return what Hydra expects of a launcher."""
    if outcome.error is None:
        status, value, _ = _done(outcome)
        return JobReturn(_return_value=value, status=status)
    error = outcome.error
    if isinstance(error, Stopped):  # its process alone got the signal
        error = ProcessDied(str(error).rstrip("."))
    return JobReturn(_return_value=error, status=JobStatus.FAILED)
