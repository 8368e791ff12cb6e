"""What Hydra must know before it composes a config: the schema, the search path, the resolvers, and the sweeper of rows."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, flag_override

from roberta_lab.config import Config, ProcessDied
from roberta_lab.data.corpus.workers import cores
from roberta_lab.data.storage import Json
from roberta_lab.runs import names, search_path
from roberta_lab.runs.compose import divide, of_stand_ins, rate, words_of
from roberta_lab.runs.held import launched
from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.jobs import Job, by_folder, job_of, jobs_of
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.process_launcher import ProcessLauncher
from roberta_lab.runs.slurm.submission import submit
from roberta_lab.runs.tables import without_table_choice
from roberta_lab.runs.wandb import environment

# Hydra takes plugins by a name in this namespace only
_SWEEPER, _LAUNCHER = "hydra_plugins.roberta_lab.RowSweeper", "hydra_plugins.roberta_lab.ProcessLauncher"


def register() -> None:
    """Register all of it; calling it twice changes nothing."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    search_path.register()
    sweeper = {"_target_": _SWEEPER, "max_batch_size": None, "params": None}
    store.store(group="hydra/sweeper", name="rows", node=sweeper)
    store.store(group="hydra/launcher", name="processes", node={"_target_": _LAUNCHER, "n_jobs": 1})
    plugins = Plugins.instance().class_name_to_class
    plugins[_SWEEPER], plugins[_LAUNCHER] = RowSweeper, ProcessLauncher
    resolvers: dict[str, Callable[..., object]] = {
        "divide": divide,
        "of_stand_ins": of_stand_ins,
        "rate": rate,
        "cpus": _num_cpus,
        "run_directory": _run_directory,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _num_cpus(devices: int = 1) -> int:
    """Return how many jobs of so many processes each the cores have room for: four processes at most, for each has its memory."""
    return max(1, min(4, cores()) // max(1, devices))


def _run_directory(*, _root_: DictConfig) -> str:
    """Return the run's folder, so that single runs, multiruns and every launcher agree on Hydra's own folder of a job."""
    kind = _root_.hydra.job.name
    return str(job_of(kind, words_of(_root_.hydra.overrides.task), _root_).path) if kind in KINDS else "."


def set_jobs(config: DictConfig) -> None:
    """Hand `trainer.jobs` to a launcher that counts jobs, as that of this project, unless `hydra.launcher.n_jobs` is given."""
    given = any(word.lstrip("+").startswith("hydra.launcher.n_jobs=") for word in config.hydra.overrides.hydra)
    if "n_jobs" in config.hydra.launcher and not given:  # other launchers have no such key, so YAML cannot say it
        with flag_override(config, ["readonly", "struct"], False):
            config.hydra.launcher.n_jobs = config.trainer.jobs


def side_by_side(num_runs: int, launcher: DictConfig) -> str:
    """Return `3 runs, 2 side by side`, as far as the launcher says how many (joblib: -1 is one a core)."""
    jobs = launcher.get("n_jobs")
    if jobs is None:  # Hydra's own runs one after the other; a cluster's queue decides for itself
        return f"{num_runs} runs" + (", one after the other" if "BasicLauncher" in launcher._target_ else "")
    if jobs < 0:
        jobs = cores()
    jobs = min(num_runs, jobs)
    return f"{num_runs} runs, " + (f"{jobs} side by side" if jobs > 1 else "one after the other")


@runtime_checkable
class Answering(Protocol):
    """A function for jobs that knows what they are called, and wants what each of them returned, whichever process it ran in."""

    called: dict[tuple[str, ...], str]  # words of a job -> what tells it from the others

    def returned(self, found: list[Json]) -> None:
        """Take what the jobs returned, in their order; None for one that failed."""


class RowSweeper(Sweeper):
    """A sweeper for plain products and, with `sweep=NAME`, for the rows of that sweep. Any launcher runs the jobs."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    launcher: Launcher

    def __init__(self, **basic_sweeper: Any) -> None:  # Hydra gives it the settings of its own sweeper
        pass

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config, self.task = hydra_context, config, task_function
        set_jobs(config)
        instantiate = Plugins.instance().instantiate_launcher
        self.launcher = instantiate(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every job once all of them compose and pass the checks; then raise the first failure."""
        jobs = self._jobs(arguments)
        if jobs and jobs[0].kind in KINDS and jobs[0].config.reproduce.launch == "slurm":
            answer = submit(jobs[0].config, jobs, without_table_choice(parse(arguments)))
            if isinstance(self.task, Answering):
                self.task.returned([answer])
            return []
        if len(jobs) > 1 and self.config.hydra.job.name in KINDS:
            print(side_by_side(len(jobs), self.config.hydra.launcher), flush=True)
            if isinstance(self.task, Answering):
                called = names.told_apart([job.overrides for job in jobs])
                self.task.called = {(*job.words,): name for job, name in zip(jobs, called, strict=True)}
            environment.ready(jobs[0].config)  # once, and not in each process of a job
        results = launched(lambda some: self.launcher.launch([job.words for job in some], initial_job_idx=0), jobs)
        found = [result._return_value for result in results]  # Hydra's `return_value` would raise the first failure
        if isinstance(self.task, Answering):
            self.task.returned([None if isinstance(value, Exception) else value for value in found])
        for job, value in zip(jobs, found, strict=False):
            if isinstance(value, ProcessDied):
                raise ProcessDied(f"{job.path} ({' '.join(job.words)}): {value}; the others were made.") from value
            if isinstance(value, Exception):
                raise value
        return results

    def _jobs(self, arguments: list[str]) -> list[Job]:
        """Return the jobs of all products, each run once: rows with the same stand-ins are one run. Raises: ConfigError."""
        kind = self.config.hydra.job.name
        jobs = [job for words in self._products(arguments) for job in jobs_of(kind, parse(words))]
        if kind not in KINDS:
            return jobs
        return list(by_folder(jobs).values())

    def _products(self, arguments: list[str]) -> list[Sequence[str]]:
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        choices = [
            [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
            if o.is_sweep_override()
            else [o.input_line or ""]
            for o in parser.parse_overrides(arguments)
        ]
        return list(itertools.product(*choices))
