"""`status sweep=NAME`: every run of a table, wherever it is made: in SLURM's queue, by another process, or not at all."""

from pathlib import Path

from roberta_lab.config.formatting import visible
from roberta_lab.data.storage import Json
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import assign
from roberta_lab.runs.slurm import states
from roberta_lab.runs.slurm.states import Seen
from roberta_lab.runs.tables import each_once, sweeps_of


def show(job: Job) -> Json:
    """Print a line for each run of the tables that are asked for, and how many are in which state. Nothing is changed."""
    outputs, answers, left = Path(job.config.paths.outputs), list[Json](), list[Seen]()
    for sweep in sweeps_of(job.config, job.overrides):
        found = states.look([*each_once(sweep.runs).values()], outputs)
        print(f"{sweep.name}: {len(found.seen)} runs: {found.counts}")
        if found.why_not:
            print(visible(f"SLURM cannot be asked here: {found.why_not}; states are those of the folders"))
        lines = [_parts(one) for one in found.seen]
        lines += [
            (one.state, f"{one.job.kind} {one.job.name}", one.job.job, (one.slurm, one.said)) for one in found.beside
        ]
        width = max((len(name) for _, name, _, _ in lines), default=0)
        for state, name, number, said in lines:
            job_said = f"job {number}" if number else ""
            print(visible(f"  {state:<11} {name:<{width}}  {job_said:<10}  {'; '.join(filter(None, said))}".rstrip()))
        answers.append({"sweep": sweep.name, "slurm": not found.why_not, "runs": [_content(one) for one in found.seen]})
        left += [one for one in found.seen if one.state in states.LEFT]
    if left:
        again = [assign("reproduce.launch", "slurm")] if any(one.job for one in left) else []
        print("next: " + folded("reproduce", [*job.overrides, *again]))
    return answers


def _parts(one: Seen) -> tuple[str, str, str, tuple[str, ...]]:
    """Return state, name, job, and what else there is to say of a run."""
    return one.state, f"{one.run.kind} {one.run.name}", one.job, (str(one.standing), one.slurm, one.said)


def _content(one: Seen) -> dict[str, Json]:
    standing = one.standing
    return {
        **{
            "kind": one.run.kind,
            "run": one.run.name,
            "directory": str(one.run.path),
            "state": one.state,
            "job": one.job,
        },
        **{
            "step": standing.step,
            "steps": standing.steps,
            "steps_per_second": standing.rate,
            "seconds_left": standing.left,
        },
        **{"slurm": one.slurm, "error": one.said},
    }
