"""Jobs through the chosen Hydra launcher: a job that fails, or that the machine kills, costs no other job."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks  # HydraContext asks for it, and no public module has it
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import open_dict

from roberta_lab.config import one_line
from roberta_lab.data import claims
from roberta_lab.runs.composition import composing
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import Override, texts, without
from roberta_lab.runs.registration import set_jobs

ATTEMPTS = 2  # at a job that was running when the launcher broke off: another one may have used up the memory
KILLED = "its process was killed, by the machine perhaps for want of memory; trainer.jobs=1 runs one at a time"
Launch = Callable[[list[list[str]]], Sequence[Any]]  # jobs, each as overrides -> what Hydra's launcher returns


def launcher(kind: str, hydra_overrides: Sequence[str], task_function: Any, user: Sequence[Override]) -> Launch:
    """Return Hydra's launcher for jobs of one kind, as the overrides choose it."""
    with composing():
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        overrides = [*texts(without(user, "sweep")), *hydra_overrides, f"hydra.job.name={kind}"]
        config = hydra.compose_config("config", overrides, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        with open_dict(config):
            config.hydra.job.config_name = "config"
        set_jobs(config)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
        instantiate = Plugins.instance().instantiate_launcher
        found = instantiate(hydra_context=context, task_function=task_function, config=config)

    def launch(jobs: list[list[str]]) -> Sequence[Any]:
        GlobalHydra.instance().clear()  # a job in this process may compose configs itself
        return found.launch(jobs, initial_job_idx=0)

    return launch


def run_all(launch: Launch, runs: Sequence[Job], say: Callable[[str], None]) -> dict[Path, str]:
    """Run every job, and return the messages of those that failed, by folder.

    A launcher that loses a process gives up all its jobs. Of these, those that were running are tried once more and go on
    from what they had saved; those that had not started simply start.
    """
    failures: dict[Path, str] = {}
    cut: Counter[Path] = Counter()
    todo = list(runs)
    while todo:
        before = {one.path: _owner(one.path) for one in todo}
        try:
            results = launch([[*one.words, "trainer.progress=false"] for one in todo])
        except Exception as error:
            left = [one for one in todo if not one.is_complete]
            running = [one for one in left if _owner(one.path) not in (None, before[one.path])]
            if not running:  # it is not a job that broke it
                return failures | {one.path: f"the launcher failed: {one_line(error)}" for one in left}
            _wait_until_free(running)
            cut.update(one.path for one in running)
            failures |= {one.path: KILLED for one in running if cut[one.path] >= ATTEMPTS}
            todo = [one for one in left if one.path not in failures]
            if todo:
                say(f"{type(error).__name__}: {', '.join(one.name for one in running)} cut off; going on")
            continue
        for one, result in zip(todo, results, strict=True):
            said = result._return_value
            if said is not None or result.status == JobStatus.FAILED:
                failures[one.path] = said if isinstance(said, str) else one_line(said)
        return failures
    return failures


def _owner(path: Path) -> bytes | None:
    try:
        return (path / claims.NOTE).read_bytes()
    except OSError:
        return None


def _wait_until_free(runs: Sequence[Job], seconds: float = 10.0) -> None:
    """Wait until the processes that had the runs are gone: their claims go with them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(claims.is_free(one.path) for one in runs):
        time.sleep(0.05)
