"""A table as Markdown, CSV, and one HTML page that needs nothing else."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from urllib.parse import quote

import jinja2

from roberta_lab.reports.rows import Cell, Row, Table

DASH = "\N{EN DASH}"
SOURCE = "Liu et al. 2019, RoBERTa, arXiv:1907.11692v1"


def warning(table: Table) -> str | None:
    """What a reader must know first: which numbers are no evidence."""
    if table.scale == "paper":
        return None
    stand_ins = ", ".join(f"{c.stand_in} for {c.task}" for c in table.columns if c.stand_in)
    tasks = f" and stand-in tasks ({stand_ins})" if stand_ins else ""
    return (
        f"Made at {table.scale} scale: a small model, little text{tasks}. This shows that the machinery works and says "
        "nothing about the paper's claim."
    )


def number(value: float | None, digits: int = 1) -> str:
    """A figure for people; a dash where there is none."""
    return DASH if value is None else (f"{value:,.{digits}f}" if math.isfinite(value) else str(value))


def spread(cell: Cell) -> str:
    """`37.1 to 39.4, n=3`."""
    ends = f"{number(cell.spread[0])} to {number(cell.spread[1])}, " if cell.spread else ""
    return f"{ends}n={len(cell.values)}"


def facts(row: Row) -> str:
    """What a row's pretraining was."""
    if row.tokens_seen is None:
        return "not pretrained yet"
    return f"{row.tokens_seen:,} tokens seen, {number(row.passes)} passes, {number(row.steps, 0)} steps"


# ---------------------------------------------------------------- Markdown
def markdown(table: Table, meta: dict[str, str]) -> str:
    """The table with its warning, footnotes and links to runs, for a terminal or a repository."""
    heads = ["row", *(_head(c.task, c.stand_in, c.metric) for c in table.columns), "held-out ppl", "unigram ppl"]
    lines = [f"# {_line(table.title)}", "", _line(table.question), ""]
    if said := warning(table):
        lines += [f"> **{_line(said)}**", ""]
    lines += [_cells(heads), _cells(["---"] + ["---:"] * (len(heads) - 1))]
    for row in table.rows:
        shown = [_cell(cell) for cell in row.cells]
        lines.append(_cells([_line(row.name), *shown, _cell(row.perplexity), number(row.unigram_ppl)]))
    for name, values in table.published_only.items():
        lines.append(_cells([f"{_line(name)} (published only)", *(f"[{number(v)}]" for v in values), "", ""]))
    lines += ["", "Median, smallest to largest, number of runs; [published value].", ""]
    for column in table.columns:
        if column.majority is not None:
            baseline = f"{column.num_dev:,} dev items, baseline {number(column.majority)}"
            caution = f". {_line(column.caution)}" if column.caution else ""
            lines.append(f"- {_line(column.stand_in or column.task)}: {baseline}{caution}")
    lines += [f"- {_line(row.name)}: {facts(row)}; runs {_links(row)}" for row in table.rows]
    lines += [f"- {_line(key)}: {_line(value)}" for key, value in meta.items()]
    lines.append(f"- published values: {SOURCE}")
    return "\n".join(lines) + "\n"


def _head(task: str, stand_in: str | None, metric: str) -> str:
    return _line(f"{task} ({metric})" + (f", by {stand_in}" if stand_in else ""))


def _cell(cell: Cell) -> str:
    paper = f" [{number(cell.published)}]" if cell.published is not None else ""
    marks = [mark for mark in cell.marks if not mark.startswith("stand-in")]
    return f"{number(cell.median)} ({spread(cell)}){paper}" + (f" ⚠ {', '.join(marks)}" if marks else "")


def _links(row: Row) -> str:
    records = [record for cell in (row.perplexity, *row.cells) for record in cell.records if record.result]
    return ", ".join(f"[{_line(record.run_id)}]({quote(record.directory)})" for record in records) or "none"


def _cells(texts: list[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _line(text: str) -> str:
    """Literal inside a line of Markdown: no table cell, tag, entity, link, image or emphasis can begin in it."""
    flat = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", flat)


# ---------------------------------------------------------------- CSV
CSV_FIELDS = (
    *(
        "row",
        "column",
        "metric",
        "stand_in",
        "median",
        "low",
        "high",
        "n",
        "expected",
        "published",
        "majority",
        "marks",
    ),
    "runs",
)


def csv_text(table: Table) -> str:
    """One line per cell; perplexity is a column like the tasks, its `majority` the unigram model's. Runs are ids separated by spaces."""
    written = io.StringIO()
    writer = csv.DictWriter(written, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        cells = [
            (c.task, c.metric, c.stand_in, c.majority, cell) for c, cell in zip(table.columns, row.cells, strict=True)
        ]
        for task, metric, stand_in, majority, cell in [
            *cells,
            ("held_out", "ppl", None, row.unigram_ppl, row.perplexity),
        ]:
            low, high = cell.spread or (cell.median, cell.median)
            writer.writerow(
                {
                    **{"row": row.name, "column": task, "metric": metric, "stand_in": stand_in, "median": cell.median},
                    **{"low": low, "high": high, "n": len(cell.values), "expected": len(cell.records)},
                    **{"published": cell.published, "majority": majority, "marks": "; ".join(cell.marks)},
                    "runs": " ".join(record.run_id for record in cell.records if record.result),
                }
            )
    return written.getvalue()


# ---------------------------------------------------------------- HTML
def html(table: Table, figures: dict[str, str], meta: dict[str, str]) -> str:
    """One file: no script, nothing remote, which its content security policy says aloud. `figures` are title -> SVG of our own."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.globals |= {"number": number, "spread": spread, "facts": facts, "source": SOURCE}
    page = environment.get_template("page.html.j2")
    return page.render(table=table, figures=figures, meta=meta, warning=warning(table))
