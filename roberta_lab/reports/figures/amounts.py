"""Figures of rows by an amount in which they differ: batch size, tokens seen, size of the data."""

from __future__ import annotations

from collections.abc import Mapping

from roberta_lab.config import Config
from roberta_lab.config.formatting import number, short
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.table.columns import published
from roberta_lab.reports.table.rows import Row, Table

DIFFERENT = 1.2  # rows differ in an amount from this ratio on
NAMES = (
    "A mark is a row; the names of rows with nearly the same amount stand together above the highest of their marks."
)


def batch_size(table: Table, configs: Mapping[str, Config], key: str | None) -> Figure | None:
    """Return held-out perplexity by batch size; rows that saw about as much text are one line.

    Args:
        key: of the published table, whose perplexities are shown at paper scale.
    """
    sizes = {name: float(config.batch_size.sequences) for name, config in configs.items()}
    rows = [row for row in table.rows if row.name in sizes and row.perplexity.median is not None]
    if not _differ({row.name: sizes[row.name] for row in rows}):
        return None
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: sizes[row.name]):
        tokens = short(float(f"{row.tokens_seen:.2g}")) if row.tokens_seen else "unknown"
        groups.setdefault(tokens, []).append(row)
    series = [
        Series(
            f"{tokens} tokens seen",
            tuple((sizes[row.name], row.perplexity.median or 0.0) for row in members),
            tuple(f"{row.name}: {number(row.perplexity.median)}" for row in members),
        )
        for tokens, members in groups.items()
    ]
    paper = published(key) if key and table.scale == "paper" else {}
    known = [(row.name, value) for row in rows if (value := paper.get(row.name, {}).get("ppl")) is not None]
    if known:
        points = tuple((sizes[name], value) for name, value in known)
        series.append(Series("published", points, tuple(f"{n}: {v:.2f}" for n, v in known), True, joined=False))
    title, x = "Held-out perplexity by batch size", "sequences a batch"
    return Figure("batch_size", title, x, "held-out perplexity", tuple(series), log_x=True)


def score_by_tokens(table: Table) -> Figure | None:
    """Return downstream scores by pretraining tokens."""
    seen = {row.name: float(row.tokens_seen) for row in table.rows if row.tokens_seen}
    title = "Downstream score by pretraining tokens"
    return _scores(table, "score_by_tokens", title, "tokens seen in pretraining", seen)


def score_by_data(table: Table, configs: Mapping[str, Config]) -> Figure | None:
    """Return downstream scores by tokens of one pass over the data; None where all rows have the same data, of which formats
    make inputs of other lengths."""
    if len({repr(config.data_mix) for config in configs.values()}) < 2:
        return None
    sizes = {row.name: row.tokens_seen / row.passes for row in table.rows if row.tokens_seen and row.passes}
    title = "Downstream score by size of the data"
    return _scores(table, "score_by_data", title, "tokens of one pass over the data", sizes)


def _scores(table: Table, slug: str, title: str, x_label: str, amounts: Mapping[str, float]) -> Figure | None:
    rows = sorted((row for row in table.rows if row.name in amounts), key=lambda row: amounts[row.name])
    if not _differ({row.name: amounts[row.name] for row in rows}):
        return None
    tasks_of: dict[tuple[tuple[str, float], ...], list[str]] = {}  # columns of one stand-in have the same marks
    for i, column in enumerate(table.columns):
        medians = tuple((row.name, median) for row in rows if (median := row.cells[i].median) is not None)
        if column.principal and medians:
            tasks_of.setdefault(medians, []).append(column.task)
    series = []
    for medians, tasks in tasks_of.items():
        points = tuple((amounts[name], median) for name, median in medians)
        notes = tuple(f"{name}: {number(median)}" for name, median in medians)
        series.append(Series(", ".join(tasks), points, notes, joined=False))
    if not series:
        return None
    return Figure(slug, title, x_label, "median score", tuple(series), log_x=True, note=NAMES)


def _differ(amounts: Mapping[str, float]) -> bool:
    return len(amounts) > 1 and max(amounts.values()) >= DIFFERENT * min(amounts.values()) > 0
