"""Mark the cells of a table: what is missing, broken, at chance or diverged, and which marks keep figures from being compared."""

from collections.abc import Iterator, Sequence

from roberta_lab.reports.table.alike import OTHER_ITEMS, OTHER_METRIC, OTHER_TEXT
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.rows import Cell, Record, Row

AT_CHANCE = "at chance"
UNIGRAM = "no better than the unigram model"
DOUBTS = (
    AT_CHANCE,
    "diverged",
    "runs nan",
    UNIGRAM,
    OTHER_TEXT,
    OTHER_ITEMS,
    OTHER_METRIC,
)  # marks of cells whose figures compare with none


def doubts(row: Row, cell: Cell, column: Column) -> Iterator[str]:
    """Yield the marks of a row's cell in a column that keep the figure from being compared, each once."""
    marks = [*cell.marks, *(row.perplexity.marks if column.is_common else ())]
    yield from (mark for mark in dict.fromkeys(marks) if any(doubt in mark for doubt in DOUBTS))


def unusable(
    records: Sequence[Record], column: Column, values: Sequence[float | None], num_finite: int
) -> Iterator[str]:
    """Yield marks of runs without a result that can be read, and of values that cannot be shown."""
    damaged = sum(record.damage is not None for record in records)
    missing = sum(record.result is None for record in records) - damaged
    for count, what in ((missing, "missing"), (damaged, "damaged")):
        if count:
            yield f"{count} of {len(records)} runs {what}"
    unmeasured = sum(value is None for value in values) if column.optional or not column.principal else 0
    broken = (
        len(values) - num_finite - unmeasured
    )  # a NaN sorts nowhere, so a median over it would depend on the order of the runs
    if unmeasured and unmeasured == len(values):  # by no run, so no run is broken
        yield f"not measured{f' by {column.stand_in}' if column.stand_in else ''}"
    elif unmeasured:
        yield f"{unmeasured} of {len(values)} runs not measured"
    if broken:
        yield f"{broken} of {len(values)} runs nan"


def doubtful(records: Sequence[Record], num_settings: int) -> Iterator[str]:
    """Yield marks of runs of tasks whose model has learned nothing; a finetuned one is the best of so many settings.

    Whether it has is told by the task's score, and holds for the figures beside it too.
    """
    found = [record.result.scored for record in records if record.result and record.task]
    if chance := sum(result.is_at_chance(num_settings) for result in found):
        yield AT_CHANCE if 2 * chance >= len(found) else f"{chance} of {len(found)} {AT_CHANCE}"
    if diverged := sum("diverged" in result.marks for result in found):
        yield f"{diverged} diverged"
