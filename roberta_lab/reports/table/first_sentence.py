"""The first sentence of a table: what was seen between its rows, and how sure that is, in plain words."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from roberta_lab.config.formatting import counted, number, signed
from roberta_lab.reports.statistics.paired import paired
from roberta_lab.reports.table import wording
from roberta_lab.reports.table.alike import same_inputs
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.differences import Difference, Outcome
from roberta_lab.reports.table.marks import doubts
from roberta_lab.reports.table.rows import Cell, Row, Table

ONE_SEED = "which cannot tell whether another seed would agree"
ONE_PRETRAINING = "all of one pretraining, so they cannot tell whether another would agree"


@dataclass(frozen=True)
class Seen:
    """The figure of some rows that are the same runs: most often of one row."""

    rows: tuple[Row, ...]
    cell: Cell
    median: float

    @property
    def name(self) -> str:
        return " and ".join(row.name for row in self.rows)


def first_sentence(table: Table) -> str:
    """Return one sentence: which row ends best, by how much, over how many seeds, and how many pairs of them agree.

    It is about the first column in which rows differ: bits per byte of the common text, else the first task that has a score.
    With one seed it says that this cannot tell. Rows with marks that keep them from being compared are named, and nothing is claimed of
    them.
    """
    column = _column(table)
    if column is None:
        return f"Nothing can be said yet{_left(table)}."
    seen = _seen(table, column)
    left_out = {s.name: doubt for s in seen if (doubt := ", ".join(_doubts(s, column)))}
    ranked = sorted(
        (s for s in seen if s.name not in left_out), key=lambda s: s.median, reverse=not column.lower_is_better
    )
    end = f"{_not_compared(left_out)}{_left(table)}."
    if not ranked:
        return f"{_place(column)} no row can be compared{end}"
    best, *others = ranked
    if not others:
        figure = f"{_figure(best.median, column)}, {_seeds(best.cell)}"
        return f"{_place(column)} only {best.name} has a figure that counts ({figure}), so nothing is compared{end}"
    against = next((s for s in others if table.reference in {row.name for row in s.rows}), others[0])
    seen_there = f"{_difference(best, against, len(others) + 1, column)}: {_how_sure(best, against, column, table)}"
    return f"{_place(column)} {seen_there}{_own(best, against, table)}{end}"


def _column(table: Table) -> Column | None:
    """Return the first column in which two rows have figures of different runs, else the first with a figure; None without any."""
    columns = [*table.common[:1], *(column for column in table.columns if column.principal)]
    by_number = sorted(columns, key=lambda column: -min(2, len(_seen(table, column))))  # stable
    return by_number[0] if by_number and _seen(table, by_number[0]) else None


def _seen(table: Table, column: Column) -> list[Seen]:
    """Return the figures that are there; rows that are the same runs are one."""
    found: dict[tuple[str, ...], Seen] = {}
    for row in table.rows:
        cell = dict(table.cells(row))[column]
        if cell.median is not None:
            runs = tuple(sorted(record.run_id for record in cell.records))
            before = found[runs].rows if runs in found else ()
            found[runs] = Seen((*before, row), cell, cell.median)
    return list(found.values())


def _doubts(seen: Seen, column: Column) -> Iterator[str]:
    """Yield the marks that keep a figure from being compared, each once."""
    yield from dict.fromkeys(mark for row in seen.rows for mark in (*row.marks, *doubts(row, seen.cell, column)))


# ---------------------------------------------------------------- in words
def _place(column: Column) -> str:
    if column.is_common:
        return "On the common held-out text"
    return f"On {column.stand_in}, which stands in for {column.task}," if column.stand_in else f"On {column.task}"


def _figure(value: float, column: Column) -> str:
    return f"{number(value, column.digits)} {'bits per byte' if column.is_common else 'points'}"


def _difference(best: Seen, against: Seen, among: int, column: Column) -> str:
    """Return which row is best and by how much: `dynamic ends 0.120 bits per byte below static (3.310 against 3.430)`."""
    side, end = ("below", "lowest") if column.lower_is_better else ("above", "highest")
    of = f", {end} of {among}," if among > 2 else ""
    ours, theirs = (number(s.median, column.digits) for s in (best, against))
    if ours == theirs:
        return f"{best.name} and {against.name} end equal{of} at {_figure(best.median, column)}"
    gap = _figure(abs(float(ours.replace(",", "")) - float(theirs.replace(",", ""))), column)  # of what is shown
    return f"{best.name}{of} {'end' if len(best.rows) > 1 else 'ends'} {gap} {side} {against.name} ({ours} against {theirs})"


def _own(best: Seen, against: Seen, table: Table) -> str:
    """Return what the same two rows give on their own held-out inputs, where those are the same; else nothing."""
    column, rows = table.held_out[0], (best.rows[0], against.rows[0])
    found = [Seen((row,), row.perplexity, row.perplexity.median) for row in rows if row.perplexity.median is not None]
    if len(found) < len(rows) or not same_inputs(rows):
        return ""
    lower, higher = sorted(found, key=lambda s: s.median)
    pairs = paired(lower.cell.by_seed, higher.cell.by_seed)
    agree = f", {_agree(sum(pair < 0 for pair in pairs), len(pairs))}" if len(pairs) > 1 else ""
    figures = " against ".join(number(s.median, column.digits) for s in (lower, higher))
    return (
        f"; on their own held-out inputs, which are the same, {lower.name} has the lower perplexity ({figures}{agree})"
    )


def _agree(agreeing: int, pairs: int) -> str:
    if agreeing < pairs:
        return f"{agreeing} of {pairs} pairs of seeds agree"
    return f"{'both' if pairs == 2 else f'all {pairs}'} pairs of seeds agree"


def _how_sure(best: Seen, against: Seen, column: Column, table: Table) -> str:
    """Return how many seeds there are, whether pairs of them agree, and what the test of the table says."""
    found, is_best = _of_both(best, against, table)
    pairs = paired(best.cell.by_seed, against.cell.by_seed, found is not None and found.same_weights)
    both = _seeds(best.cell), _seeds(against.cell)
    seeds = f"{both[0]} each" if both[0] == both[1] else f"{both[0]} against {both[1]}"
    if found is not None and found.same_weights:
        seeds += " of finetuning, of the same weights"
    if not pairs:
        return f"{seeds}, none of them in both rows, so none are paired"
    if len(pairs) == 1 and (found is None or found.seen.n == 1):
        of_one = all(len({seed for seed, _ in one.cell.by_seed}) == 1 for one in (best, against))
        several = of_one and max(len(one.cell.by_seed) for one in (best, against)) > 1
        only = f"{seeds}, of which one is in both rows"
        one = "one seed each" if both == ("1 seed", "1 seed") else f"{seeds}, {ONE_PRETRAINING}" if several else only
        return one if several else f"{one}, {ONE_SEED}"
    better = sum(pair < 0 if column.lower_is_better else pair > 0 for pair in pairs)
    agree = f"{seeds}; {_agree(better, len(pairs))}"
    return f"{agree}; {_tested(found, column, is_best)}" if found is not None else agree


def _of_both(best: Seen, against: Seen, table: Table) -> tuple[Difference | None, bool]:
    """Return the difference of the two, and whether it is that of the best row from the other; None where neither is the reference."""
    for row, base in ((best, against), (against, best)):
        if table.reference in {one.name for one in base.rows}:
            return row.cell.difference, row is best
    return None, True


def _tested(found: Difference, column: Column, is_best: bool) -> str:
    """Return the interval of the difference, above 0 where the best row is the better one, and the outcome of its test."""
    seen, sign = found.seen, 1 if is_best != column.lower_is_better else -1
    low, mean, high = (
        signed(end, column.digits).lstrip("+") for end in sorted(sign * x for x in (seen.low, seen.mean, seen.high))
    )
    said = wording.said(found, column.digits)
    if found.outcome is Outcome.APART:
        said = f"told apart ({wording.p_is(found.p_holm)}, corrected for {counted(found.num_tests, 'test')})"
    if found.outcome is Outcome.UNSEEN:
        said = f"not told apart: {said}"
    shown = "" if math.isnan(seen.half_width) else f"paired difference {mean} (95%: {low} to {high}), "
    return f"{shown}{said}"


def _seeds(cell: Cell) -> str:
    return counted(len(cell.by_seed), "seed")


def _not_compared(doubts: dict[str, str]) -> str:
    return "; not compared: " + ", ".join(f"{name} ({why})" for name, why in doubts.items()) if doubts else ""


def _left(table: Table) -> str:
    """Return how many runs are missing, as the end of a sentence."""
    return f"; {table.num_missing} of {table.num_runs} runs are missing" if table.num_missing else ""
