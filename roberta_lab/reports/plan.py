"""Plan a run or a sweep: which runs it has, which are complete, what the others cost. Starts nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from roberta_lab.config import Config, ConfigError
from roberta_lab.config.formatting import counted, duration, short
from roberta_lab.data.storage import Json
from roberta_lab.model.costs import Costs
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.reports.console import aligned
from roberta_lab.reports.deciding import Deciding, deciding
from roberta_lab.reports.deciding import lines as deciding_lines
from roberta_lab.reports.table.markdown import grid
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.perf import Speed, costs_with, speeds_in
from roberta_lab.runs.progress import clock
from roberta_lab.runs.results import is_complete
from roberta_lab.runs.tables import Sweep, each_once, num_shared, sweeps_of
from roberta_lab.tasks.costs import finetune_seconds

COLUMNS = (
    *("row", "run", "state", "parameters", "batch x steps", "tokens", "passes", "accumulated", "FLOPs", "memory"),
    *("time", "device-hours", "cost"),
)
ALIGNMENT = "lll" + "r" * (len(COLUMNS) - 3)
NO_RUN = "no row starts from a pretraining run of its own"
ACCUMULATED = "accumulated: micro-batches a step x inputs of full length in each, of one device, and so is memory"


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
    clock: float  # seconds until the last of them ends, side by side
    unknown: int  # missing runs of tasks of unknown size


@dataclass(frozen=True)
class Plan:
    """The plan of one run or of one sweep."""

    title: str
    runs: tuple[PlannedRun, ...]
    finetuning: Finetuning | None
    hardware: str
    jobs: int  # runs side by side
    is_total: bool = False  # of several tables
    deciding: Deciding | None = None  # what the seeds of a sweep can decide

    @property
    def distinct(self) -> list[PlannedRun]:
        return [run for run in self.runs if run.same_as is None]

    @property
    def missing(self) -> list[PlannedRun]:
        """Return the runs that would be trained, each once."""
        return [run for run in self.distinct if not run.complete]


def plans_of(job: Job) -> list[Plan]:
    """Return the plan of the run that a job addresses or, with `sweep=`, of all runs of a table or of several.

    Behind those of several tables comes their total, in which a run that they share is counted once. Raises ConfigError.
    """
    config = job.config
    if config.sweep is None:
        if config.plan.difference is not None:
            raise ConfigError("plan.difference: it is one between rows of a table, so it needs sweep=NAME.")
        run = replace(job, kind="pretrain")
        planned, title = (
            _planned(run.label, config, run.path, {}, speeds_in(Path(config.paths.outputs))),
            f"{run.label} at scale={config.scale.name}",
        )
        return [Plan(title, (planned,), None, config.plan.hardware, jobs=1)]
    sweeps = sweeps_of(config, job.overrides)
    plans = [
        replace(plan_of_runs(sweep.config, sweep.runs), deciding=deciding(sweep.config, sweep.runs)) for sweep in sweeps
    ]
    return [*plans, _total(sweeps, plans)] if len(plans) > 1 else plans


def plan_of_runs(config: Config, runs: Sequence[Job]) -> Plan:
    """Return the plan of a sweep whose runs are composed."""
    assert config.sweep is not None
    seen: dict[str, str] = {}
    speeds = speeds_in(Path(config.paths.outputs))
    planned = tuple(_planned(run.row, run.config, run.path, seen, speeds) for run in runs if run.kind == "pretrain")
    title = f"{config.sweep.title} ({config.sweep.name}) at scale={config.scale.name}"
    jobs = config.trainer.jobs
    return Plan(title, planned, _finetuning(runs, jobs), config.plan.hardware, jobs)


def _total(sweeps: Sequence[Sweep], plans: Sequence[Plan]) -> Plan:
    each = {run.run_id: run for plan in reversed(plans) for run in plan.distinct}
    config = sweeps[0].config
    title = f"all {len(sweeps)} tables at scale={config.scale.name}"
    if shared := num_shared(sweeps):
        title += f"; {counted(shared, 'run')} shared between them, counted once"
    finetuning = _finetuning([run for sweep in sweeps for run in sweep.runs], config.trainer.jobs)
    return Plan(title, tuple(each.values()), finetuning, config.plan.hardware, config.trainer.jobs, is_total=True)


def _planned(row: str, config: Config, path: Path, seen: dict[str, str], speeds: Sequence[Speed]) -> PlannedRun:
    earlier = seen.get(path.name)
    seen.setdefault(path.name, row)
    return PlannedRun(row, config.seed, path.name, is_complete(path), earlier, costs_with(config, speeds))


def _finetuning(runs: Iterable[Job], jobs: int) -> Finetuning:
    each = each_once(run for run in runs if run.kind == "finetune")
    missing = [finetune_seconds(run.config) for run in each.values() if not run.is_trained]
    known = [found for found in missing if found is not None]
    return Finetuning(len(each), len(each) - len(missing), sum(known), clock(known, jobs), missing.count(None))


# ---------------------------------------------------------------- as data
def as_json(plan: Plan) -> Json:
    """Return the numbers of a plan: each run with its costs, and the sums of what is missing."""
    missing = plan.missing
    hours = sum(run.costs.device_hours for run in missing)
    return {
        **asdict(plan),
        "deciding": None if plan.deciding is None else plan.deciding.to_json(),
        "runs": [{**asdict(run), "costs": _costs_json(run.costs)} for run in plan.runs],
        "missing": {"runs": len(missing), "tokens": sum(run.costs.tokens for run in missing), "device_hours": hours},
    }


def _costs_json(costs: Costs) -> Json:
    computed = {"tokens": costs.tokens, "passes": costs.passes, "hours": costs.hours, "price": costs.price}
    memory = {**asdict(costs.memory), "total": costs.memory.total}
    return {**asdict(costs), **computed, "device_hours": costs.device_hours, "memory": memory}


# ---------------------------------------------------------------- as text
def text(plans: Sequence[Plan]) -> str:
    """Return the plans for the console."""
    return "\n\n\n".join(_block(plan, "", "", partial(aligned, head=True)) for plan in plans)


def markdown(plans: Sequence[Plan]) -> str:
    """Return the plans as a Markdown page."""
    return "\n\n".join(_block(plan, "# ", "- ", grid) for plan in plans) + "\n"


def _block(plan: Plan, title: str, bullet: str, columns: Callable[[list[list[str]], str], list[str]]) -> str:
    """Return a plan as text, a total without its runs; `title` and `bullet` are what the title and notes begin with."""
    rows, notes = ([], _sums(plan)) if plan.is_total else (_table(plan), _notes(plan))
    lines = [*columns(rows, ALIGNMENT[: len(rows[0])]), ""] if rows else []
    decided = [] if plan.deciding is None else deciding_lines(plan.deciding)
    return "\n".join([title + plan.title, "", *lines, *(bullet + note for note in [*notes, *decided])])


def _table(plan: Plan) -> list[list[str]]:
    """Return the head and a row for each run; without the price where there is none, and empty without runs."""
    several_seeds = len({run.seed for run in plan.runs}) > 1
    num_columns = len(COLUMNS) - all(run.costs.price is None for run in plan.runs)
    rows = [list(COLUMNS), *(_cells(run, several_seeds) for run in plan.runs)]
    return [row[:num_columns] for row in rows] if plan.runs else []


def _cells(run: PlannedRun, shows_seed: bool) -> list[str]:
    costs = run.costs
    state = "complete" if run.complete else "missing"
    return [
        f"{run.row} seed {run.seed}" if shows_seed else run.row,
        run.run_id,
        state if run.same_as is None else f"same run as {run.same_as}",
        short(costs.parameters),
        f"{costs.sequences:,} x {costs.steps:,}",
        short(costs.tokens),
        "?" if costs.passes is None else f"{costs.passes:.3g}",
        f"{costs.accumulation} x {costs.micro_batch}",
        f"{costs.flops:.1e}",
        f"{costs.memory.total / 1e9:.2g} GB",
        duration(costs.hours),
        short(costs.device_hours),
        "" if costs.price is None else f"{costs.price:,.2f}",
    ]


def _notes(plan: Plan) -> list[str]:
    """Return what the numbers rest on, the sums, and warnings of what would not work as asked."""
    if not plan.runs:
        return [NO_RUN, *_sums(plan)]
    bases = dict.fromkeys(run.costs.basis for run in plan.runs)
    step_bases = dict.fromkeys(run.costs.real.step_basis for run in plan.runs)
    pass_bases = dict.fromkeys(run.costs.real.pass_basis for run in plan.runs)
    used = f"{plan.runs[0].costs.devices} x {HARDWARE[plan.hardware].what}"
    warnings = dict.fromkeys(f"{run.row}: {warning}" for run in plan.missing for warning in run.costs.warnings)
    return [
        f"hardware: {used} a run; throughput {' or '.join(bases)}",
        f"tokens: real ones, without padding; {' or '.join(step_bases)}",
        f"passes over the inputs: {' or '.join(pass_bases)}",
        ACCUMULATED,
        *_exchanged(plan),
        *_sums(plan),
        *(f"WARNING {warning}" for warning in warnings),
    ]


def _exchanged(plan: Plan) -> list[str]:
    """Return what devices exchange, the most and the least of all runs; nothing for runs on one device."""
    found = [run.costs.exchange for run in plan.runs if run.costs.exchange is not None]
    if not found:
        return []
    text = (
        f"exchange of gradients: {_range([one.bytes / 1e9 for one in found], '.2g')} GB sent by a device at each step"
    )
    seconds = [one.seconds for one in found if one.seconds is not None]
    if not seconds:
        return [f"{text}, not reckoned in; plan.bandwidth=GB_PER_SECOND of a device reckons it in"]
    shares = [100 * one.efficiency for one in found if one.efficiency is not None]
    return [
        f"{text}, {_range(seconds, '.2g')} s, so {_range(shares, '.0f')}% of a step is computing (no overlap is reckoned)"
    ]


def _range(values: Sequence[float], digits: str) -> str:
    least, most = f"{min(values):{digits}}", f"{max(values):{digits}}"
    return least if least == most else f"{least} to {most}"


def _sums(plan: Plan) -> list[str]:
    """Return the sums of what is complete and of what is missing, each run counted once."""
    missing, at_once = plan.missing, len(plan.missing)
    hours = clock((run.costs.hours for run in missing), plan.jobs)
    done = f"{counted(len(plan.distinct), 'run')}, {len(plan.distinct) - len(missing)} complete"
    lines = [f"pretraining: {done}, {len(missing)} to train: {costs_text(missing)} device-hours"]
    times = [f"{duration(hours)} of pretraining"]
    if (tuning := plan.finetuning) is not None:
        unknown = f", {tuning.unknown} of them of unknown size" if tuning.unknown else ""
        left = f"{tuning.runs - tuning.complete} to train{unknown}"
        most = f"at most {short(tuning.seconds / 3600)} device-hours, reckoned with inputs of full length"
        lines.append(f"finetuning: {counted(tuning.runs, 'run')}, {tuning.complete} complete, {left}: {most}")
        times.append(f"{duration(tuning.clock / 3600)} of finetuning")
        at_once = max(at_once, tuning.runs - tuning.complete)
    at_once = min(plan.jobs, at_once)
    how = f"{at_once} runs side by side" if at_once > 1 else "one run after the other"
    lines.append(f"estimated: {' and '.join(times)}, {how}")
    if missing and (price := missing[0].costs.price_per_hour) is not None:
        cost = sum(run.costs.price or 0 for run in missing)
        lines.append(f"cost of pretraining: {cost:,.2f}, at {price:g} a device-hour")
    return lines


def costs_text(runs: Sequence[PlannedRun]) -> str:
    """Return tokens, FLOPs and device-hours of all runs together, without the unit of the hours."""
    tokens, flops = sum(run.costs.tokens for run in runs), sum(run.costs.flops for run in runs)
    return f"{short(tokens)} tokens, {flops:.1e} FLOPs, {short(sum(run.costs.device_hours for run in runs))}"
