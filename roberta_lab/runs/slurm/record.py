"""Which job of SLURM makes which run: a sealed file for each submission, in a folder of its own with scripts and logs."""

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from roberta_lab.config import Damaged
from roberta_lab.data import verified
from roberta_lab.runs.jobs import Job

FOLDER = "slurm"  # in paths.outputs
NAME = "submission.json"
WAY_OUT = "delete it: its jobs go on, and only status and cancel do not know them any more"


@dataclass(frozen=True)
class Submitted:
    """A job as it was handed to SLURM."""

    job: str  # 12_0
    kind: str  # the command
    name: str  # for people
    run: str  # its folder, relative to the outputs; empty for preparation and tables
    log: str  # what it printed, relative to the outputs
    sweeps: tuple[str, ...]  # of the submission; empty without one
    text: str = ""  # which is prepared once this job of a preparation has ended; empty for others, and in older records

    @property
    def array(self) -> str:
        """Return the number by which SLURM knows all jobs of its array."""
        return self.job.partition("_")[0]

    @property
    def submission(self) -> Path:
        """Return the folder of the submission, relative to the outputs."""
        return Path(self.log).parent


def new_folder(outputs: Path) -> Path:
    """Return a folder for a submission, made. Names sort by time."""
    seconds, rest = divmod(time.time_ns(), 10**9)  # of one look at the clock, else a name could be a second too early
    begun = time.strftime("%Y%m%d-%H%M%S", time.localtime(seconds))
    folder = outputs / FOLDER / f"{begun}-{rest:09d}-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, jobs: Sequence[Submitted]) -> None:
    """Write the jobs of a submission; a later call says all of them again."""
    verified.remember(folder / NAME, {"jobs": [asdict(job) for job in jobs]})


def every(outputs: Path) -> list[Submitted]:
    """Return all jobs that were submitted, the oldest first. Raises Damaged."""
    found = []
    for path in sorted((outputs / FOLDER).glob(f"*/{NAME}")):
        values = verified.read_sealed(path, WAY_OUT)
        try:
            found += [Submitted(**{**job, "sweeps": tuple(job["sweeps"])}) for job in values["jobs"]]
        except (KeyError, TypeError):
            raise Damaged.at(path, "is damaged: its jobs cannot be read", WAY_OUT) from None
    return found


def of_runs(runs: Iterable[Job], jobs: Iterable[Submitted], outputs: Path) -> dict[Path, Submitted]:
    """Return the last job that was submitted for each run, by the run's folder; runs without one are left out."""
    newest, found = {job.run: job for job in jobs if job.run}, dict[Path, Submitted]()
    for run in runs:
        for folder in run.folders:  # the last one is the run's now
            if job := newest.get(folder.relative_to(outputs).as_posix()):
                found[run.path] = job
    return found
