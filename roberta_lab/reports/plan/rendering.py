"""A plan as text for the console and as Markdown: a table with a row for each run, and notes below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from roberta_lab.config.formatting import counted, duration, short
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.reports.console import aligned
from roberta_lab.reports.plan.plan import Finetuning, Plan, PlannedRun, Plans
from roberta_lab.reports.table.markdown import grid

COLUMNS = (
    *("row", "run", "state", "parameters", "batch x steps", "tokens", "passes", "accumulated", "FLOPs", "memory"),
    *("time", "device-hours", "cost"),
)
ALIGNMENT = "lll" + "r" * (len(COLUMNS) - 3)
NO_RUN = "no row starts from a pretraining run of its own"
ACCUMULATED = "accumulated: micro-batches a step x inputs of full length in each, of one device, and so is memory"


def text(plans: Plans) -> str:
    """Return the plans for the console."""
    return "\n\n\n".join(_blocks(plans, "", "", partial(aligned, head=True)))


def markdown(plans: Plans) -> str:
    """Return the plans as a Markdown page."""
    return "\n\n".join(_blocks(plans, "# ", "- ", grid)) + "\n"


def _blocks(plans: Plans, title: str, bullet: str, columns: Callable[[list[list[str]], str], list[str]]) -> list[str]:
    """Return a block of lines for each plan and for the total: title, table, notes.

    Args:
        title, bullet: what titles and notes begin with.
        columns: makes lines of the cells of a table and the alignment of its columns.
    """
    blocks = []
    for plan in plans.plans:
        rows = _table(plan)
        lines = [*columns(rows, ALIGNMENT[: len(rows[0])]), ""] if rows else []
        blocks.append([title + plan.title, "", *lines, *(bullet + note for note in _notes(plan))])
    if plans.total is not None:
        blocks.append([title + plans.total.title, "", *(bullet + line for line in _sums(plans.total))])
    return ["\n".join(block) for block in blocks]


def cost_lines(plans: Mapping[str, Plan]) -> str:
    """Return what a sweep file says of its cost: for each scale, of all its pretraining runs, complete or not."""
    lines = []
    for scale, plan in plans.items():
        unit = HARDWARE[plan.hardware].unit
        runs, costs = counted(len(plan.distinct), "run"), _costs(plan.distinct)
        lines.append(f"# Cost, {scale}: {runs}, {costs} {unit}-hours ({plan.hardware})")
    return "\n".join(lines)


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
    used = f"{plan.runs[0].costs.devices} x {HARDWARE[plan.hardware].what}"
    warnings = dict.fromkeys(f"{run.row}: {warning}" for run in plan.missing for warning in run.costs.warnings)
    return [
        f"hardware: {used} a run; throughput {_joined(run.costs.basis for run in plan.runs)}",
        f"passes over the data: {_joined(run.costs.pass_basis for run in plan.runs)}",
        ACCUMULATED,
        *_sums(plan),
        *(f"WARNING {warning}" for warning in warnings),
    ]


def _sums(plan: Plan) -> list[str]:
    """Return the sums of what is complete and of what is missing, each run counted once."""
    missing, hours = plan.missing, sum(run.costs.hours for run in plan.missing)
    done = f"{counted(len(plan.distinct), 'run')}, {len(plan.distinct) - len(missing)} complete"
    lines = [f"pretraining: {done}, {len(missing)} to train: {_costs(missing)} device-hours"]
    times = [f"{duration(hours / plan.jobs)} of pretraining"]
    if plan.finetuning is not None:
        lines.append(_finetuning(plan.finetuning))
        times.append(f"{duration(plan.finetuning.seconds / 3600 / plan.jobs)} of finetuning")
    how = f"{plan.jobs} runs side by side" if plan.jobs > 1 else "one run after the other"
    lines.append(f"estimated: {' and '.join(times)}, {how}")
    if missing and (price := missing[0].costs.price_per_hour) is not None:
        cost = sum(run.costs.price or 0 for run in missing)
        lines.append(f"cost of pretraining: {cost:,.2f}, at {price:g} a device-hour")
    return lines


def _costs(runs: Sequence[PlannedRun]) -> str:
    """Return tokens, FLOPs and device-hours of all runs together, without the unit of the hours."""
    tokens, flops = sum(run.costs.tokens for run in runs), sum(run.costs.flops for run in runs)
    return f"{short(tokens)} tokens, {flops:.1e} FLOPs, {short(sum(run.costs.device_hours for run in runs))}"


def _finetuning(tuning: Finetuning) -> str:
    unknown = f", {tuning.unknown} of them of unknown size" if tuning.unknown else ""
    done = (
        f"{counted(tuning.runs, 'run')}, {tuning.complete} complete, {tuning.runs - tuning.complete} to train{unknown}"
    )
    return (
        f"finetuning: {done}: at most {short(tuning.seconds / 3600)} device-hours, reckoned with inputs of full length"
    )


def _joined(found: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(found))
