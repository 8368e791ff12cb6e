"""Judge the claims of a sweep by its table."""

import re
from collections.abc import Collection, Hashable, Iterator
from dataclasses import replace

from roberta_lab.config import ClaimConfig, ConfigError, SweepConfig, nearest
from roberta_lab.reports.statistics.claims import Evidence, evidence, seeds_to_decide
from roberta_lab.reports.statistics.paired import LEVEL, holm
from roberta_lab.reports.table.alike import OTHER_TEXT
from roberta_lab.reports.table.columns import METRIC_OF_TASK, Column, stated_for
from roberta_lab.reports.table.comparing import OWN_FIGURE, SAME_MEASUREMENT, between, of_other_texts, which_test
from roberta_lab.reports.table.differences import NO_SPREAD, ONE_SEED, untested
from roberta_lab.reports.table.rows import Row, Table
from roberta_lab.reports.table.verdict import Outcome, Verdict

TOO_SMALL = "the model is too small for it, or the time too short"
SAME_RUNS = "both rows are the same runs"
NOT_ASKED = "not asked for: no run of it"
BY_LITTLE = {"better": "better by less than the margin", "no_worse": "worse, by less than the margin"}
NOT_RUN = "{} is not run here: only its published figures stand in the table"


def judged(table: Table, sweep: SweepConfig, leaves_out: Collection[str]) -> tuple[Verdict, ...]:
    """Return the verdict on each claim of a sweep in each of its columns, in the order of the file.

    All that can be tested are tested together, each test once (`which_test_of_claim`). Raises ConfigError for a claim about a row that the sweep does not have; one about
    an unknown column is undecided, and says so.
    """
    first = [_seen(table, sweep, leaves_out, claim, name) for claim, name in claims_of(sweep)]
    tested = [
        (index, which_test_of_claim(table, verdict)) for index, verdict in enumerate(first) if verdict.found is not None
    ]
    each = {test: found for index, test in tested if (found := first[index].found) is not None}
    holds, contradicted = holm(e.holds for e in each.values()), holm(e.contradicted for e in each.values())
    together = {test: Evidence(*two) for test, *two in zip(each, holds, contradicted, strict=True)}
    for index, test in tested:
        first[index] = _decided(replace(first[index], found=together[test]), len(each))
    return tuple(first)


def which_test_of_claim(table: Table, verdict: Verdict) -> Hashable:
    """Return what tells the test of a claim from others: columns of one stand-in have the same runs, so it is one for all of them."""
    claim, rows = verdict.claim, {row.name: row for row in table.rows}
    found = next(((place, c) for place, c in enumerate(table.all_columns) if c.is_called(verdict.column)), None)
    if found is None or not {claim.row, claim.over} <= rows.keys():
        return claim.row, claim.over, claim.direction, verdict.column
    return claim.direction, verdict.margin, which_test(rows[claim.row], rows[claim.over], found[1], found[0])


def claims_of(sweep: SweepConfig) -> Iterator[tuple[ClaimConfig, str]]:
    """Yield each claim of a sweep with each of its columns. Raises ConfigError for one that says nothing, or has no margin."""
    for claim in sweep.claims:
        if not claim.columns:
            raise _mistake(claim, sweep, "columns=[]: allowed are one or more figures or tasks.")
        if claim.row == claim.over:
            raise _mistake(
                claim, sweep, f"row={claim.row}: it is compared with itself. Allowed: two rows, as row and over."
            )
        for name in dict.fromkeys(claim.columns):
            if not margin_of_claim(claim, name, sweep):
                raise _mistake(claim, sweep, f"it needs a margin for {name}, as `margin` or in `margins`.")
            yield claim, name


def _mistake(claim: ClaimConfig, sweep: SweepConfig, what: str) -> ConfigError:
    return ConfigError(f"claim {sweep.claims.index(claim) + 1} of sweep={sweep.name}: {what}")


def margin_of_claim(claim: ClaimConfig, column: str, sweep: SweepConfig) -> float:
    """Return the smallest difference that matters to a claim in a column; 0 where none is stated."""
    return claim.margin if claim.margin is not None else stated_for(column, sweep.margins) or 0.0


def _seen(table: Table, sweep: SweepConfig, leaves_out: Collection[str], claim: ClaimConfig, name: str) -> Verdict:
    """Return a claim with what the table has for it: evidence, or why there is none."""
    undecided = Verdict(claim, name, Outcome.UNDECIDED, margin=margin_of_claim(claim, name, sweep))
    cannot = replace(undecided, outcome=Outcome.NOT_TESTABLE)
    for row in (claim.row, claim.over):
        if row in sweep.rows:
            continue
        if row in table.published_only:
            return replace(cannot, why=NOT_RUN.format(row))
        known = [*sweep.rows, *table.published_only]
        raise _mistake(claim, sweep, f"no row {row}.{nearest(row, known)} Allowed: {', '.join(known)}.")
    found = next(((place, c) for place, c in enumerate(table.all_columns) if c.is_called(name)), None)
    if found is None and name in (*leaves_out, *table.left_out):
        return replace(cannot, why=TOO_SMALL)
    rows = {row.name: row for row in table.rows}
    if found is None or not {claim.row, claim.over} <= rows.keys():
        why = NOT_ASKED if found is not None else _lacks(table, sweep, name)
        return replace(undecided, why=why, is_asked=False)
    place, column = found
    undecided = replace(undecided, digits=column.digits, stand_in=column.stand_in)
    return _compared(undecided, rows[claim.row], rows[claim.over], column, place)


def _lacks(table: Table, sweep: SweepConfig, name: str) -> str:
    """Return why a table has no column of a name: no run of its task was asked for, or it is a name that nobody knows."""
    columns = {*METRIC_OF_TASK.values(), *(column.metric for column in table.all_columns)}
    tasks = {*sweep.tasks, *METRIC_OF_TASK}
    if name in tasks | columns or any(name.startswith(f"{task}_") for task in tasks):
        return NOT_ASKED
    yet = " yet" if table.num_missing else ""  # figures of own held-out inputs are columns where they were measured
    return f"the table has no column of this name{yet}.{nearest(name, sorted(tasks | columns))}".rstrip(".")


def _compared(known: Verdict, row: Row, over: Row, column: Column, place: int) -> Verdict:
    ids = [{record.run_id for record in r.all_cells[place].shown} for r in (row, over)]
    if ids[0] and ids[0] == ids[1]:
        return replace(known, outcome=Outcome.NOT_TESTABLE, why=SAME_RUNS)
    if missing := [r.name for r in (row, over) if not r.all_cells[place].by_seed]:
        return replace(known, why=f"no figure of {' and of '.join(missing)} yet")
    difference = between(row, over, column, place, {})
    if difference is None and of_other_texts(row, over, column):
        return replace(known, outcome=Outcome.NOT_TESTABLE, why=OTHER_TEXT)
    if difference is None:
        return replace(known, why="no seed is in both rows")
    why, seen = difference.why_untested, difference.seen
    seen = replace(seen, mean=-seen.mean) if column.lower_is_better else seen
    pairs = [{(r.seed, r.finetune_seed) if difference.same_weights else r.seed for r in one.all_cells[place].shown} for one in (row, over)]  # fmt: skip
    known = replace(known, seen=seen, same_weights=difference.same_weights, asked=len(pairs[0] & pairs[1]))
    if why not in ("", ONE_SEED, NO_SPREAD, OWN_FIGURE, SAME_MEASUREMENT):
        reason = why.partition(": ")[2]
        some_runs = re.match(r"\d+ of \d+ ", reason)  # are broken or at chance; others may decide
        return replace(known, outcome=Outcome.UNDECIDED if some_runs else Outcome.NOT_TESTABLE, why=reason)
    if gap := untested(seen):
        return replace(known, why=f"{gap.partition(':')[0]}, so nothing can be tested")
    return replace(known, found=evidence(known.claim.direction, known.margin, seen))


def _decided(verdict: Verdict, num_claims: int) -> Verdict:
    """Return the verdict that its evidence gives; where that is none, with the seeds it would take."""
    seen, found, direction = verdict.seen, verdict.found, verdict.claim.direction
    assert seen is not None and found is not None
    if found.holds <= LEVEL:
        why = BY_LITTLE[direction] if found.contradicted <= LEVEL else ""
        return replace(verdict, outcome=Outcome.HOLDS, why=why)
    if found.contradicted <= LEVEL:
        return replace(verdict, outcome=Outcome.CONTRADICTED)
    seeds = seeds_to_decide(direction, verdict.margin, seen.deviation, seen.mean, num_claims)
    if seeds is None:
        return replace(verdict, why="no number of seeds would decide, if the difference is what is seen so far")
    more = max(seeds, seen.n + 1)
    return replace(
        verdict,
        seeds=more,
        why=f"about {more} seeds would decide with probability 0.8, if the difference is what is seen so far",
    )
