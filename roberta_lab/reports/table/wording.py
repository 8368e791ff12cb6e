"""The words and digits that a table has in common as Markdown, as LaTeX and as a page."""

from collections.abc import Callable
from pathlib import Path

from roberta_lab.config.formatting import number, signed
from roberta_lab.reports.table.alike import cut_text
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.differences import Difference
from roberta_lab.reports.table.rows import Cell, Row, Table

STAND_IN, LIKE = "\N{DAGGER}", "\N{ALMOST EQUAL TO}"
TESTS = (
    "Differences are means over pairs of the same seed, with a 95% bootstrap interval and the two-sided p of an exact sign-flip "
    "test; below p = 0.05 rows count as told apart. With n pairs p is at least 2/2^n, so fewer than 6 seeds never tell rows "
    "apart, and intervals of so few are too narrow. Finetuning seeds of one pretraining run say nothing of what another "
    "pretraining seed would give; with several pretraining seeds, those are the pairs. Many comparisons are made: one in "
    "twenty falls below 0.05 by chance."
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


def legend(table: Table) -> str:
    """Return how a cell is read."""
    alike = any(LIKE in signs(cell, column) for row in table.rows for column, cell in table.cells(row))
    like = f" {LIKE}: its seeds do not tell it from {table.reference}; fewer than 6 never can." if alike else ""
    stand_in = f" {STAND_IN}: of a stand-in task, not the paper's." if any(c.stand_in for c in table.columns) else ""
    published = "; [published value]" if table.source else ""
    return f"Median, smallest to largest, number of runs{published}.{like}{stand_in}"


def signs(cell: Cell, column: Column) -> str:
    """Return the signs that stand right behind a median."""
    like = cell.difference is not None and cell.difference.was_tested and not cell.difference.apart
    return (STAND_IN if column.stand_in and cell.values else "") + (f" {LIKE}" if like else "")


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
    ends = f" ({signed(difference.low, digits)} to {signed(difference.high, digits)})" if difference.n > 1 else ""
    return signed(difference.mean, digits) + ends


def tested(difference: Difference) -> str:
    """Return the test of a difference: `n=3, p=0.250, not told apart: 3 seeds never can`."""
    if difference.same_runs:
        return difference.verdict
    p = f"p={difference.p:.3f}, " if difference.n > 1 else ""
    return f"n={difference.n}, {p}{difference.verdict}"


def facts(row: Row) -> str:
    """Return how long a row was pretrained, how its steps were cut, with what, and on which text."""
    if row.tokens_seen is None:
        return "not pretrained yet" if row.perplexity.records else "starts from no run of its own"
    seen = f"{row.tokens_seen:,} tokens seen, {number(row.passes)} passes, {number(row.steps, 0)} steps"
    cuts = dict.fromkeys(cut_text(cuts) for cuts in row.cuts if cuts)
    cut = f", cut into {' / '.join(cuts)}" if cuts else ""
    if (config := row.config) is None:
        return seen + cut
    batch, model = config.batch_size, config.model
    made = f" of {batch.sequences:,} inputs{cut}, peak rate {batch.peak_lr:g}, {model.layers} layers of {model.hidden}"
    tokenizer = config.tokenizer  # a published one has a size of its own
    pieces = f"tokens of {Path(tokenizer.path).name}" if tokenizer.path else f"{tokenizer.vocab_size:,} pieces"
    most = f"{config.data_mix.train_tokens:,} tokens of " if config.data_mix.train_tokens else ""
    return f"{seen}{made}, {pieces}, text: {most}{' + '.join(config.data_mix.sources)}"


def compared_rows(table: Table) -> list[tuple[Row, list[tuple[Column, Difference]]]]:
    """Return the rows that are compared with the reference row, with their differences by column."""
    found = [
        (r, [(c, cell.difference) for c, cell in table.cells(r) if cell.difference is not None]) for r in table.rows
    ]
    return [(row, differences) for row, differences in found if differences]


def difference_rows(table: Table) -> list[list[str]]:
    """Return the table of differences as texts, with its head; empty if there is nothing to compare."""
    rows = [
        [row.name, column.title, interval(difference, column.digits), tested(difference)]
        for row, differences in compared_rows(table)
        for column, difference in differences
    ]
    return [["row", "column", "difference", "seeds"], *rows] if rows else []


def best_rows(table: Table, escaped: Callable[[str], str], cell: Callable[[Cell, Column], str]) -> list[list[str]]:
    """Return the table of best settings as escaped texts, with its head; empty if rows are no settings of finetuning."""
    rows = [[escaped(b.column.title), escaped(b.row), cell(b.cell, b.column), str(b.num_settings)] for b in table.best]
    return [["task", "best setting", "score", "of settings"], *rows] if rows else []


def published_rows(table: Table) -> list[list[str]]:
    """Return the rows that only the paper has, as texts."""
    return [
        [f"{name} (published only)", *(bracketed(value, c) for value, c in zip(values, table.all_columns, strict=True))]
        for name, values in table.published_only.items()
    ]


def bracketed(value: float | None, column: Column) -> str:
    """Return a published value in brackets; nothing for None."""
    return "" if value is None else f"[{paper(value, column)}]"
