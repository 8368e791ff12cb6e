"""`status`: which runs are complete, in progress or interrupted, how to go on with them, and how large everything is.

`status sweep=NAME`: every run of a table, wherever it is made: in SLURM's queue, by another process, or not at all.
"""

from collections import Counter
from pathlib import Path

from roberta_lab.config.formatting import counted, in_bytes, visible
from roberta_lab.data.storage import Json
from roberta_lab.reports.page.known import STATES, Known, all_known
from roberta_lab.reports.page.summaries import summaries
from roberta_lab.runs import disk
from roberta_lab.runs.command_line import folded, places, typed
from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import assign
from roberta_lab.runs.slurm import states
from roberta_lab.runs.slurm.states import Beside, Seen
from roberta_lab.runs.tables import each_once, sweeps_of


def main(job: Job) -> Json:
    """Look at everything below `paths.outputs` and at the cache, or at the runs of a sweep; print it. Nothing is changed."""
    if job.config.sweep is not None:
        return _of_sweeps(job)
    outputs, cache = Path(job.config.paths.outputs), Path(job.config.paths.cache)
    runs, removable = all_known(outputs), disk.removable(job.config)
    sizes = {run.folder: disk.size_of(run.folder) for run in runs}
    for kind in KINDS:
        if own := [run for run in runs if run.kind == kind]:
            print(_kind(kind, own, sum(sizes[run.folder] for run in own)))
    for run in runs:
        if run.state != "complete":
            print(visible(f"  {run.state}: {run.name}, {run.detail}" + (f": {run.resume}" if run.resume else "")))
    if not runs:
        print(f"no runs in {outputs}")
    tables = summaries(outputs)
    missing = sum(table.num_missing > 0 for table in tables.values())
    print(f"tables    {len(tables)}" + (f", {missing} of them with missing runs" if missing else ""))
    caches: dict[str, int] = {}
    for path in disk.caches_in(cache):
        caches[path.parent.name] = caches.get(path.parent.name, 0) + disk.size_of(path)
    said = ", ".join(f"{name} {in_bytes(size)}" for name, size in caches.items())
    print(f"cache     {in_bytes(sum(caches.values()))} in {cache}" + (f": {said}" if said else ""))
    free = sum(one.size for one in removable)
    table, prune = (typed(command, places(job.config.paths)) for command in ("table", "prune"))
    print(f"next: {table} lists the tables" + (f"; {prune} frees {in_bytes(free)}" if free else ""))
    return {
        "runs": [{**_content(run), "bytes": sizes[run.folder]} for run in runs],
        "tables": [str(outputs / folder) for folder in tables],
        "caches": {**caches},
        "prunable": free,
    }


def _kind(kind: str, runs: list[Known], size: int) -> str:
    states = Counter(run.state for run in runs)
    said = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    checkpoints = sum(
        disk.size_of(run.folder / disk.CHECKPOINTS) for run in runs if (run.folder / disk.CHECKPOINTS).is_dir()
    )
    held = f", of which checkpoints {in_bytes(checkpoints)}" if checkpoints else ""
    return f"{kind:<9} {counted(len(runs), 'run')}: {said}; {in_bytes(size)}{held}"


def _content(run: Known) -> dict[str, Json]:
    return {
        **{"kind": run.kind, "run_id": run.run_id, "name": run.name, "state": run.state, "detail": run.detail},
        **{"resume": run.resume, "result": run.figure, "directory": str(run.folder)},
    }


def _of_sweeps(job: Job) -> Json:
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
        answers.append(
            {
                "sweep": sweep.name,
                "slurm": not found.why_not,
                "runs": [_content_of_job(one) for one in found.seen],
                "beside": [_content_beside(one) for one in found.beside],
            }
        )
        left += [one for one in found.seen if one.state in states.LEFT]
    if left:
        again = [assign("reproduce.launch", "slurm")] if any(one.job for one in left) else []
        print("next: " + folded("reproduce", [*job.overrides, *again]))
    return answers


def _parts(one: Seen) -> tuple[str, str, str, tuple[str, ...]]:
    """Return state, name, job, and what else there is to say of a run."""
    return one.state, f"{one.run.kind} {one.run.name}", one.job, (str(one.standing), one.slurm, one.said)


def _content_beside(one: Beside) -> dict[str, Json]:
    """Return a job that makes no run, preparation or a table, and that is not done."""
    job = one.job
    said: dict[str, Json] = {"kind": job.kind, "name": job.name, "state": one.state, "job": job.job}
    return {**said, "slurm": one.slurm, "error": one.said}


def _content_of_job(one: Seen) -> dict[str, Json]:
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
