"""`reproduce`: everything that is missing for one table or several, then the tables. What is there is not made again.

The plan comes first, then preparation, pretraining, finetuning; a job that fails is noted and the others go on. The tables
are written whatever happened, with what is missing marked, and what failed is listed last, each with the command for it alone.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from tqdm import tqdm

from roberta_lab.config import Config, ConfigError, RunInUse, Unfinished
from roberta_lab.config.formatting import elapsed
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.runs import estimates, identity, launching, results
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import Override, parse, texts, without
from roberta_lab.runs.progress import Overview
from roberta_lab.runs.provenance import code_since
from roberta_lab.runs.tables import Sweep, each_once, num_shared, of_all_tables, sweeps_of
from roberta_lab.runs.wandb import mirror

LOG = "reproduce.log"  # in paths.outputs: what the jobs say, and the traceback of one that fails
NO_TIME = "time unknown: no complete run of like size yet"


@dataclass
class Work:
    """The tables and their runs, each run once however many tables show it."""

    sweeps: list[Sweep]
    user: Sequence[Override]  # without `sweep`
    failures: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.runs = each_once(one for sweep in self.sweeps for one in sweep.runs)
        self.num_shared = num_shared(self.sweeps)
        self.there = {path for path, one in self.runs.items() if one.is_trained}

    def missing(self, kind: str) -> list[Job]:
        return [one for one in self.runs.values() if one.kind == kind and not one.is_complete]

    def is_ready(self, one: Job) -> bool:
        """Whether everything is there that the run starts from."""
        return all(self.runs[path].is_trained if path in self.runs else results.is_complete(path) for path in one.needs)

    def num_trained(self, kind: str) -> int:
        return sum(o.kind == kind and o.is_complete and path not in self.there for path, o in self.runs.items())


class QuietJob:
    """A job whose words go to a file beside the others', and whose failure is returned as one line."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __reduce__(self) -> Any:
        return _registered, (self.log,)

    def __call__(self, cfg: Any) -> str | None:
        from roberta_lab.cli.main import Task

        tqdm.set_lock(threading.RLock())  # its own lock is between processes, and would be lost when one is killed
        with open(self.log, "a", buffering=1, encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
            try:
                said = Task()(cfg)
                return str(said) if said else None
            except Exception as error:
                traceback.print_exc()
                return launching.one_line(error)


def _registered(log: Path) -> QuietJob:
    from roberta_lab.runs import registration

    registration.register()
    return QuietJob(log)


def main(job: Job) -> None:
    """Make what is missing, then the tables. Raises Unfinished, after the tables, when a run failed."""
    start, config = time.monotonic(), job.config
    hydra = texts(without(parse(HydraConfig.get().overrides.hydra), "hydra.job.name", "hydra.mode"))
    work = gather(job)
    print(plan(work, config))
    try:
        _prepare(work)
        for kind in identity.KINDS:
            _make(work, kind, config, hydra)
    finally:
        sys.stdout.flush()
    _tables(work)
    print(totals(work, time.monotonic() - start))
    if work.failures:
        raise Unfinished(failed(work))


def gather(job: Job) -> Work:
    """Compose every run of every table that is asked for."""
    return Work(sweeps_of(job.config, job.overrides), of_all_tables(job.overrides))


# ---------------------------------------------------------------- what is said
def plan(work: Work, config: Config) -> str:
    """Rows, what is there and what is missing, and how long it may take."""
    lines = [f"reproduce: {len(work.sweeps)} table{'s' * (len(work.sweeps) > 1)} at scale={config.scale.name}"]
    width = max(len(sweep.name) for sweep in work.sweeps)
    for sweep in work.sweeps:
        rows = dict.fromkeys(one.row for one in sweep.runs)
        counts = [f"{len(rows)} rows"]
        for kind in identity.KINDS:
            runs = {one.path: work.runs[one.path].is_complete for one in sweep.runs if one.kind == kind}
            counts.append(f"{kind} {sum(runs.values())} of {len(runs)} there")
        lines.append(f"  {sweep.name:<{width}}  {', '.join(counts)}")
    if other := sum(code_since(path) is not None for path in work.there):
        lines.append(
            f"{other} of the complete runs are by other or uncommitted code; delete their folders to make them again"
        )
    todo = {kind: work.missing(kind) for kind in identity.KINDS}
    if not any(todo.values()):
        return "\n".join([*lines, "nothing is missing"])
    shared = f"; {work.num_shared} runs are shared between tables" if work.num_shared else ""
    jobs = config.trainer.jobs
    missing = " and ".join(f"{len(runs)} {kind}" for kind, runs in todo.items())
    encoders = sum(one.is_encoder for one in todo["finetune"])
    shared += f"; {encoders} are what finetune.init_from starts from" if encoders else ""
    rates = estimates.measured(Path(config.paths.outputs))
    known, unknown = estimates.seconds([one for runs in todo.values() for one in runs], rates)
    took = f"about {elapsed(known / jobs)}" if known or not unknown else NO_TIME
    took += f", and {unknown} runs of a size not measured yet" if known and unknown else ""
    return "\n".join([*lines, f"missing: {missing} runs, {jobs} side by side{shared}; {took}"])


def totals(work: Work, seconds: float) -> str:
    """What was done, in one line."""
    trained = ", ".join(f"{work.num_trained(kind)} {kind}" for kind in identity.KINDS)
    parts = [f"{trained} runs trained", f"{len(work.there)} were there", f"{work.num_shared} shared between tables"]
    parts += [f"{len(work.failures)} failed"] if work.failures else []
    return f"reproduce: {elapsed(seconds)}; {', '.join(parts)}"


def failed(work: Work) -> str:
    """Every failed run with what it said and the command for it alone; runs that only wait for one are counted."""
    lines = [f"{len(work.failures)} of {len(work.runs)} runs failed; {_log(work)} has what they said."]
    for path, said in work.failures.items():
        one = work.runs[path]
        lines += [f"  {one.kind} {one.name}: {said}", f"    {one.command(work.user)}"]
    waiting = [one for one in work.missing("finetune") if not work.failures.keys().isdisjoint(one.needs)]
    if waiting:
        lines.append(
            f"  {len(waiting)} finetuning runs wait for them; the same reproduce goes on with what is missing."
        )
    return "\n".join(lines)


# ---------------------------------------------------------------- what is done
def _prepare(work: Work) -> None:
    """The data of every run that is missing and starts from no other, each mix once and with all cores."""
    prepared: dict[str, str | None] = {}
    tuned = [one for one in work.missing("finetune") if not identity.starts_from_run(one.config)]
    for one in [*work.missing("pretrain"), *(one for one in tuned if identity.reads_mix(one.config))]:
        config = one.config
        key = json.dumps([asdict(config.data_mix), asdict(config.tokenizer)], sort_keys=True)
        if key not in prepared:
            try:
                prepared_for(config)
                prepared[key] = None
            except (ConfigError, RunInUse) as error:
                prepared[key] = str(error)
        if (said := prepared[key]) is not None:
            work.failures[one.path] = said


def _make(work: Work, kind: str, config: Config, hydra: list[str]) -> None:
    """Runs what is missing of one kind, unless what it needs is missing; then what those that are made were needed for."""
    tried: set[Path] = set()
    while todo := [o for o in work.missing(kind) if o.path not in tried | work.failures.keys() and work.is_ready(o)]:
        tried |= {one.path for one in todo}
        Path(config.paths.outputs).mkdir(parents=True, exist_ok=True)
        launch = launching.launcher(kind, hydra, QuietJob(_log(work).resolve()), work.user)
        shown = Overview(kind, todo, sys.stdout) if config.trainer.progress else nullcontext()
        with shown:
            work.failures |= launching.run_all(launch, todo, lambda said: print(said, file=sys.stderr))


def _log(work: Work) -> Path:
    return Path(work.sweeps[0].config.paths.outputs) / LOG


def _tables(work: Work) -> None:
    """Each table as `roberta-lab table` writes it, with what is missing marked."""
    from roberta_lab.cli.main import main_of

    for sweep in work.sweeps:
        folder = Path(sweep.config.paths.outputs) / "tables" / sweep.name / sweep.config.scale.name
        before = _read(folder / "table.csv")
        main_of("table")(Job("table", sweep.config, sweep.overrides))
        if before != _read(folder / "table.csv") and mirror.mode(sweep.config) != "off":
            from roberta_lab.runs.wandb.tables import log_table

            log_table(sweep.config, folder, list({one.path: one for one in sweep.runs}.values()))


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
