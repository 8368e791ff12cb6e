"""`cancel`: take the jobs of a table out of SLURM's queue, and end those at work, which save what they have."""

from pathlib import Path

from roberta_lab.config.formatting import counted
from roberta_lab.data.storage import Json
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.slurm import queue, record
from roberta_lab.runs.tables import each_once, sweeps_of


def main(job: Job) -> Json:
    """Cancel the jobs that make runs of the tables, and what was submitted with them for these tables alone.

    A run that another table shows too is cancelled with them. Nothing on the disk is changed. Raises SlurmError, Damaged.
    """
    outputs, sweeps = Path(job.config.paths.outputs), sweeps_of(job.config, job.overrides)
    names = {sweep.name for sweep in sweeps}
    shown = each_once(run for sweep in sweeps for run in sweep.runs).values()
    runs = {folder.relative_to(outputs).as_posix() for run in shown for folder in run.folders}
    every = record.every(outputs)
    for_others = {one.submission for one in every if one.run and one.run not in runs}  # other seeds, scales, settings
    own = [
        one
        for one in every
        if one.run in runs
        or (not one.run and one.sweeps and {*one.sweeps} <= names and one.submission not in for_others)
    ]
    alive = queue.queued(one.array for one in own)
    ended = [one for one in own if one.job in alive]
    queue.cancel([one.job for one in ended])
    running = sum(alive[one.job].is_running for one in ended)
    print(
        f"cancelled: {counted(len(ended), 'job')}, {running} of them at work: these save what they have"
        if ended
        else "no job is queued or at work"
    )
    return {"cancelled": [one.job for one in ended], "running": running}
