"""Say what the seeds of a sweep can decide: which of its claims, how many seeds the others take, and what those cost."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

from roberta_lab.config import Config, ConfigError, nearest
from roberta_lab.config.formatting import compact, counted, short
from roberta_lab.data.storage import Json, digest
from roberta_lab.reports.statistics.claims import power_to_decide, seeds_to_decide
from roberta_lab.reports.statistics.paired import LEVEL
from roberta_lab.reports.statistics.power import POWER, deviation_interval, power, seeds_to_see
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.columns import Column, stated_for
from roberta_lab.reports.table.comparing import OWN_FIGURE, SAME_MEASUREMENT
from roberta_lab.reports.table.judging import which_test_of_claim
from roberta_lab.reports.table.rows import Table, read_record
from roberta_lab.reports.table.verdict import Outcome
from roberta_lab.runs import identity
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.perf import costs_with, speeds_in
from roberta_lab.runs.sweeps import at_scale
from roberta_lab.runs.tables import each_once
from roberta_lab.tasks.costs import finetune_seconds

FEWEST_DEGREES = 3  # of freedom, with which a measured spread counts for more than a stated one
MOST_LISTED = 20  # seeds that are written out
PRETRAINING, FINETUNING = "sweep.seeds", "sweep.finetune_seeds"
UNKNOWN = "no spread over seeds is known yet; two seeds would measure it"


@dataclass(frozen=True)
class Spread:
    """The standard deviation of paired differences over pretraining seeds in one column, and how it is known."""

    deviation: float
    freedom: int  # degrees of freedom with which it was measured; 0 where it is stated

    @property
    def text(self) -> str:
        """Return `spread 0.012, measured with 3 degrees of freedom (0.007 to 0.045)`."""
        if not self.freedom:
            return f"spread {compact(self.deviation, 2)}, as stated"
        low, high = (compact(end, 2) for end in deviation_interval(self.deviation, self.freedom))
        return f"spread {compact(self.deviation, 2)}, measured with {counted(self.freedom, 'degree')} of freedom ({low} to {high})"


@dataclass(frozen=True)
class Need:
    """What it takes to decide a question: a claim of the sweep, or whether there is a difference of some size."""

    question: str
    have: int  # seeds that the sweep asks for
    why_not: str = ""  # no seeds of these runs decide it: not testable at this scale, or no run of it is asked for
    spread: Spread | None = None
    seeds: int | None = None  # that decide it with probability 0.8; None: not known, or more than 10,000
    power: float = 0.0  # the probability that the seeds of the sweep decide it
    device_hours: float | None = None  # of the seeds that are lacking, at most
    key: str = PRETRAINING  # which adds seeds

    @property
    def is_decided(self) -> bool:
        """Return whether the seeds of the sweep are enough."""
        return self.seeds is not None and self.seeds <= self.have

    @property
    def text(self) -> str:
        """Return what is needed in one line."""
        if self.why_not:
            return f"{self.question}: {self.why_not}"
        if self.spread is None:
            return f"{self.question}: {UNKNOWN}"
        if self.seeds is None:
            return f"{self.question}: more than 10,000 seeds ({self.spread.text})"
        seeds = counted(self.have, "seed") + (" of finetuning" if self.key == FINETUNING else "")
        have = f"{seeds} with probability {self.power:.2g}"
        if self.is_decided:
            return f"{self.question}: {have} ({self.spread.text})"
        hours = "" if self.device_hours is None else f", {short(self.device_hours)} device-hours more"
        return f"{self.question}: {have}, {self.seeds} with {POWER:g} ({self.spread.text}){hours}"


@dataclass(frozen=True)
class Deciding:
    """What the seeds of a sweep can decide."""

    claims: tuple[Need, ...]
    difference: Need | None = None  # of `plan.difference`
    num_tests: int | None = None  # of all claims: fewer than these where some are one test

    def to_json(self) -> Json:
        """Return it as JSON values."""
        needs = [{**asdict(need), "decided": need.is_decided, "text": need.text} for need in self.claims]
        asked = self.difference
        return {"claims": needs, "difference": None if asked is None else {**asdict(asked), "text": asked.text}}

    @property
    def undecided(self) -> list[Need]:
        """Return the claims that can be tested and that the seeds do not decide."""
        return [need for need in self.claims if not need.why_not and not need.is_decided]


def deciding(config: Config, runs: Sequence[Job]) -> Deciding:
    """Return what the runs of a sweep can decide. Raises ConfigError for a `plan.column` that the table does not have."""
    table = table_of(config, runs)
    asked = column_called(table, config.plan.column, "plan.column")
    num_tests = len({which_test_of_claim(table, verdict) for verdict in table.verdicts if verdict.is_open})
    hours, needs = cache(partial(_hours_of_a_seed, runs)), []  # one look at all runs that were measured
    for verdict in table.verdicts:
        question, rows = verdict.words, (verdict.claim.row, verdict.claim.over)
        column = next((c for c in table.all_columns if c.is_called(verdict.column)), None)
        key, have = _seeds(runs, rows, column)
        if not verdict.is_open:
            why = f"{verdict.outcome}: " * (verdict.outcome is Outcome.NOT_TESTABLE) + verdict.why
            needs.append(Need(question, have, why, key=key))
            continue
        spread = _spread(config, table, column, verdict.column, asked, key)
        if spread is None:
            needs.append(Need(question, have, key=key))
            continue
        of_claim = verdict.claim.direction, verdict.margin, spread.deviation
        seeds = seeds_to_decide(*of_claim, num_claims=num_tests)
        chance = power_to_decide(*of_claim, have, num_tests)
        needs.append(_need(question, have, spread, seeds, chance, hours(key), key))
    return Deciding(tuple(needs), _asked(config, table, asked, runs, hours), num_tests)


def table_of(config: Config, runs: Sequence[Job]) -> Table:
    """Return the table of the runs that are there, for its figures alone: no folder is written."""
    assert config.sweep is not None
    records = [read_record(run, Path()) for run in runs]
    return assemble(config.sweep, config.scale.name, records, config.scale.leaves_out)


def _asked(
    config: Config, table: Table, column: Column, runs: Sequence[Job], hours: Callable[[str], float | None]
) -> Need | None:
    """Return what `plan.difference` in its column takes; None where it is not asked for."""
    difference = config.plan.difference
    if difference is None:
        return None
    key, have = _seeds(runs, [row.name for row in table.rows], column)
    spread = _spread(config, table, column, column.metric, column, key)
    question = f"a difference of {difference:g} on {column.title}"
    if spread is None:
        return Need(question, have, key=key)
    seeds, chance = seeds_to_see(difference, spread.deviation), power(have, difference, spread.deviation)
    return _need(question, have, spread, seeds, chance, hours(key), key)


def column_called(table: Table, name: str | None, key: str) -> Column:
    """Return the column of a table with this name, a figure or a task; without one, that of its first claim, else the first.

    Raises ConfigError, with the key, for a column that the table does not have.
    """
    claimed = [verdict.column for verdict in table.verdicts if verdict.is_open]
    found = [c for called in ([name] if name else claimed) for c in table.all_columns if c.is_called(called)]
    if found or name is None:
        return (found or table.all_columns)[0]
    if name in table.left_out:
        raise ConfigError(f"{key}={name}: it is not run at this scale; ask for it with sweep.tasks=[{name}].")
    allowed = list(
        dict.fromkeys(c.metric if c.held_out is not None or not c.principal else c.task for c in table.all_columns)
    )
    raise ConfigError(f"{key}={name}: no such column.{nearest(name, allowed)} Allowed: {', '.join(allowed)}.")


def _need(
    question: str, have: int, spread: Spread, seeds: int | None, chance: float, per_seed: float | None, key: str
) -> Need:
    more = None if seeds is None or per_seed is None else max(0, seeds - have) * per_seed
    return Need(question, have, spread=spread, seeds=seeds, power=chance, device_hours=more, key=key)


def _seeds(runs: Sequence[Job], rows: Collection[str], column: Column | None) -> tuple[str, int]:
    """Return which seeds are the pairs of these rows in a column: the key that adds some, and how many there are.

    They are those of finetuning where all rows start from one and the same model, as a table compares them then.
    """
    tuned = [] if column is None or column.held_out is not None else [r for r in runs if r.kind == "finetune"]
    own = [run for run in tuned if run.row in rows and column is not None and run.task == column.task]
    starts = [{digest(identity.start_science(run.config)) for run in own if run.row == row} for row in rows]
    if starts and len(starts[0]) == 1 and all(found == starts[0] for found in starts):
        return FINETUNING, len({run.finetune_seed for run in own})
    return PRETRAINING, len({run.seed for run in runs})


def _spread(config: Config, table: Table, column: Column | None, name: str, asked: Column, key: str) -> Spread | None:
    """Return the spread in a column: as the user states it for the one that is asked for, as it was measured in this table, as the
    sweep or the scale states it; None where it is not known. What few seeds measured counts only where nothing is stated.
    """
    assert config.sweep is not None
    if config.plan.spread is not None and column == asked:
        return Spread(config.plan.spread, 0)
    by_name = {**config.scale.spreads, **at_scale(config.sweep, config.scale, set()).spreads}
    stated, measured = (
        stated_for(name, by_name),
        None if column is None else _measured(table, column, key == FINETUNING),
    )
    if stated is not None and (measured is None or measured.freedom < FEWEST_DEGREES):
        return Spread(stated, 0)
    return measured


def _measured(table: Table, column: Column, same_weights: bool) -> Spread | None:
    """Return the spread of the differences from the reference row, pooled over rows; None where no row has two pairs.

    These differences share the reference row's values. So their spreads are correlated, by 1/4 where rows vary alike, and k rows
    have fewer degrees of freedom than k tables of two rows (Satterthwaite 1946): as many divided by 1 + (k - 1) / 4.
    """
    place = table.all_columns.index(column)
    found = [d for row in table.rows if (d := row.all_cells[place].difference) is not None]
    found = [d for d in found if d.same_weights == same_weights]
    seen = [d.seen for d in found if d.why_untested in ("", OWN_FIGURE, SAME_MEASUREMENT)]
    usable = [one for one in seen if one.n > 1 and one.deviation > 0]
    if not usable:
        return None
    pooled = sum(one.n - 1 for one in usable)
    deviation = math.sqrt(sum((one.n - 1) * one.deviation**2 for one in usable) / pooled)
    return Spread(deviation, int(pooled / (1 + (len(usable) - 1) / 4)))


def _hours_of_a_seed(runs: Sequence[Job], key: str) -> float | None:
    """Return the device-hours that a seed takes, at most: of finetuning alone by its key. None where a task's size is not known."""
    is_tuning = key == FINETUNING
    each = each_once(run for run in runs if run.kind == "finetune" or not is_tuning).values()
    seeds = {run.finetune_seed if is_tuning else run.seed for run in each}
    trained = [run.config for run in each if run.kind == "pretrain"]
    speeds = speeds_in(Path(trained[0].paths.outputs)) if trained else []
    pretraining = sum(costs_with(config, speeds).device_hours for config in trained)
    seconds = [finetune_seconds(run.config) for run in each if run.kind == "finetune"]
    known = [one for one in seconds if one is not None]
    return (pretraining + sum(known) / 3600) / len(seeds) if seeds and len(known) == len(seconds) else None


# ---------------------------------------------------------------- in words
def lines(found: Deciding) -> Iterator[str]:
    """Yield what the seeds can decide, for the console and for notes."""
    if found.claims:
        tests = sum(not need.why_not for need in found.claims)
        corrected = f", corrected for {counted(found.num_tests or tests, 'claim')}" if tests else ""
        head = f"claims, decided at p = {LEVEL:g}{corrected}, if the difference is the margin (better) or none (no worse, same)"
        yield f"{head if tests else 'claims'}:"
        yield from (f"  {need.text}" for need in found.claims)
    lacking: dict[str, list[int]] = {}
    for need in found.undecided:
        lacking.setdefault(need.key, []).append(need.seeds or MOST_LISTED + 1)
    most = {key: max(seeds) for key, seeds in lacking.items()}
    if most and max(most.values()) <= MOST_LISTED:
        yield f"all of them: {' '.join(f'{key}=[{_listed(seeds)}]' for key, seeds in most.items())}"
    if found.difference is not None:
        yield found.difference.text + (f"; to be seen at p = {LEVEL:g}" if found.difference.spread else "")


def _listed(seeds: int) -> str:
    return ",".join(map(str, range(1, seeds + 1)))
