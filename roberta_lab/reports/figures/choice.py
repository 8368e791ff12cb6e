"""Which figures a table has: each is made only when the runs have what it shows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from roberta_lab.config import Config, MaskingConfig
from roberta_lab.reports.figures import exposure
from roberta_lab.reports.figures.drawing import Figure, Series
from roberta_lab.reports.table.columns import Column, published
from roberta_lab.reports.table.notes import same_tokens, shared_unigram
from roberta_lab.reports.table.rows import Cell, Record, Row, Table
from roberta_lab.reports.table.wording import number, signed
from roberta_lab.runs.tracking import read

GLUE = ("mnli", "qnli", "qqp", "rte", "sst2", "mrpc", "cola", "stsb", "wnli")
MOST_EPOCHS = 100  # of mask exposure
DIFFERENT = 1.2  # rows differ in an amount from this ratio on
# Table 4 from top to bottom is the recipe step by step, after BERT's.
RECIPE = ("table4_data", ("bert_large", "books_wiki_100k", "all_100k", "all_300k", "all_500k"))
OTHER_TOKENS = "Rows predict other tokens: what compares between them is bits per byte."
MAIN = ("glue", "recipe", "batch_size", "perplexity")  # of these the first stands on the landing page


def figures(table: Table, folder: Path, published_key: str | None = None) -> list[Figure]:
    """All that can be drawn, in the order in which they are read. Record directories are relative to `folder`."""
    runs = {row.name: [r for r in row.perplexity.records if r.result] for row in table.rows}
    first = {name: records[0] for name, records in runs.items() if records}
    configs = {name: record.config for name, record in first.items() if record.config is not None}
    made = [
        *_curves(table, first, folder),
        _batch_size(table, configs, published_key),
        _by_amount(table, "tokens", {row.name: row.tokens_seen for row in table.rows}),
        _by_amount(table, "data", _data_sizes(table, configs)),
        _exposure(table, configs),
        _recipe(table, published_key),
        _glue(table, published_key),
    ]
    return [figure for figure in made if figure is not None]


def main_figure(made: list[Figure]) -> Figure | None:
    """The one that stands for the table."""
    by_slug = {figure.slug: figure for figure in made}
    return next((by_slug[slug] for slug in MAIN if slug in by_slug), made[0] if made else None)


# ---------------------------------------------------------------- curves of pretraining
def _curves(table: Table, first: dict[str, Record], folder: Path) -> Iterator[Figure]:
    rows_of: dict[str, list[str]] = {}
    for name, record in first.items():
        rows_of.setdefault(record.directory, []).append(name)
    metrics = {_names(names): read(folder / directory / "metrics.jsonl") for directory, names in rows_of.items()}
    several = any(len(row.perplexity.records) > 1 for row in table.rows)
    note = "Of each row the first pretraining seed." if several else ""
    held_out = _series(metrics, "val/ppl", 1)
    if held_out:
        unigram = shared_unigram(table)
        level = ("unigram model", unigram) if unigram is not None else None
        yield Figure(
            "perplexity",
            "Held-out perplexity by tokens seen",
            "tokens seen",
            "perplexity",
            held_out,
            reference=level,
            log_y=_wide(held_out, unigram),
            note=f"{note} {OTHER_TOKENS}".strip() if same_tokens(table) is False else note,
        )
    if losses := _series(metrics, "train/mlm_loss", 50):
        smooth = f"Means over 1/50 of the run. {note}".strip()
        yield Figure(
            "loss", "Training loss of MLM by tokens seen", "tokens seen", "nats per token", losses, note=smooth
        )


def _names(rows: list[str]) -> str:
    """Of a run: its row, or those that share it."""
    return (
        rows[0]
        if len(rows) == 1
        else f"{', '.join(rows)} (one run)"
        if len(rows) < 4
        else f"{len(rows)} rows (one run)"
    )


def _series(metrics: dict[str, list[dict[str, Any]]], key: str, parts: int) -> tuple[Series, ...]:
    """A line per row; with `parts` > 1, means over so many parts of it."""
    found = []
    for name, rows in metrics.items():
        there = [m for m in rows if isinstance(m.get(key), int | float) and "tokens_seen" in m]
        size = max(1, len(there) // parts) if parts > 1 else 1
        windows = [there[i : i + size] for i in range(0, len(there), size)]
        points = tuple((float(w[-1]["tokens_seen"]), sum(m[key] for m in w) / len(w)) for w in windows)
        if points:
            found.append(Series(name, points))
    return tuple(found)


def _wide(series: tuple[Series, ...], level: float | None) -> bool:
    """Whether values span more than a factor of five, so that a linear axis would hide the lower ones."""
    drawn = [y for s in series for _, y in s.points] + ([level] if level is not None else [])
    values = [y for y in drawn if math.isfinite(y) and y > 0]
    return bool(values) and max(values) > 5 * min(values)


# ---------------------------------------------------------------- rows by an amount
def _differ(amounts: dict[str, float]) -> bool:
    return len(amounts) > 1 and max(amounts.values()) >= DIFFERENT * min(amounts.values()) > 0


def _batch_size(table: Table, configs: dict[str, Config], key: str | None) -> Figure | None:
    sizes = {name: float(config.batch_size.sequences) for name, config in configs.items()}
    rows = [row for row in table.rows if row.name in sizes and row.perplexity.median is not None]
    if not _differ({row.name: sizes[row.name] for row in rows}):
        return None
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: sizes[row.name]):
        groups.setdefault(_about(row.tokens_seen), []).append(row)
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
    labels = {"x_label": "sequences a batch", "y_label": "held-out perplexity"}
    return Figure("batch_size", "Held-out perplexity by batch size", series=tuple(series), log_x=True, **labels)


def _about(tokens: int | None) -> str:
    """Two significant digits: `2.0M`; rows that saw about as much text are one line."""
    if not tokens:
        return "unknown"
    power = min(4, int(math.log10(tokens)) // 3)
    return f"{float(f'{tokens:.2g}') / 1000**power:.3g}{['', 'K', 'M', 'G', 'T'][power]}"


def _data_sizes(table: Table, configs: dict[str, Config]) -> dict[str, float | None]:
    """Tokens of one pass of each row; none where all have the same data, of which formats make inputs of other lengths."""
    if len({repr(config.data_mix) for config in configs.values()}) < 2:
        return {}
    return {r.name: r.tokens_seen / r.passes for r in table.rows if r.tokens_seen and r.passes}


def _by_amount(table: Table, what: str, amounts: dict[str, float | None]) -> Figure | None:
    """Downstream scores by an amount in which rows differ; a series per task."""
    known = {name: float(amount) for name, amount in amounts.items() if amount}
    rows = sorted((row for row in table.rows if row.name in known), key=lambda row: known[row.name])
    if not _differ({row.name: known[row.name] for row in rows}):
        return None
    titles: dict[tuple[tuple[str, float], ...], list[str]] = {}  # columns of one stand-in have the same marks
    for i, column in enumerate(table.columns):
        medians = tuple((row.name, median) for row in rows if (median := row.cells[i].median) is not None)
        if column.principal and medians:
            titles.setdefault(medians, []).append(column.task)
    series = []
    for medians, tasks in titles.items():
        points = tuple((known[name], median) for name, median in medians)
        notes = tuple(f"{name}: {number(median)}" for name, median in medians)
        series.append(Series(", ".join(tasks), points, notes, joined=False))
    if not series:
        return None
    x = {"tokens": "tokens seen in pretraining", "data": "tokens of one pass over the data"}[what]
    return Figure(
        f"score_by_{what}",
        {"tokens": "Downstream score by pretraining tokens", "data": "Downstream score by size of the data"}[what],
        x,
        "median score",
        tuple(series),
        log_x=True,
        note="A mark is a row; the names of rows with nearly the same amount stand together above the highest of their marks.",
    )


# ---------------------------------------------------------------- masks
def _exposure(table: Table, configs: dict[str, Config]) -> Figure | None:
    """Where rows differ in how they mask."""
    maskings = {name: replace(config.masking, whole_words=False) for name, config in configs.items()}
    kinds: dict[tuple, str] = {}
    for name, config in maskings.items():
        kinds.setdefault(_kind(config), name)
    if len(kinds) < 2:
        return None
    passes = [row.passes for row in table.rows if row.passes]
    epochs = min(MOST_EPOCHS, max(2, math.ceil(max(passes, default=40))))
    return exposure.figure({name: maskings[name] for name in kinds.values()}, epochs)


def _kind(config: MaskingConfig) -> tuple:
    return config.name, config.mask_prob, config.selection, config.num_patterns if config.name == "static" else 0


# ---------------------------------------------------------------- beside the paper
def _recipe(table: Table, key: str | None) -> Figure | None:
    """Table 4 as steps: from the sweep's runs when all of its rows are there, else from the published figures."""
    if key != RECIPE[0]:
        return None
    paper, by_name = published(key), {row.name: row for row in table.rows}
    column = next((c for c in table.columns if c.metric == "mnli_m_acc"), None)
    index = table.columns.index(column) if column else 0
    ours = [by_name[name].cells[index].median if name in by_name else None for name in RECIPE[1][1:]]
    if column and all(value is not None for value in ours):
        names, values, is_paper = RECIPE[1][1:], [float(v) for v in ours if v is not None], False
        note = f"Measured here, as differences of medians (intervals are in the table of differences): medians of {column.title}{f' by {column.stand_in}' if column.stand_in else ''}."
    else:
        names, values, is_paper = RECIPE[1], [float(paper[n]["mnli_m_acc"] or 0.0) for n in RECIPE[1]], True
        note = "PUBLISHED numbers of MNLI-m, not ours: runs of this sweep are missing."
    steps = [0.0, *(after - before for before, after in itertools.pairwise(values))]
    words = [number(values[0]), *(signed(step) for step in steps[1:])]
    notes = tuple(f"{word}: {number(v)} in all" for word, v in zip(words, values, strict=True))
    points = tuple((float(i), value - values[0]) for i, value in enumerate(values))
    title = "From BERT's recipe to RoBERTa's" if is_paper else "What each step of the recipe adds"
    series = (Series("published" if is_paper else "ours", points, notes, published=is_paper),)
    y = f"points above {names[0]}"
    return Figure(
        "recipe", title + (" (published)" if is_paper else ""), "", y, series, "steps", tuple(names), note=note
    )


def _glue(table: Table, key: str | None) -> Figure | None:
    """Bars of our rows and of the published ones, where a GLUE task has a score of ours."""
    columns = [(i, c) for i, c in enumerate(table.columns) if c.task in GLUE]
    if len(columns) < 4 or not any(row.cells[i].median is not None for row in table.rows for i, _ in columns):
        return None
    if table.best:
        best = {b.column.metric: b.cell for b in table.best}
        series = [_bars("best setting", [(c, best.get(c.metric)) for _, c in columns])]
    else:
        series = [_bars(row.name, [(c, row.cells[i]) for i, c in columns]) for row in table.rows]
    for name, values in (published(key) if key else {}).items():
        points = tuple((float(x), v) for x, (_, c) in enumerate(columns) if (v := values.get(c.metric)) is not None)
        series.append(Series(f"{name} (published)", points, published=True))
    stand_ins = dict.fromkeys(c.stand_in for _, c in columns if c.stand_in)
    note = f"Ours are of stand-in tasks ({', '.join(stand_ins)}), which are not GLUE." if stand_ins else ""
    names = tuple(c.metric for _, c in columns)
    drawn = tuple(s for s in series if s.points)
    title = "GLUE dev scores" + (" beside the published ones" if any(s.published for s in drawn) else "")
    return Figure("glue", title, "", "score", drawn, "bars", names, note=note)


def _bars(name: str, cells: list[tuple[Column, Cell | None]]) -> Series:
    there = [(float(x), cell) for x, (_, cell) in enumerate(cells) if cell is not None and cell.median is not None]
    ends = tuple(cell.spread or (cell.median or 0.0,) * 2 for _, cell in there)
    return Series(name, tuple((x, cell.median or 0.0) for x, cell in there), ends=ends)
