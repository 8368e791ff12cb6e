"""What SLURM's own commands answer: `sbatch`, `squeue`, `sacct`, `scancel`. A job of an array is called `12_0`."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.config import ConfigError, SlurmError

SECONDS = 60.0  # in which a command of SLURM answers
_SEEN = "JobArrayID:|,State:|,RestartCnt:|,TimeLeft:|,Reason:|"  # of squeue
_FORGOTTEN = "Invalid job id"  # squeue's answer where all of the jobs ended some time ago


@dataclass(frozen=True)
class Queued:
    """A job that SLURM has not ended yet."""

    state: str  # in SLURM's words: PENDING, RUNNING, COMPLETING, ...
    restarts: int  # how often it was put back into the queue
    left: str  # of its time limit, as SLURM writes it
    reason: str  # why it waits

    @property
    def is_running(self) -> bool:
        """Return whether it has a node."""
        return self.state in ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT")


def expect_slurm() -> None:
    """Raise ConfigError where there is no SLURM."""
    if shutil.which("sbatch") is None:
        allowed = "Allowed: a machine that submits to SLURM, or reproduce.launch=here"
        raise ConfigError(f"reproduce.launch=slurm: there is no command sbatch here. {allowed}.")


def submit(script: Path, options: Sequence[str]) -> str:
    """Hand a script to SLURM and return the number of its job. Raises SlurmError."""
    return _said("sbatch", "--parsable", *options, str(script)).strip().partition(";")[0]


def queued(jobs: Iterable[str]) -> dict[str, Queued]:
    """Return the jobs that have not ended, of those with these numbers (`12`, whose array is `12_0` and so on).

    Raises SlurmError.
    """
    if not (numbers := ",".join(sorted({*jobs}))):
        return {}
    try:
        lines = _said("squeue", "--noheader", "--array", f"--jobs={numbers}", f"--Format={_SEEN}")
    except SlurmError as error:
        if _FORGOTTEN in str(error):
            return {}
        raise
    found = {}
    for line in lines.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) >= 5:
            name, state, restarts, left, reason = parts[:5]
            found[name] = Queued(state, int(restarts) if restarts.isdigit() else 0, left, reason)
    return found


def ended(jobs: Iterable[str]) -> dict[str, str]:
    """Return the state in which each job of these numbers ended, in SLURM's words; nothing where SLURM keeps no account."""
    if not (numbers := ",".join(sorted({*jobs}))) or shutil.which("sacct") is None:
        return {}
    try:
        lines = _said(
            "sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={numbers}", "--format=JobID,State"
        )
    except SlurmError:
        return {}
    found = {}
    for line in lines.splitlines():
        name, _, state = line.partition("|")
        for one in _each(name):
            found[one] = state.split()[0] if state.split() else ""  # CANCELLED by 1000
    return found


def _each(name: str) -> Iterator[str]:
    """Yield the jobs of a name of `sacct`: those of an array that never had a node are one, `12_[0-3,7%2]`."""
    number, bracket, rest = name.partition("_[")
    if not bracket:
        yield name
        return
    for part in rest.rstrip("]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            yield from (f"{number}_{i}" for i in range(int(first), int(last if last.isdigit() else first) + 1))


def cancel(jobs: Sequence[str]) -> None:
    """End jobs, the waiting ones too. Those that have ended are no error. Raises SlurmError."""
    if jobs:
        _said("scancel", "--quiet", *jobs)


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} did not answer in {SECONDS:.0f} s") from None
    except FileNotFoundError:
        raise SlurmError(f"there is no command {command[0]} here") from None
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split()) or "it said nothing"
        raise SlurmError(f"{command[0]} failed with {done.returncode}: {said}")
    return done.stdout
