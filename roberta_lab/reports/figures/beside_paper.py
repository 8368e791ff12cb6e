"""Figures of our scores beside the paper's: the recipe step by step (Table 4), and GLUE (Table 5)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from roberta_lab.config.formatting import number, signed
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.table.columns import Column, published
from roberta_lab.reports.table.rows import Cell, Table

GLUE = ("mnli", "qnli", "qqp", "rte", "sst2", "mrpc", "cola", "stsb", "wnli")
# Table 4 from top to bottom is the recipe step by step, after BERT's.
TABLE, BERT, STEPS = "table4_data", "bert_large", ("books_wiki_100k", "all_100k", "all_300k", "all_500k")


def recipe(table: Table, key: str | None) -> Figure | None:
    """Return Table 4 as steps: from the sweep's runs when all of its rows are there, else from the published figures."""
    if key != TABLE:
        return None
    ours = _recipe_medians(table)
    if ours is not None:
        column, medians = ours
        by = f" by {column.stand_in}" if column.stand_in else ""
        note = (
            "Measured here, as differences of medians (intervals are in the table of differences): medians of "
            f"{column.title}{by}."
        )
        return _waterfall("ours", "What each step of the recipe adds", STEPS, medians, note)
    names, paper = (BERT, *STEPS), published(TABLE)
    values = [paper[name]["mnli_m_acc"] or 0.0 for name in names]
    note = "PUBLISHED numbers of MNLI-m, not ours: runs of this sweep are missing."
    title = "From BERT's recipe to RoBERTa's (published)"
    return _waterfall("published", title, names, values, note)


def _recipe_medians(table: Table) -> tuple[Column, list[float]] | None:
    """Return the medians of MNLI-m of all steps with their column; None when one is missing."""
    rows = {row.name: row for row in table.rows}
    for index, column in enumerate(table.columns):
        if column.metric == "mnli_m_acc":
            found = [rows[name].cells[index].median for name in STEPS if name in rows]
            medians = [median for median in found if median is not None]
            return (column, medians) if len(medians) == len(STEPS) else None
    return None


def _waterfall(whose: str, title: str, names: tuple[str, ...], values: Sequence[float], note: str) -> Figure:
    steps = [after - before for before, after in itertools.pairwise(values)]
    words = [number(values[0]), *map(signed, steps)]
    notes = tuple(f"{word}: {number(value)} in all" for word, value in zip(words, values, strict=True))
    points = tuple((float(i), value - values[0]) for i, value in enumerate(values))
    drawn = Series(whose, points, notes, published=whose == "published")
    return Figure("recipe", title, "", f"points above {names[0]}", (drawn,), "steps", names, note=note)


def glue(table: Table, key: str | None) -> Figure | None:
    """Return bars of our rows and of the published ones, where a GLUE task has a score of ours."""
    columns = [(i, c) for i, c in enumerate(table.columns) if c.task in GLUE]
    if len(columns) < 4 or not any(row.cells[i].median is not None for row in table.rows for i, _ in columns):
        return None
    if table.best:
        best = {b.column.metric: b.cell for b in table.best}
        series = [_bars("best setting", [best.get(c.metric) for _, c in columns])]
    else:
        series = [_bars(row.name, [row.cells[i] for i, _ in columns]) for row in table.rows]
    for name, values in (published(key) if key else {}).items():
        points = tuple((float(x), v) for x, (_, c) in enumerate(columns) if (v := values.get(c.metric)) is not None)
        series.append(Series(f"{name} (published)", points, published=True))
    stand_ins = dict.fromkeys(c.stand_in for _, c in columns if c.stand_in)
    note = f"Ours are of stand-in tasks ({', '.join(stand_ins)}), which are not GLUE." if stand_ins else ""
    names = tuple(c.metric for _, c in columns)
    drawn = tuple(s for s in series if s.points)
    title = "GLUE dev scores" + (" beside the published ones" if any(s.published for s in drawn) else "")
    return Figure("glue", title, "", "score", drawn, "bars", names, note=note)


def _bars(name: str, cells: Sequence[Cell | None]) -> Series:
    known = [
        (float(x), cell, cell.median) for x, cell in enumerate(cells) if cell is not None and cell.median is not None
    ]
    ends = tuple(cell.spread or (median, median) for _, cell, median in known)
    return Series(name, tuple((x, median) for x, _, median in known), ends=ends)
