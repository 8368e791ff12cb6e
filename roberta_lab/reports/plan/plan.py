"""Plan a run or a sweep: which runs it has, which are complete, and what the others cost. Reads no data, starts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.config.formatting import counted
from roberta_lab.model.costs import Costs, costs_of
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.results import is_complete
from roberta_lab.runs.tables import Sweep, each_once, num_shared, sweeps_of
from roberta_lab.tasks.costs import finetune_seconds


@dataclass(frozen=True)
class PlannedRun:
    """One pretraining run of a row."""

    row: str
    seed: int
    run_id: str
    complete: bool
    same_as: str | None  # an earlier row with the same run
    costs: Costs


@dataclass(frozen=True)
class Finetuning:
    """The runs of the columns, each counted once."""

    runs: int
    complete: int
    seconds: float  # of those that are missing, at most
    unknown: int  # missing runs of tasks of unknown size


@dataclass(frozen=True)
class Plan:
    """The plan of one run or of one sweep."""

    title: str
    runs: tuple[PlannedRun, ...]
    finetuning: Finetuning | None
    hardware: str
    jobs: int  # runs side by side

    @property
    def distinct(self) -> list[PlannedRun]:
        """Return each run once."""
        return [run for run in self.runs if run.same_as is None]

    @property
    def missing(self) -> list[PlannedRun]:
        """Return the runs that would be trained, each once."""
        return [run for run in self.distinct if not run.complete]


@dataclass(frozen=True)
class Plans:
    """The plans of a run or of several tables. In the total of several, a run that they share is counted once."""

    plans: tuple[Plan, ...]
    total: Plan | None = None  # None of a single plan


def plans_of(job: Job) -> Plans:
    """Return the plan of the run that a job addresses or, with `sweep=`, of all runs of a table or of several."""
    config = job.config
    if config.sweep is None:
        run = replace(job, kind="pretrain")
        planned = _planned(run.label, config, run.path, {})
        return Plans(
            (Plan(f"{run.label} at scale={config.scale.name}", (planned,), None, config.plan.hardware, jobs=1),)
        )
    sweeps = sweeps_of(config, job.overrides)
    plans = tuple(plan_of_runs(sweep.config, sweep.runs) for sweep in sweeps)
    return Plans(plans, _total(sweeps, plans) if len(plans) > 1 else None)


def plan_of_runs(config: Config, runs: Sequence[Job]) -> Plan:
    """Return the plan of a sweep whose runs are composed."""
    assert config.sweep is not None
    seen: dict[str, str] = {}
    planned = tuple(_planned(run.row, run.config, run.path, seen) for run in runs if run.kind == "pretrain")
    title = f"{config.sweep.title} ({config.sweep.name}) at scale={config.scale.name}"
    return Plan(title, planned, _finetuning(runs), config.plan.hardware, config.trainer.jobs)


def _total(sweeps: Sequence[Sweep], plans: Sequence[Plan]) -> Plan:
    each = {run.run_id: run for plan in reversed(plans) for run in plan.distinct}
    config = sweeps[0].config
    title = f"all {len(sweeps)} tables at scale={config.scale.name}"
    if shared := num_shared(sweeps):
        title += f"; {counted(shared, 'run')} shared between them, counted once"
    finetuning = _finetuning([run for sweep in sweeps for run in sweep.runs])
    return Plan(title, tuple(each.values()), finetuning, config.plan.hardware, config.trainer.jobs)


def _planned(row: str, config: Config, path: Path, seen: dict[str, str]) -> PlannedRun:
    earlier = seen.get(path.name)
    seen.setdefault(path.name, row)
    return PlannedRun(row, config.seed, path.name, is_complete(path), earlier, costs_of(config))


def _finetuning(runs: Iterable[Job]) -> Finetuning:
    each = each_once(run for run in runs if run.kind == "finetune")
    missing = [finetune_seconds(run.config) for run in each.values() if not run.is_trained]
    seconds = sum(found for found in missing if found is not None)
    return Finetuning(len(each), len(each) - len(missing), seconds, missing.count(None))
