"""Figures of results: by an amount in which rows differ, and beside the paper's (Table 4, its recipe; Table 5, GLUE)."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from roberta_lab.config import Config
from roberta_lab.config.formatting import compact, number, short, signed
from roberta_lab.reports.diff.files import slug
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.table.alike import of_one_text
from roberta_lab.reports.table.columns import Column, published
from roberta_lab.reports.table.rows import Cell, Row, Table

DIFFERENT = 1.2  # rows differ in an amount from this ratio on
NAMES = (
    "A mark is a row; the names of rows with nearly the same amount stand together above the highest of their marks. "
    "Upright lines go from the smallest to the largest run."
)
GLUE = ("mnli", "qnli", "qqp", "rte", "sst2", "mrpc", "cola", "stsb", "wnli")
# Table 4 from top to bottom is the recipe step by step, after BERT's.
TABLE, BERT, STEPS = "table4_data", "bert_large", ("books_wiki_100k", "all_100k", "all_300k", "all_500k")


# ---------------------------------------------------------------- by an amount
def batch_size(table: Table, configs: Mapping[str, Config], key: str | None) -> Figure | None:
    """Return a held-out figure by batch size; rows that saw about as much text are one line.

    It is bits per byte of the common text where each row has it; else the runs' own perplexity, with that of the published table
    `key` at paper scale.
    """
    sizes = {name: float(config.batch_size.sequences) for name, config in configs.items()}
    rows = [row for row in table.rows if row.name in sizes and row.perplexity.median is not None]
    if not _differ({row.name: sizes[row.name] for row in rows}):
        return None
    common = has_common(rows)
    medians = {row.name: (row.common[0] if common else row.perplexity).median or 0.0 for row in rows}
    groups: dict[str, dict[str, float]] = {}
    for row in sorted(rows, key=lambda row: sizes[row.name]):
        tokens = short(float(f"{row.tokens_seen:.2g}")) if row.tokens_seen else "unknown"
        groups.setdefault(tokens, {})[row.name] = medians[row.name]
    digits = 3 if common else 1
    spreads = {row.name: (row.common[0] if common else row.perplexity).spread for row in rows}
    series = [
        replace(
            _marks(f"{tokens} tokens seen", sizes, own, digits=digits),
            ends=tuple(spreads[name] or (value, value) for name, value in own.items()),
        )
        for tokens, own in groups.items()
    ]
    paper = published(key) if key and table.scale == "paper" and not common else {}
    known = {row.name: value for row in rows if (value := paper.get(row.name, {}).get("ppl")) is not None}
    if known:
        drawn = _marks("published", sizes, known, joined=False, digits=2)
        series.append(replace(drawn, published=True))
    y = "common bits per byte" if common else "held-out perplexity"
    title = f"{y[0].upper()}{y[1:]} by batch size"
    several = any(spreads.values())
    note = "Medians over seeds; upright lines go from the smallest to the largest." if several else ""
    return Figure("batch_size", title, "sequences a batch", y, tuple(series), log_x=True, note=note)


def seeds(table: Table) -> Iterator[Figure]:
    """Yield a figure for each score, and for bits per byte of the common text, with every run of each row as a point.

    Columns of one stand-in are the same runs, and one figure. Of several common texts there is none.
    """
    drawn: dict[tuple[tuple[float, ...], ...], None] = {}
    common = table.common[:1] if of_one_text(table.rows) else ()
    for column in (*common, *(column for column in table.columns if column.principal)):
        cells = [(row.name, dict(table.cells(row))[column]) for row in table.rows]
        values = tuple(cell.values for _, cell in cells)
        if sum(map(len, values)) > 1 and values not in drawn:
            drawn[values] = None
            yield _seeds(column, cells)


def _seeds(column: Column, cells: Sequence[tuple[str, Cell]]) -> Figure:
    points, notes = [], []
    for place, (_, cell) in enumerate(cells):
        for which, ((seed, finetune_seed), value) in enumerate(cell.by_seed.items()):
            beside = (which - (len(cell.values) - 1) / 2) * min(0.15, 0.5 / max(1, len(cell.values)))
            points.append((place + beside, value))
            of = f"seed {seed}" if finetune_seed is None else f"seed {seed}, finetuned with {finetune_seed}"
            notes.append(f"{of}: {compact(value)}")
    name = column.head[1] if column.is_common else column.stand_in or column.task
    level = ("constant prediction", column.majority) if column.majority is not None else None
    title, y = f"Each run: {name}", column.title if column.is_common else column.measured or column.metric
    note = f"A point is a run, a bar the median.{f' {name} stands in for {column.task}.' if column.stand_in else ''}"
    series = Series("run", tuple(points), tuple(notes), joined=False)
    names = tuple(row for row, _ in cells)
    return Figure(f"runs_{slug(column.metric)}", title, "", y, (series,), "points", names, level, note=note)


def has_common(rows: Sequence[Row]) -> bool:
    """Return whether every row has a figure of one common text."""
    return of_one_text(rows) and all(row.common_texts and row.common[0].median is not None for row in rows)


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
    found: dict[tuple[tuple[str, tuple[float, ...]], ...], tuple[list[str], dict[str, Cell]]] = {}
    for i, column in enumerate(table.columns):
        cells = {row.name: row.cells[i] for row in rows if row.cells[i].by_seed}
        if column.principal and cells:  # columns of one stand-in have the same marks
            same = tuple((name, cell.values) for name, cell in cells.items())
            found.setdefault(same, ([], cells))[0].append(column.task)
    series = []
    for tasks, cells in found.values():
        medians = {name: cell.median or 0.0 for name, cell in cells.items()}
        ends = tuple(cell.spread or (medians[name], medians[name]) for name, cell in cells.items())
        series.append(replace(_marks(", ".join(tasks), amounts, medians, joined=False), ends=ends))
    return Figure(slug, title, x_label, "median score", tuple(series), log_x=True, note=NAMES) if series else None


def _marks(
    name: str, amounts: Mapping[str, float], values: Mapping[str, float], joined: bool = True, digits: int = 1
) -> Series:
    points = tuple((amounts[row], value) for row, value in values.items())
    notes = tuple(f"{row}: {number(value, digits)}" for row, value in values.items())
    return Series(name, points, notes, joined=joined)


def _differ(amounts: Mapping[str, float]) -> bool:
    return len(amounts) > 1 and max(amounts.values()) >= DIFFERENT * min(amounts.values()) > 0


# ---------------------------------------------------------------- beside the paper's
def recipe(table: Table, key: str | None) -> Figure | None:
    """Return Table 4 as steps: from the sweep's runs when all of its rows are there, else from the published figures."""
    if key != TABLE:
        return None
    if (ours := _recipe_medians(table)) is not None:
        column, medians = ours
        measured = "Measured here, as differences of medians (intervals are in the table of differences): medians of"
        note = f"{measured} {column.title}{f' by {column.stand_in}' if column.stand_in else ''}."
        return _waterfall("ours", "What each step of the recipe adds", STEPS, medians, note)
    paper = published(TABLE)
    values = [paper[name]["mnli_m_acc"] or 0.0 for name in (BERT, *STEPS)]
    note = "PUBLISHED numbers of MNLI-m, not ours: runs of this sweep are missing."
    title = "From BERT's recipe to RoBERTa's (published)"
    return _waterfall("published", title, (BERT, *STEPS), values, note)


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
        points = tuple((float(x), v) for x, (_, c) in enumerate(columns) if (v := c.published_in(values)) is not None)
        series.append(Series(f"{name} (published)", points, published=True))
    stand_ins = dict.fromkeys(c.stand_in for _, c in columns if c.stand_in)
    note = f"Ours are of stand-in tasks ({', '.join(stand_ins)}), which are not GLUE." if stand_ins else ""
    names = tuple(c.metric for _, c in columns)
    drawn = tuple(s for s in series if s.points)
    title = "GLUE dev scores" + (" beside the published ones" if any(s.published for s in drawn) else "")
    return Figure("glue", title, "", "score", drawn, "bars", names, note=note)


def _bars(name: str, cells: Sequence[Cell | None]) -> Series:
    known = [(float(x), c, c.median) for x, c in enumerate(cells) if c is not None and c.median is not None]
    ends = tuple(cell.spread or (median, median) for _, cell, median in known)
    return Series(name, tuple((x, median) for x, _, median in known), ends=ends)
