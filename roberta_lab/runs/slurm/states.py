"""In which state each run of a sweep is: of its folder, and of the job that SLURM has for it. Nothing is noted by a process."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.config import SlurmError
from roberta_lab.data import claims
from roberta_lab.data.network_files import tail
from roberta_lab.runs import progress
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.progress import Standing
from roberta_lab.runs.slurm import queue, record
from roberta_lab.runs.slurm.queue import Queued
from roberta_lab.runs.slurm.record import Submitted

# preempted: it had a node, and waits in the queue for its next turn | submitted: SLURM cannot be asked from this machine
STATES = ("done", "running", "queued", "preempted", "submitted", "failed", "cancelled", "interrupted", "missing")
LEFT = ("failed", "cancelled", "interrupted", "missing")  # of which nothing comes unless it is asked for
TAIL = 16_384  # bytes at the end of what a job printed
_ERROR = re.compile(r"^roberta-lab: (?!asks )|\berror: |^[\w.]*Error\b|[Kk]illed")


@dataclass(frozen=True)
class Seen:
    """A run as it stands, with the job that was submitted last for it."""

    run: Job
    state: str  # one of STATES
    job: str  # 12_0; empty where none was submitted
    slurm: str  # what SLURM calls its state, and why it waits; empty where it has none
    standing: Standing
    said: str  # the last line of an error in what its job printed; of runs that are neither done nor at work


@dataclass(frozen=True)
class Beside:
    """A job that makes no run, preparation or a table, and that is not done."""

    job: Submitted
    state: str  # one of STATES
    slurm: str
    said: str


@dataclass(frozen=True)
class Looked:
    """All runs of some sweeps, the other jobs of their last submission, and why SLURM could not be asked, if so."""

    seen: list[Seen]
    beside: list[Beside]
    why_not: str = ""

    @property
    def counts(self) -> str:
        """Return `2 done, 1 running`."""
        found = Counter(one.state for one in self.seen)
        return ", ".join(f"{found[state]} {state}" for state in STATES if found[state])


def look(runs: Sequence[Job], outputs: Path) -> Looked:
    """Look at runs once. Raises Damaged."""
    every = record.every(outputs)
    own = record.of_runs(runs, every, outputs)
    last = max((job.submission for job in own.values()), default=None)
    others = [job for job in every if not job.run and job.submission == last]
    arrays, why_not = {job.array for job in (*own.values(), *others)}, ""
    alive: Mapping[str, Queued] = {}
    ended: Mapping[str, str] = {}
    try:
        alive = queue.queued(arrays)
        ended = queue.ended(arrays)
    except SlurmError as error:
        why_not = str(error)
    seen = [_seen(run, own.get(run.path), alive, ended, bool(why_not), outputs) for run in runs]
    beside = [_beside(job, alive.get(job.job), ended.get(job.job, ""), outputs) for job in others]
    return Looked(seen, [one for one in beside if one.state != "done"], why_not)


def _beside(job: Submitted, queued: Queued | None, ended: str, outputs: Path) -> Beside:
    if queued is not None:
        return Beside(job, *_in_queue(queued), "")
    said = last_error(outputs / job.log)
    is_done = ended == "COMPLETED" or (not ended and not _ERROR.search(said))  # without an account, its log tells
    state = "done" if is_done else "cancelled" if ended == "CANCELLED" else "failed"
    return Beside(job, state, ended, "" if is_done else said)


def _in_queue(queued: Queued) -> tuple[str, str]:
    if queued.is_running:
        return "running", queued.state
    again = f", turn {queued.restarts + 1}" if queued.restarts else ""
    return "preempted" if queued.restarts else "queued", f"{queued.reason}{again}"


def _seen(
    run: Job,
    job: Submitted | None,
    alive: Mapping[str, Queued],
    ended: Mapping[str, str],
    is_blind: bool,
    outputs: Path,
) -> Seen:
    number = job.job if job is not None else ""
    state, slurm = _state(run, number, alive.get(number), ended.get(number, ""), is_blind)
    standing = progress.standing(run, is_running=state == "running")
    has_failed = job is not None and state in ("failed", "cancelled", "submitted")
    return Seen(run, state, number, slurm, standing, last_error(outputs / job.log) if job and has_failed else "")


def _state(run: Job, number: str, queued: Queued | None, ended: str, is_blind: bool) -> tuple[str, str]:
    """Return one of `STATES`, and what SLURM says of it."""
    if run.is_complete:
        return "done", ""
    if queued is not None:
        return _in_queue(queued)
    if claims.is_held(run.path):
        return "running", str(claims.owner(run.path / claims.NOTE))
    if number and is_blind:
        return "submitted", ""
    if number and ended in ("CANCELLED", "PREEMPTED"):  # by a cluster whose preemption cancels
        return "cancelled", ended
    if number:
        return "failed", ended
    return ("interrupted" if (run.path / "metrics.jsonl").exists() else "missing"), ""


def last_error(log: Path) -> str:
    """Return the last line of a job's log that tells of an error; else its last line; empty without one."""
    found = tail(log, TAIL).decode(errors="replace")
    lines = [line.strip() for line in found.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or [""])[-1]
