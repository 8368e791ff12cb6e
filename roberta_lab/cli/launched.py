"""Hydra's part of a command: it composes each job, and launches the jobs of a multirun; here is what it calls for one."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from roberta_lab.cli import answer
from roberta_lab.config import ANSWERED, ConfigError, RankDied, console, of_the_machine
from roberta_lab.config.console import say
from roberta_lab.config.secrets import masked_words

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from roberta_lab.data.storage import Json
    from roberta_lab.runs.jobs import Job
    from roberta_lab.runs.options import Outside
    from roberta_lab.runs.overrides import Override


def run_hydra(name: str, flags: list[str], overrides: Sequence[Override], as_json: bool = False) -> Json:
    """Hand one command to Hydra, and return its answer: of a multirun a list, in the order of the jobs.

    A multirun ends with the table of its runs, also where some of them failed.

    Raises ConfigError for an error of Hydra's composition, else the first failure of a job.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from roberta_lab.runs import compose, jobs, options, process_launcher, registration
    from roberta_lab.runs.overrides import sweep_names, texts
    from roberta_lab.runs.wandb import environment

    registration.register()
    jobs.forget()
    environment.forget()
    console.forget()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach this function instead of Hydra's printer
    # argparse wants the flags first and the overrides in one piece
    before, sys.argv = sys.argv, ["roberta-lab", *flags, *texts(overrides), f"hydra.job.name={name}"]
    task = Task(as_json)
    try:
        hydra.main(version_base="1.3", config_path=str(options.CONF), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(compose.reason(error)) from error
    except YAMLError as error:  # of a file in conf/; others are checked before Hydra reads them
        raise ConfigError(" ".join(str(error).split())) from error
    finally:
        process_launcher.close()
        sys.argv = before
        if isinstance(task.answer, list) and not sweep_names(overrides):
            answered = [found for found in task.answer if isinstance(found, dict) and "run_id" in found]
            _compare([str(found["directory"]) for found in answered], overrides)
    if task.failures:
        raise task.failures[0]
    return task.answer


def _compare(runs: list[str], overrides: Sequence[Override]) -> None:
    """Write and show the table of the runs of a multirun: what their settings change. Where there is none, say why."""
    from roberta_lab.runs.composition import composed, composing
    from roberta_lab.runs.jobs import Job
    from roberta_lab.runs.overrides import assign

    if len(runs) < 2:
        return
    own = (
        *(o for o in overrides if o.key_or_group == "paths.outputs" and not o.is_sweep_override()),
        assign("table.runs", [Path(run).name for run in runs]),
    )
    with composing():
        config = composed(own)
    try:
        main_of("table")(Job("table", config, own))
    except ConfigError as error:  # the runs are there
        say(f"no table of these runs: {error}")


class InWorkers:
    """A function that launchers may call in another process, which then learns what this one registered, opened, found of W&B."""

    def __getstate__(self) -> tuple[dict[str, object], Outside, str | None]:
        from roberta_lab.runs import options
        from roberta_lab.runs.wandb import environment

        return self.__dict__, options.outside(), environment.failed()

    def __setstate__(self, state: tuple[dict[str, object], Outside, str | None]) -> None:
        from roberta_lab.runs import options, registration
        from roberta_lab.runs.wandb import environment

        registration.register()
        options.use(state[1])
        environment.learn(state[2])
        self.__dict__ |= state[0]


class Task(InWorkers):
    """What Hydra calls for each job."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.answer: Json = None
        self.failures: list[Exception] = []
        self.called: dict[tuple[str, ...], str] = {}  # in a multirun: words of a job -> what tells it from the others

    def __call__(self, tree: DictConfig) -> Json | Exception:
        """Run one job; return its answer. A failure that a user can mend is returned too, for Hydra would add lines of its own."""
        from hydra.core.hydra_config import HydraConfig

        from roberta_lab.runs import compose
        from roberta_lab.runs.identity import KINDS
        from roberta_lab.runs.jobs import job_of
        from roberta_lab.runs.wandb import environment

        if self.failures and isinstance(self.failures[-1], RankDied):
            return self.failures[-1]  # the machine is in doubt, and with it the rest of a sweep
        hydra = HydraConfig.get()
        try:
            words = compose.words_of(hydra.overrides.task)
            job = job_of(hydra.job.name, words, tree)
            called = self.called.get((*words,), "") if self.called else None
            sys.argv = masked_words(sys.argv)  # which W&B notes, if it is asked to
            if job.kind in KINDS and job.config.reproduce.launch == "slurm":
                self.answer = _submitted(job, hydra.runtime.output_dir)
                return self.answer
            was_there = environment.under_agent() and job.kind in KINDS and job.is_complete
            self.answer = main_of(hydra.job.name)(replace(job, as_json=self.as_json, called=called))
            if was_there:
                from roberta_lab.runs.tracking import show_again

                show_again(job.config, job.path, job.kind, job.label, KINDS[job.kind].science(job.config))
        except ANSWERED as error:
            self.failures.append(error)
            if hydra.job.name in KINDS:  # Hydra made the run's folder beforehand; one that holds anything stays
                with suppress(OSError):
                    os.rmdir(hydra.runtime.output_dir)
            return error
        except BrokenPipeError:
            answer.close_stdout()
        except OSError as error:
            if of_the_machine(error) is None:
                raise
            self.failures.append(error)
            return error
        return self.answer

    def returned(self, found: list[Json]) -> None:
        """Take the answers of all jobs of a multirun, None for a failed one: those of other processes are not noted here."""
        self.answer = found
        self.failures.clear()  # the sweeper raises the first of those that are left


def _submitted(job: Job, folder: str) -> Json:
    """Submit a run to SLURM in place of making it. Hydra made its folder beforehand, which goes unless it holds anything."""
    from roberta_lab.runs.slurm.submission import submit

    with suppress(OSError):
        os.rmdir(folder)
    return submit(job.config, [job], ())


def main_of(name: str) -> Callable[[Job], Json]:
    """Return what a command does: the `main` of its file."""
    return importlib.import_module(f"roberta_lab.cli.{name}").main
