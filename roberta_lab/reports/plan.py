"""The plan of a run or of a sweep: a row for each, what is there already, and what the rest costs. Reads no data, starts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.model.costs import Costs, costs_of
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.runs import identity, run_folder
from roberta_lab.runs.jobs import Sweep, SweepRun, each_once, num_shared, sweeps_of
from roberta_lab.tasks.costs import finetune_seconds

COLUMNS = (
    *("row", "run", "state", "parameters", "batch x steps", "tokens", "passes", "accumulated", "FLOPs", "memory"),
    *("time", "device-hours", "cost"),
)
_WITHOUT_PRICE = COLUMNS[:-1]


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
    """What `plan` says; `reproduce` prints it first."""

    title: str
    runs: tuple[PlannedRun, ...]
    finetuning: Finetuning | None
    hardware: str
    jobs: int  # runs that go side by side

    @property
    def distinct(self) -> list[PlannedRun]:
        """Each run once."""
        return [planned for planned in self.runs if planned.same_as is None]

    @property
    def missing(self) -> list[PlannedRun]:
        """Runs that would be trained, each once."""
        return [planned for planned in self.distinct if not planned.complete]

    @property
    def hours(self) -> float:
        """Of pretraining what is missing, one run after the other."""
        return sum(planned.costs.hours for planned in self.missing)

    def cells(self) -> list[list[str]]:
        """The table, a row for each run."""
        return [_cells(planned, self._shows_seeds) for planned in self.runs]

    @property
    def _shows_seeds(self) -> bool:
        return len({planned.seed for planned in self.runs}) > 1

    @property
    def _columns(self) -> tuple[str, ...]:
        return COLUMNS if any(planned.costs.price is not None for planned in self.runs) else _WITHOUT_PRICE

    def text(self) -> str:
        """For the console."""
        if not self.runs:
            return "\n".join([self.title, "", *self.notes()])
        columns = self._columns
        rows = [list(columns), *(cells[: len(columns)] for cells in self.cells())]
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([self.title, "", *(line.rstrip() for line in lines), "", *self.notes()])

    def markdown(self) -> str:
        """The same as a Markdown page."""
        if not self.runs:
            return "\n".join([f"# {self.title}", "", *(f"- {note}" for note in self.notes())]) + "\n"
        columns = self._columns
        rows = [
            columns,
            ["---", "---", "---", *["---:"] * (len(columns) - 3)],
            *(c[: len(columns)] for c in self.cells()),
        ]
        table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return "\n".join([f"# {self.title}", "", table, "", *(f"- {note}" for note in self.notes())]) + "\n"

    def notes(self) -> list[str]:
        """What the numbers rest on, what is there, the sum of the rest, and what would not work as asked."""
        if not self.runs:
            return ["no row starts from a pretraining run of its own", *self.sums()]
        one = self.runs[0].costs
        used = f"{one.devices} x {HARDWARE[self.hardware].what}"
        lines = [f"hardware: {used} a run; throughput {_one_of(p.costs.basis for p in self.runs)}"]
        lines.append(f"passes over the data: {_one_of(p.costs.pass_basis for p in self.runs)}")
        lines.append(
            "accumulated: micro-batches a step x inputs of full length in each, of one device, and so is memory"
        )
        warnings = dict.fromkeys(f"{p.row}: {warning}" for p in self.missing for warning in p.costs.warnings)
        return [*lines, *self.sums(), *(f"WARNING {warning}" for warning in warnings)]

    def sums(self) -> list[str]:
        """Of what is there and of what is missing, each run counted once."""
        lines = [self._pretraining()]
        if self.finetuning is not None:
            lines.append(self._finetuning())
        lines.append(self._estimate())
        if self.missing and (price := self.missing[0].costs.price_per_hour) is not None:
            cost = sum(p.costs.price or 0 for p in self.missing)
            lines.append(f"cost of pretraining: {cost:,.2f}, at {price:g} a device-hour")
        return lines

    def _pretraining(self) -> str:
        distinct, missing = self.distinct, self.missing
        tokens, flops = (sum(getattr(p.costs, name) for p in missing) for name in ("tokens", "flops"))
        hours = sum(p.costs.device_hours for p in missing)
        return (
            f"pretraining: {_count(len(distinct), 'run')}, {len(distinct) - len(missing)} complete, {len(missing)} to train: "
            f"{short(tokens)} tokens, {flops:.1e} FLOPs, {short(hours)} device-hours"
        )

    def _finetuning(self) -> str:
        tuning = self.finetuning
        assert tuning is not None
        unknown = f", {tuning.unknown} of them of unknown size" if tuning.unknown else ""
        return (
            f"finetuning: {_count(tuning.runs, 'run')}, {tuning.complete} complete, {tuning.runs - tuning.complete} to train{unknown}: "
            f"at most {short(tuning.seconds / 3600)} device-hours, reckoned with inputs of full length"
        )

    def _estimate(self) -> str:
        parts = [f"{duration(self.hours / self.jobs)} of pretraining"]
        if self.finetuning is not None:
            parts.append(f"{duration(self.finetuning.seconds / 3600 / self.jobs)} of finetuning")
        side_by_side = f"{self.jobs} runs side by side" if self.jobs > 1 else "one run after the other"
        return f"estimated: {' and '.join(parts)}, {side_by_side}"


@dataclass(frozen=True)
class Plans:
    """The plans of several tables, and one of all, in which a run that several of them show is counted once."""

    tables: tuple[Plan, ...]
    total: Plan

    def text(self) -> str:
        """For the console."""
        blocks = [plan.text() for plan in self.tables]
        return "\n\n\n".join([*blocks, "\n".join([self.total.title, "", *self.total.sums()])])

    def markdown(self) -> str:
        """The same as a Markdown page."""
        total = [f"# {self.total.title}", "", *(f"- {line}" for line in self.total.sums())]
        return "\n".join([*(plan.markdown() for plan in self.tables), *total]) + "\n"


def plan_of(config: Config, overrides: Sequence[str]) -> Plan | Plans:
    """The plan of the run that the overrides address or, with `sweep=`, of all runs of a table or of several."""
    if config.sweep is None:
        path = identity.directory(config, "pretrain")
        planned = _planned(run_folder.label(config), config, path, {})
        return Plan(
            f"{run_folder.label(config)} at scale={config.scale.name}", (planned,), None, config.plan.hardware, 1
        )
    sweeps = sweeps_of(config, overrides)
    plans = tuple(plan_of_runs(sweep.config, sweep.runs) for sweep in sweeps)
    return plans[0] if len(plans) == 1 else Plans(plans, _total(sweeps, plans))


def plan_of_runs(config: Config, runs: Sequence[SweepRun]) -> Plan:
    """The plan of a sweep whose runs are composed."""
    assert config.sweep is not None
    seen: dict[str, str] = {}
    planned = tuple(_planned(one.job.row, one.config, one.path, seen) for one in runs if one.kind == "pretrain")
    title = f"{config.sweep.title} ({config.sweep.name}) at scale={config.scale.name}"
    return Plan(title, planned, _tuning(runs), config.plan.hardware, config.trainer.jobs)


def _total(sweeps: Sequence[Sweep], plans: Sequence[Plan]) -> Plan:
    each = {planned.run_id: planned for plan in reversed(plans) for planned in plan.distinct}
    config, tuning = sweeps[0].config, _tuning([one for sweep in sweeps for one in sweep.runs])
    title = f"all {len(sweeps)} tables at scale={config.scale.name}"
    if shared := num_shared(sweeps):
        title += f"; {_count(shared, 'run')} shared between them, counted once"
    return Plan(title, tuple(each.values()), tuning, config.plan.hardware, config.trainer.jobs)


def cost_lines(plans: dict[str, Plan]) -> str:
    """What a sweep file says of its cost: of each scale, all runs of pretraining."""

    def one(scale: str, plan: Plan) -> str:
        distinct, device = plan.distinct, HARDWARE[plan.hardware]
        tokens, flops = (sum(getattr(p.costs, name) for p in distinct) for name in ("tokens", "flops"))
        hours = sum(p.costs.device_hours for p in distinct)
        runs = _count(len(distinct), "run")
        return f"{scale}: {runs}, {short(tokens)} tokens, {flops:.1e} FLOPs, {short(hours)} {device.unit}-hours ({plan.hardware})"

    return "\n".join(f"# Cost, {one(scale, plan)}" for scale, plan in plans.items())


def _planned(row: str, config: Config, path: Path, seen: dict[str, str]) -> PlannedRun:
    earlier = seen.get(path.name)
    seen.setdefault(path.name, row)
    return PlannedRun(row, config.seed, path.name, run_folder.is_complete(path), earlier, costs_of(config))


def _tuning(runs: Iterable[SweepRun]) -> Finetuning:
    each = each_once(one for one in runs if one.kind == "finetune")
    missing = [finetune_seconds(one.config) for one in each.values() if not one.is_trained]
    seconds = sum(found for found in missing if found is not None)
    return Finetuning(len(each), len(each) - len(missing), seconds, missing.count(None))


def _cells(planned: PlannedRun, shows_seeds: bool) -> list[str]:
    costs = planned.costs
    state = "complete" if planned.complete else "missing"
    if planned.same_as is not None:
        state = f"same run as {planned.same_as}"
    return [
        f"{planned.row} seed {planned.seed}" if shows_seeds else planned.row,
        planned.run_id,
        state,
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


def short(number: float) -> str:
    """1,234,567 -> 1.23M: three digits and a letter."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= 0.9995 * size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}" if number >= 0.001 or not number else "<0.001"


def duration(hours: float) -> str:
    """As people say it."""
    if hours < 1:
        return _count(max(1, round(hours * 60)), "minute") if hours else "nothing"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _one_of(found: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(found))
