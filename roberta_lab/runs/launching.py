"""Jobs through the chosen Hydra launcher: a job that fails, or that the machine kills, costs no other job."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks  # HydraContext asks for it, and no public module has it
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import open_dict

from roberta_lab.config import Damaged, one_line
from roberta_lab.data import claims, network_files
from roberta_lab.runs.composition import composing
from roberta_lab.runs.held import launched
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import Override, texts, without
from roberta_lab.runs.registration import set_jobs

KILLED = "its process was killed, by the machine perhaps for want of memory"
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

    The launcher of this project loses no job but the one whose process died. Another one may give up all its jobs then: those
    that had not started simply start, and those that were running, which go on from what they had saved, run alone at the end.
    """
    failures: dict[Path, str] = {}
    todo, suspects, alone = list(runs), list[Job](), set[Path]()
    while todo or suspects:
        batch = todo or [suspects.pop(0)]
        alone |= {one.path for one in batch if not todo}
        before = {one.path: _owner(one.path) for one in batch}
        try:
            results = launched(lambda jobs: launch([[*one.words, "trainer.progress=false"] for one in jobs]), batch)
        except Exception as error:
            left = [one for one in batch if not one.is_complete]
            running = [one for one in left if _owner(one.path) not in (None, before[one.path])]
            if not running:  # it is not a job that broke it
                return failures | {one.path: f"the launcher failed: {one_line(error)}" for one in [*left, *suspects]}
            _wait_until_free(running)
            failures |= {one.path: KILLED for one in running if one.path in alone}
            suspects += [one for one in running if one.path not in alone]
            todo = [one for one in left if one not in running]
            said = f"{type(error).__name__}: {', '.join(one.name for one in running)} cut off"
            say(f"{said}; going on, with each of them alone at the end" if todo or suspects else said)
            continue
        for one, result in zip(batch, results, strict=True):
            value = result._return_value
            if value is not None or result.status == JobStatus.FAILED:
                failures[one.path] = value if isinstance(value, str) else one_line(value)
        todo = []
    return failures


def _owner(path: Path) -> bytes | None:
    try:
        return network_files.read(path / claims.NOTE)
    except (Damaged, OSError):
        return None


def _wait_until_free(runs: Sequence[Job], seconds: float = 10.0) -> None:
    """Wait until the processes that had the runs are gone: their claims go with them."""
    for one in runs:
        claims.wait_until_free(one.path, lambda line: None, seconds)
