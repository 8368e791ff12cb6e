"""`reproduce`: make all missing runs of one or more tables, then write the tables. Complete runs are not repeated.

When a job fails, it is noted and the others continue. The tables are written even then, with missing runs marked.
The failed runs are listed last, each with the command that makes it.
"""

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm import tqdm

from roberta_lab.cli.launched import InWorkers, Task, main_of
from roberta_lab.config import Config, ConfigError, Damaged, RunInUse, Unfinished, of_the_machine, one_line, stopping
from roberta_lab.config.console import say, say_traceback
from roberta_lab.config.formatting import counted, elapsed
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.data.storage import Json
from roberta_lab.reports import run_notes, until
from roberta_lab.reports.deciding import deciding
from roberta_lab.reports.ending import end_of_several
from roberta_lab.reports.page.claims import counted_outcomes
from roberta_lab.runs import data_checks, identity, jobs, launching, leases, progress, results
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import Override, assign, parse, texts, without
from roberta_lab.runs.provenance import code_since
from roberta_lab.runs.slurm.submission import submit
from roberta_lab.runs.tables import Sweep, each_once, num_shared, sweeps_of, without_table_choice
from roberta_lab.runs.wandb import environment

LOG = "reproduce.log"  # in paths.outputs: the console text of the jobs, and the traceback of each failure
SEEDS = "sweep.seeds"
NO_TIME = "time unknown: no complete run of like size yet"


@dataclass
class Work:
    """The tables that are asked for, their runs (each once, even if several tables show it), and the failures."""

    sweeps: list[Sweep]
    user: Sequence[Override]  # what the user typed, without `sweep`
    failures: dict[Path, str] = field(default_factory=dict)  # run folder -> message

    def __post_init__(self) -> None:
        self.hours_of_a_seed = 0.0  # of the clock; 0 while nothing was made
        self.trained_before: set[Path] = set()
        self.runs: dict[Path, Job] = {}
        self.take(self.sweeps)

    def take(self, sweeps: list[Sweep]) -> None:
        """Take these tables in place of earlier ones, which have runs more or the same."""
        self.sweeps, before = sweeps, self.runs
        self.runs = each_once(job for sweep in sweeps for job in sweep.runs)
        self.num_shared = num_shared(sweeps)
        self.trained_before |= {path for path, job in self.runs.items() if path not in before and job.is_trained}

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of runs that the tables have."""
        found = {job.kind for job in self.runs.values()}
        return [kind for kind in identity.KINDS if kind in found]

    def missing(self, kind: str) -> list[Job]:
        """Return the runs of a kind that are not complete."""
        return [job for job in self.runs.values() if job.kind == kind and not job.is_complete]

    def is_ready(self, job: Job) -> bool:
        """Return whether all runs that a run starts from are trained."""
        return all(self.runs[path].is_trained if path in self.runs else results.is_complete(path) for path in job.needs)

    def num_trained(self, kind: str) -> int:
        """Return how many runs of a kind this command has trained."""
        new = (job for path, job in self.runs.items() if path not in self.trained_before)
        return sum(job.kind == kind and job.is_complete for job in new)


class QuietJob(InWorkers):
    """A function that Hydra calls for each job: it appends console text to a file, and returns an error as one line."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, cfg: DictConfig) -> str | RunInUse | None:  # Hydra's name of the argument
        """Run one job of Hydra. Return the failure message, or None; RunInUse itself, for such a run is waited for."""
        tqdm.set_lock(threading.RLock())  # the default lock is shared with other processes: a killed one would keep it
        with open(self.log, "a", buffering=1, encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
            try:
                found = Task()(cfg)
                if isinstance(found, OSError):
                    return of_the_machine(found)
                return found if isinstance(found, RunInUse) else str(found) if isinstance(found, Exception) else None
            except Exception as error:
                say_traceback(error)
                return one_line(error)


def main(job: Job) -> Json:
    """Make the missing runs, then the tables. Raises Unfinished, after the tables, when a run failed."""
    start, config = time.monotonic(), job.config
    hydra = texts(without(parse(HydraConfig.get().overrides.hydra), "hydra.job.name", "hydra.mode"))
    work = Work(sweeps_of(config, job.overrides), without_table_choice(job.overrides))
    until.check(config, work.sweeps[0].runs)
    print(plan(work, config), flush=True)
    data_checks.check(job for kind in work.kinds for job in work.missing(kind))
    if config.reproduce.launch == "slurm":
        return submit(config, [*work.runs.values()], work.user, [sweep.name for sweep in work.sweeps])
    data_checks.expect_own_text(work.runs.values())
    try:
        _make_all(work, config, hydra)
        while (seeds := _more_seeds(work, config, start)) is not None:
            before = work.runs.keys()
            work.take(sweeps_of(config, [*without(job.overrides, "seed", SEEDS), assign(SEEDS, seeds)]))
            if work.runs.keys() == before:
                print("until: not reached; rows that start from given weights have no pretraining seeds to add")
                break
            _make_all(work, config, hydra)
    finally:
        sys.stdout.flush()
    seconds = time.monotonic() - start
    print(totals(work, seconds))
    with stopping.finishing():  # the tables of what is there
        tables = _tables(work)
    if len(tables) > 1:
        print("\n".join(_end(work, tables, job)))
    found = {**as_json(work), "seconds": seconds, "tables": tables}
    said = [*([failed(work)] if work.failures else []), *damaged(work)]
    if said:
        raise Unfinished("\n".join(said), found)
    return found


def plan(work: Work, config: Config) -> str:
    """Return the plan for the console: the complete runs of each table, the missing runs, and their likely time."""
    lines = [f"reproduce: {len(work.sweeps)} table{'s' * (len(work.sweeps) > 1)} at scale={config.scale.name}"]
    width = max(len(sweep.name) for sweep in work.sweeps)
    for sweep in work.sweeps:
        rows = {job.row for job in sweep.runs}
        counts = [f"{len(rows)} rows"]
        for kind in work.kinds:
            runs = {job.path: work.runs[job.path].is_complete for job in sweep.runs if job.kind == kind}
            counts.append(f"{kind} {sum(runs.values())} of {len(runs)} there")
        lines.append(f"  {sweep.name:<{width}}  {', '.join(counts)}{_undecided(sweep)}")
    if other := sum(code_since(path) is not None for path in work.trained_before):
        by_other = f"{other} of the complete runs are by other or uncommitted code"
        lines.append(f"{by_other}; delete their folders to make them again")
    todo = {kind: work.missing(kind) for kind in work.kinds}
    if not any(todo.values()):
        return "\n".join([*lines, "nothing is missing"])
    shared = f"; {work.num_shared} runs are shared between tables" if work.num_shared else ""
    at_once = {kind: leases.at_once(runs[0].config, kind) for kind, runs in todo.items() if runs}
    missing = " and ".join(f"{len(runs)} {kind}" for kind, runs in todo.items())
    encoders = sum(job.is_encoder for runs in todo.values() for job in runs)
    shared += f"; {encoders} are what finetune.init_from starts from" if encoders else ""
    rates = progress.measured(Path(config.paths.outputs))
    found = {kind: progress.times(todo[kind], rates) for kind in at_once}  # one kind after the other
    known = sum(progress.clock(times, at_once[kind]) for kind, (times, _) in found.items())
    unknown = sum(count for _, count in found.values())
    took = f"about {elapsed(known)}" if known or not unknown else NO_TIME
    took += f", and {unknown} runs of a size not measured yet" if known and unknown else ""
    most = max(min(number, len(todo[kind])) for kind, number in at_once.items())
    return "\n".join([*lines, f"missing: {missing} runs, {most} side by side{shared}; {took}"])


def _undecided(sweep: Sweep) -> str:
    """Return how many claims of a table its seeds may leave undecided, before anything is spent on them."""
    if all(job.is_complete for job in sweep.runs):
        return ""
    found = deciding(sweep.config, sweep.runs)
    if not found.undecided:
        return ""
    testable = sum(not need.why_not for need in found.claims)
    seeds = counted(found.claims[0].have, "seed")
    return f"; {seeds} may leave {len(found.undecided)} of {counted(testable, 'claim')} undecided (plan says how many decide them)"


def totals(work: Work, seconds: float) -> str:
    """Return one line for the console: the time, and how many runs were trained, complete before, shared, or failed."""
    trained = ", ".join(f"{work.num_trained(kind)} {kind}" for kind in work.kinds)
    failures = f", {len(work.failures)} failed" if work.failures else ""
    counts = f"{len(work.trained_before)} were there, {work.num_shared} shared between tables{failures}"
    return f"reproduce: {elapsed(seconds)}; {trained} runs trained, {counts}"


def _end(work: Work, tables: Sequence[Mapping[str, Any]], job: Job) -> list[str]:
    """Return how the claims of each of several tables came out, and the last three lines; one table ends with its own."""
    claims = [f"{found['sweep']}: claims: {counted_outcomes(found['claims'])}" for found in tables]
    again = folded("reproduce", job.overrides) if work.failures else "open a page, or one table with sweep=NAME"
    missing = sum(len(work.missing(kind)) for kind in work.kinds)
    return [*claims, *end_of_several(tables, missing, Path(job.config.paths.outputs) / "index.html", again)]


def as_json(work: Work) -> dict[str, Json]:
    """Return the numbers of `totals`, and what `failed` lists."""
    failures: list[Json] = []
    for path, message in work.failures.items():
        job = work.runs[path]
        failures.append({"kind": job.kind, "run": job.name, "error": message, "command": job.command(work.user)})
    trained = {kind: work.num_trained(kind) for kind in work.kinds}
    there = len(work.trained_before)
    return {"trained": trained, "there": there, "shared": work.num_shared, "failed": failures}


def failed(work: Work) -> str:
    """Return the failed runs with their messages and commands, and the number of runs that they keep from starting."""
    lines = [f"{len(work.failures)} of {len(work.runs)} runs failed; {_log(work)} has what they said."]
    for path, message in work.failures.items():
        job = work.runs[path]
        lines += [f"  {job.kind} {job.name}: {message}", f"    {job.command(work.user)}"]
    for kind in work.kinds:
        waiting = [job for job in work.missing(kind) if not work.failures.keys().isdisjoint(job.needs)]
        if waiting:
            lines.append(
                f"  {len(waiting)} {kind} runs wait for them; the same reproduce goes on with what is missing."
            )
    return "\n".join(lines)


def damaged(work: Work) -> list[str]:
    """Return the complete runs of which a file is not as it was written, each with the way out. None of them is made over."""
    found = [damage for path in work.runs if (damage := run_notes.result(path)[1]) is not None]
    return [f"{len(found)} of {len(work.runs)} runs are damaged:", *(f"  {line}" for line in found)] if found else []


def _more_seeds(work: Work, config: Config, start: float) -> list[int] | None:
    """Return the pretraining seeds with one more, where `reproduce.until` asks for it; print how far the intervals are."""
    if config.reproduce.until is None:
        return None
    [sweep], hours = work.sweeps, (time.monotonic() - start) / 3600
    said, seeds = until.more_seeds(sweep.config, sweep.runs, hours, work.hours_of_a_seed, bool(work.failures))
    print("\n".join(said))
    return seeds


def _make_all(work: Work, config: Config, hydra: list[str]) -> None:
    """Prepare and make what is missing of all kinds; note the time that each pretraining seed of it took."""
    start, seeds = time.monotonic(), {job.seed for kind in work.kinds for job in work.missing(kind)}
    _prepare(work)
    if any(work.missing(kind) for kind in work.kinds):
        environment.ready(config)  # once, and not in each process of a job
    for kind in work.kinds:
        _make(work, kind, config, hydra)
        if config.trainer.on_nonfinite == "skip":  # a run that left a step out is another one now
            jobs.forget()
            before = work.trained_before.copy()
            work.take([again for one in work.sweeps for again in sweeps_of(one.config, one.overrides)])
            work.trained_before = before
    if seeds:
        work.hours_of_a_seed = (time.monotonic() - start) / 3600 / len(seeds)


def _prepare(work: Work) -> None:
    """Prepare the data of the missing runs, each mix once. An error is noted for every run of the mix."""
    prepared: dict[str, str | None] = {}  # data mix and tokenizer -> error message, or None
    for job in filter(data_checks.reads_mix, [job for kind in work.kinds for job in work.missing(kind)]):
        key = data_checks.mix_of(job)
        if key not in prepared:
            try:
                prepared_for(job.config)
                prepared[key] = None
            except (ConfigError, Damaged, RunInUse) as error:
                prepared[key] = str(error)
        if (message := prepared[key]) is not None:
            work.failures[job.path] = message


def _make(work: Work, kind: str, config: Config, hydra: list[str]) -> None:
    """Run the missing jobs of one kind that are ready, until none is left: a finished run may make others ready."""
    tried: set[Path] = set()
    while todo := [j for j in work.missing(kind) if j.path not in tried | work.failures.keys() and work.is_ready(j)]:
        tried |= {job.path for job in todo}
        Path(config.paths.outputs).mkdir(parents=True, exist_ok=True)
        launch = launching.launcher(kind, hydra, QuietJob(_log(work).resolve()), work.user)
        with progress.Overview(kind, todo, sys.stdout) if config.trainer.progress else nullcontext():
            work.failures |= launching.run_all(launch, todo, say)


def _log(work: Work) -> Path:
    return Path(work.sweeps[0].config.paths.outputs) / LOG


def _tables(work: Work) -> list[dict[str, Any]]:
    """Write each table as `roberta-lab table` does, with missing runs marked; return its answers."""
    answers = []
    for sweep in work.sweeps:
        answer: Any = main_of("table")(Job("table", sweep.config, sweep.overrides))
        answers.append(answer)
    return answers
