"""Compare the rows of a table: with their reference row, and any two of them, as claims do."""

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from roberta_lab.reports.statistics.multi_bootstrap import SeedsAndItems
from roberta_lab.reports.statistics.paired import paired_difference
from roberta_lab.reports.table.alike import (
    OTHER_ITEMS,
    OTHER_METRIC,
    OTHER_TEXT,
    measured,
    same_inputs,
    scored_otherwise,
    unlike,
)
from roberta_lab.reports.table.columns import COMMON_PERPLEXITY, Column, stated_for
from roberta_lab.reports.table.differences import Difference, tested_together, untested
from roberta_lab.reports.table.marks import doubts
from roberta_lab.reports.table.rows import Cell, Row, Table

SAME_MEASUREMENT = "not tested: bits per byte are the same measurement"
OWN_FIGURE = "not tested: the common text compares rows"
OTHER_INPUTS = "not tested: of other held-out inputs"


def compared_with(
    rows: Sequence[Row], reference: str | None, columns: Sequence[Column], margins: Mapping[str, float]
) -> list[Row]:
    """Return the rows, each cell with its difference from the reference row's; what is tested is tested together.

    Rows that share their runs, and columns of one stand-in, share one test.
    """
    base = next((row for row in rows if row.name == reference), None)
    if base is None:
        return list(rows)
    found: dict[tuple[int, int], Difference] = {}
    tests: dict[tuple[int, int], Hashable] = {}
    for number, row in enumerate(rows):
        for place, column in enumerate(columns if row is not base else ()):
            difference = between(row, base, column, place, margins)
            if difference is not None:
                found[number, place] = difference
                tests[number, place] = (
                    which_test(row, base, column, place),
                    difference.margin,
                    difference.why_untested,
                )
    each = {test: found[where] for where, test in tests.items()}
    tested = dict(zip(each, tested_together(list(each.values())), strict=True))
    return [
        _with(row, {place: tested[test] for (n, place), test in tests.items() if n == number})
        for number, row in enumerate(rows)
    ]


def which_test(row: Row, base: Row, column: Column, place: int) -> Hashable:
    """Return what tells the test of two rows in a column from other tests: the runs of both, and which figure of them it is."""
    runs = [_runs(one.all_cells[place]) for one in (row, base)]
    is_score = column.principal and column.held_out is None
    return *runs, "its score" if is_score else column.metric.removeprefix(f"{column.task}_")


def with_items(table: Table, found: Mapping[str, Mapping[str, SeedsAndItems]]) -> Table:
    """Return the table with the intervals over seeds and items, by row and task, beside the differences of the tasks' scores."""
    rows = []
    for row in table.rows:
        differences = {
            place: cell.difference for place, cell in enumerate(row.all_cells) if cell.difference is not None
        }
        own, cells = found.get(row.name, {}), dict(zip(table.all_columns, row.all_cells, strict=True))
        by_runs = {
            _runs(cell): own[column.task] for column, cell in cells.items() if column.task in own
        }  # of one stand-in
        for place, column in enumerate(table.all_columns):
            items = by_runs.get(_runs(cells[column]))
            if items is None or items.num_seeds < 2:  # over items alone, it would not be beside one over seeds
                continue
            if column.principal and column.held_out is None and place in differences:
                differences[place] = replace(differences[place], items=items)
        rows.append(_with(row, differences))
    return replace(table, rows=tuple(rows))


def _runs(cell: Cell) -> frozenset[str]:
    return frozenset(record.run_id for record in cell.shown)


def between(row: Row, base: Row, column: Column, place: int, margins: Mapping[str, float]) -> Difference | None:
    """Return how two rows differ in a column, the one at `place`; None where no seed is in both, or the texts are not the same."""
    ours, theirs = row.all_cells[place], base.all_cells[place]
    if of_other_texts(row, base, column):
        return None
    pretraining_seeds = {seed for seed, _ in ours.by_seed.keys() & theirs.by_seed.keys()}
    same_weights = len(pretraining_seeds) == 1 and _start_alike(ours, theirs)
    seen = paired_difference(ours.by_seed, theirs.by_seed, same_weights)
    if seen is None:
        return None
    same_runs = _runs(ours) == _runs(theirs)
    why = _incomparable(row, base, column, place) or untested(seen)
    return Difference(seen, stated_for(column.metric, margins), why, same_runs, same_weights)


def of_other_texts(row: Row, base: Row, column: Column) -> bool:
    """Return whether a column of the common text was scored on other texts in the two rows."""
    return column.is_common and len({*row.common_texts, *base.common_texts}) > 1


def _incomparable(row: Row, base: Row, column: Column, place: int) -> str:
    """Return why figures of two rows are not to be compared; empty where they are."""
    of_reference = (
        OTHER_TEXT,
        OTHER_ITEMS,
        OTHER_METRIC,
    )  # which both rows may have, and still compare with each other
    cells = [one.all_cells[place] for one in (row, base)]
    found = [mark for r, cell in zip((row, base), cells, strict=True) for mark in doubts(r, cell, column)]
    found = [*unlike(row, base), *(mark for mark in found if mark not in of_reference)]
    if column.held_out is None and (mark := scored_otherwise(*map(measured, cells))):
        found.append(mark)
    if found:
        return f"not tested: {', '.join(dict.fromkeys(found))}"
    if column.held_out is None or (column.is_common and column.held_out != COMMON_PERPLEXITY):
        return ""
    if column.is_common:
        return SAME_MEASUREMENT
    return OWN_FIGURE if same_inputs((row, base)) else OTHER_INPUTS


def _start_alike(ours: Cell, theirs: Cell) -> bool:
    """Return whether both cells are of runs that were finetuned from the same weights: of a folder, of a pretraining run, random."""
    if any(record.kind != "finetune" or record.config is None for record in (*ours.shown, *theirs.shown)):
        return False
    starts = [
        {(r.result.pretrain_run_id, r.config.pretrained.path) for r in cell.shown if r.result and r.config}
        for cell in (ours, theirs)
    ]
    return starts[0] == starts[1]


def _with(row: Row, differences: Mapping[int, Difference]) -> Row:
    """Return the row with these differences in its cells, by their place among all of them."""
    cells = [replace(cell, difference=differences.get(place)) for place, cell in enumerate(row.all_cells)]
    ends = itertools.accumulate(map(len, (row.common, row.cells, row.held_out)), initial=0)
    common, own, held_out = (tuple(cells[start:end]) for start, end in itertools.pairwise(ends))
    return replace(row, common=common, cells=own, held_out=held_out)
