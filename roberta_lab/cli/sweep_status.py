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
    outputs, answers = Path(job.config.paths.outputs), list[Json]()
    for sweep in sweeps_of(job.config, job.overrides):
        found = states.look([*each_once(sweep.runs).values()], outputs)
        print(f"{sweep.name}: {len(found.seen)} runs: {found.counts}")
        if found.why_not:
            print(visible(f"SLURM cannot be asked here: {found.why_not}; states are those of the folders"))
        width = max((len(f"{one.run.kind} {one.run.name}") for one in found.seen), default=0)
        for one in found.seen:
            print(visible(_line(one, width)))
        answers.append({"sweep": sweep.name, "slurm": not found.why_not, "runs": [_content(one) for one in found.seen]})
    left = [one for answer in answers for one in answer["runs"] if one["state"] not in ("done", "queued", "running", "preempted")]  # type: ignore[index,call-overload]
    if left:
        print("next: " + folded("reproduce", [*job.overrides, *_submits(left)]))
    return answers


def _submits(left: list[dict[str, Json]]) -> list[object]:
    return [assign("reproduce.launch", "slurm")] if any(one["job"] for one in left) else []


def _line(one: Seen, width: int) -> str:
    parts = [str(one.standing), one.slurm, one.said]
    job = f"job {one.job}" if one.job else ""
    said = "; ".join(part for part in parts if part)
    return f"  {one.state:<11} {f'{one.run.kind} {one.run.name}':<{width}}  {job:<10}  {said}".rstrip()


def _content(one: Seen) -> dict[str, Json]:
    standing = one.standing
    return {
        **{"kind": one.run.kind, "run": one.run.name, "directory": str(one.run.path), "state": one.state, "job": one.job},
        **{"step": standing.step, "steps": standing.steps, "steps_per_second": standing.rate, "seconds_left": standing.left},
        **{"slurm": one.slurm, "error": one.said},
    }
