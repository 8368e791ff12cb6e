"""The words and digits that a table has in common as Markdown, as LaTeX and as a page."""

import math
from collections.abc import Callable

from roberta_lab.config.formatting import counted, number, signed
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.differences import Difference, Outcome
from roberta_lab.reports.table.rows import Cell, Row, Table
from roberta_lab.reports.table.verdict import WORDS, Verdict
from roberta_lab.reports.table.verdict import Outcome as Outcomes

STAND_IN, LIKE, UNLIKE = "\N{DAGGER}", "\N{ALMOST EQUAL TO}", "\N{NOT EQUAL TO}"
SIGNS = {Outcome.APART: UNLIKE, Outcome.ALIKE: LIKE}
TESTS = (
    "Differences are means over pairs of the same pretraining seed; its finetuning seeds are averaged, for they share their "
    "weights. Intervals are paired t intervals (95%). Rows count as told apart where the p of the paired t test is at most 0.05 "
    "after Holm's correction for all differences of this table that are tested. Where they are not, the table gives the smallest "
    "difference that these seeds would see with probability 0.8. Rows count as alike only where two one-sided tests, at 0.025 each "
    "and corrected likewise as a family of their own, rule out a difference as large as the sweep's margin. An interval is of the seeds: it holds "
    "for the dev items and the text that were scored. It supposes differences that are about normal, or that two rows are "
    "skewed alike. The interval over seeds and items (Multi-Bootstrap) is of other dev items too; with fewer than about ten seeds "
    "it is too narrow."
)
CLAIMS = (
    "A claim names the smallest difference that matters, its margin. `better` holds where the interval of the difference is above "
    "0, and is contradicted where it is below the margin; `no worse` holds where it is above minus the margin, and is contradicted "
    "where it is below 0; `the same` holds where it is within the margin on both sides, and is contradicted where it is outside. "
    "Where both could be said of a claim, it holds, and by how little is said too. p values are corrected for all claims of the "
    "table that can be tested (Holm 1979). What is said holds for this scale's model and text."
)
SEEDS_OF_FINETUNING = (
    "Rows that start from the same weights are compared over seeds of finetuning, where there is one seed of pretraining: what is "
    "seen holds for these weights."
)
SEARCHED = (
    "Best of N: of N settings of finetuning the one with the best median over the seeds on dev, as in the paper, so its score is "
    "optimistic: the more settings, the more."
)
ONE_SETTING = (
    "Scores here are of one setting of finetuning for each task. Published ones are of the best of a grid by dev, medians over "
    "5 seeds, so they are the more optimistic ones; sweep.finetune_grid=true searches the grid."
)
GRID = "The best setting is chosen on dev, as in the paper, so its score is optimistic: the more settings, the more."


def warning(table: Table) -> str | None:
    """Return what a reader must know first, below paper scale: that the numbers are no evidence about the paper."""
    if table.scale == "paper":
        return None
    pairs = dict.fromkeys((c.stand_in, c.task) for c in table.columns if c.stand_in)
    stand_ins = ", ".join(f"{stand_in} for {task}" for stand_in, task in pairs)
    configs = [row.config for row in table.rows if row.config is not None]
    pydoc = any(source.kind == "pydoc" for config in configs for source in config.data_mix.sources.values())
    text = "little text" + (" (parts of the embedded corpus pydoc, in place of every corpus)" if pydoc else "")
    tasks = f" and stand-in tasks ({stand_ins})" if stand_ins else ""
    return (
        f"Made at {table.scale} scale: a small model, {text}{tasks}. What is seen here holds for that model and text, and says "
        "nothing about the paper's claim."
    )


def answers(table: Table) -> list[tuple[str, str]]:
    """Return what the table's claims answer, each outcome with its claims: what holds or does not first, then what cannot be told."""
    found = [(str(v.outcome), _answer(v)) for o in Outcomes for v in table.verdicts if v.outcome is o]
    untold: dict[str, list[str]] = {}
    for v in table.verdicts:
        if v.outcome is Outcomes.NOT_TESTABLE:
            claim = v.claim
            untold.setdefault(f"{claim.row} {WORDS[claim.direction]} {claim.over}", []).append(
                v.column.replace("_", " ")
            )
    kept = [(outcome, text) for outcome, text in found if outcome != Outcomes.NOT_TESTABLE]
    return [
        *kept,
        *((str(Outcomes.NOT_TESTABLE), f"{words} on {', '.join(columns)}") for words, columns in untold.items()),
    ]


def _answer(verdict: Verdict) -> str:
    """Return a claim with what was seen, and the task on which."""
    on = f" (scored on {verdict.stand_in}, which stands in)" if verdict.stand_in else ""
    seen = f": {verdict.estimate}" if verdict.seen is not None else ""
    return f"{verdict.words}{on}{seen}"


def legend(table: Table) -> str:
    """Return how a cell is read."""
    shown = {sign for row in table.rows for column, cell in table.cells(row) for sign in signs(cell, column)}
    unlike = f" {UNLIKE}: told apart from {table.reference} by its seeds." if UNLIKE in shown else ""
    like = f" {LIKE}: no difference from {table.reference} that matters." if LIKE in shown else ""
    stand_in = f" {STAND_IN}: of a stand-in task, not the paper's." if any(c.stand_in for c in table.columns) else ""
    beside = any(cell.published is not None for row in table.rows for cell in row.all_cells)
    published = "; [published value]" if beside else ""
    return f"Median, smallest to largest, number of runs{published}.{unlike}{like}{stand_in}"


def signs(cell: Cell, column: Column) -> str:
    """Return the signs that stand right behind a median."""
    sign = SIGNS.get(cell.difference.outcome, "") if cell.difference is not None else ""
    return (STAND_IN if column.stand_in and cell.values else "") + (f" {sign}" if sign else "")


def spread(cell: Cell, digits: int = 1) -> str:
    """Return the range and the number of runs: `37.1 to 39.4, n=3`."""
    ends = f"{number(cell.spread[0], digits)} to {number(cell.spread[1], digits)}, " if cell.spread else ""
    best = f", best of {cell.num_settings}" if cell.num_settings > 1 and cell.values else ""
    return f"{ends}n={len(cell.values)}{best}"


def paper(value: float, column: Column) -> str:
    """Return a published value with the paper's own digits: perplexities have two."""
    return number(value, 2 if column.lower_is_better else 1)


def marks(cell: Cell) -> list[str]:
    """Return the marks to show; a stand-in has a sign instead, and its name in the column's head."""
    return [mark for mark in cell.marks if not mark.startswith("stand-in")]


def interval(difference: Difference, digits: int = 1) -> str:
    """Return a difference with its interval: `+1.5 (0.2 to 2.6)`."""
    ends = ends_of(difference, digits)
    return signed(difference.seen.mean, digits) + (f" ({ends})" if ends else "")


def ends_of(difference: Difference, digits: int = 1) -> str:
    """Return the interval of a difference, `0.2 to 2.6`; empty for one seed."""
    seen = difference.seen
    return "" if math.isnan(seen.half_width) else f"{signed(seen.low, digits)} to {signed(seen.high, digits)}"


def over_items(difference: Difference, digits: int = 1) -> str:
    """Return the interval over seeds and items, `0.1 to 2.9`; empty where there is none."""
    items = difference.items
    return "" if items is None else f"{signed(items.low, digits)} to {signed(items.high, digits)}"


def tested(difference: Difference, digits: int = 1) -> str:
    """Return the test of a difference: `n=3, p=0.250, with Holm 0.500: 3 seeds: a difference below 1.9 would not be seen`."""
    if difference.outcome in (Outcome.SAME_RUNS, Outcome.UNTESTED):
        return said(difference, digits)
    p = f"{p_is(difference.seen.p)}, with Holm {p_text(difference.p_holm)}"
    return f"n={difference.seen.n}, {p}: {said(difference, digits)}"


def said(difference: Difference, digits: int = 1) -> str:
    """Return the outcome of a difference in words."""
    if difference.outcome is Outcome.UNTESTED:
        return difference.why_untested
    if difference.outcome is Outcome.ALIKE:
        return f"alike: no difference of {difference.margin:g} or more"
    items = difference.items
    if difference.outcome is Outcome.APART and items is not None and items.low <= 0 <= items.high:
        return f"{difference.outcome.value} on these dev items; the interval over seeds and items has 0 in it"
    if difference.outcome is Outcome.UNSEEN:
        smallest = number(difference.smallest_seen, digits)
        return f"{counted(difference.seen.n, 'seed')}: a difference below {smallest} would not be seen"
    return difference.outcome.value


def p_text(p: float) -> str:
    """Return a p value with three digits: `0.012`, `<0.001`."""
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def p_is(p: float) -> str:
    """Return `p=0.012` or `p<0.001`."""
    return f"p={p_text(p)}".replace("=<", "<")


def compared_rows(table: Table) -> list[tuple[Row, list[tuple[Column, Difference]]]]:
    """Return the rows that are compared with the reference row, with their differences by column."""
    found = [
        (r, [(c, cell.difference) for c, cell in table.cells(r) if cell.difference is not None]) for r in table.rows
    ]
    return [(row, differences) for row, differences in found if differences]


def difference_rows(table: Table) -> list[list[str]]:
    """Return the table of differences as texts, with its head; empty if there is nothing to compare."""
    rows = [
        [row.name, column.title, *(words(difference, column.digits) for words in (interval, over_items, tested))]
        for row, differences in compared_rows(table)
        for column, difference in differences
    ]
    return [["row", "column", "difference (95%)", "over seeds and items", "seeds"], *rows] if rows else []


def best_rows(table: Table, escaped: Callable[[str], str], cell: Callable[[Cell, Column], str]) -> list[list[str]]:
    """Return the table of best settings as escaped texts, with its head; empty if rows are no settings of finetuning."""
    rows = [[escaped(b.column.title), escaped(b.row), cell(b.cell, b.column), str(b.num_settings)] for b in table.best]
    return [["task", "best setting", "score", "of settings"], *rows] if rows else []


def published_rows(table: Table) -> list[list[str]]:
    """Return the rows that only the paper has, as texts: those with a value of a column that is the paper's own."""
    return [
        [f"{name} (published only)", *(bracketed(value, c) for value, c in zip(values, table.all_columns, strict=True))]
        for name, values in table.published_below.items()
    ]


APART = (
    "The paper's values of tasks and held-out text that others stand in for here. They are of other items and other text, so they "
    "stand apart: a figure above is no attempt at them."
)


def apart_rows(table: Table) -> list[list[str]]:
    """Return the published values of columns whose scores are a stand-in's, with their head; empty where there are none."""
    if not table.published_apart:
        return []
    columns = table.stood_in_for
    head = ["row of the paper", *(column.metric for column in columns)]
    rows = [
        [name, *("" if value is None else paper(value, column) for value, column in zip(values, columns, strict=True))]
        for name, values in table.published_apart.items()
    ]
    return [head, *rows]


def bracketed(value: float | None, column: Column) -> str:
    """Return a published value in brackets; nothing for None."""
    return "" if value is None else f"[{paper(value, column)}]"
