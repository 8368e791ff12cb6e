"""A table as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import re
from urllib.parse import quote

from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.notes import baselines, notes
from roberta_lab.reports.table.rows import Cell, Row, Table
from roberta_lab.reports.table.wording import (
    GRID,
    TESTS,
    by,
    compared,
    facts,
    interval,
    legend,
    marks,
    number,
    paper,
    signs,
    spread,
    test,
    warning,
)


# ---------------------------------------------------------------- Markdown
def markdown(table: Table, meta: dict[str, str], figures: dict[str, str] | None = None) -> str:
    """The table with its warning, footnotes and links to runs, for a terminal or a repository.

    Args:
        figures: title -> path of a picture beside the table.
    """
    lines = [f"# {_line(table.title)}", "", _line(table.question), ""]
    if said := warning(table):
        lines += [f"> **{_line(said)}**", ""]
    lines += [*_main(table), "", _line(legend(table)), ""]
    lines += _differences(table) + _best(table)
    for title, path in (figures or {}).items():
        lines += [f"![{_line(title)}]({quote(path)})", ""]
    lines += [f"- {_line(text)}" for text in (*baselines(table), *notes(table))]
    lines += [f"- {_line(row.name)}: {facts(row)}; runs {_links(row)}" for row in table.rows]
    lines += [f"- {_line(key)}: {_line(value)}" for key, value in meta.items()]
    lines += [f"- published values: {table.source}"] if table.source else []
    return "\n".join(lines) + "\n"


def _main(table: Table) -> list[str]:
    columns = table.all_columns
    heads = ["row", *(_line(c.title + (f", by {by(c)}" if by(c) else "")) for c in columns), "unigram ppl"]
    lines = [_cells(heads), _cells(["---"] + ["---:"] * (len(heads) - 1))]
    for row in table.rows:
        shown = [_cell(cell, column) for column, cell in table.cells(row)]
        lines.append(_cells([_line(row.name), *shown, number(row.unigram_ppl)]))
    for name, values in table.published_only.items():
        shown = [f"[{paper(v, c)}]" if v is not None else "" for c, v in zip(columns, values, strict=True)]
        lines.append(_cells([f"{_line(name)} (published only)", *shown, ""]))
    return lines


def _cell(cell: Cell, column: Column) -> str:
    published = f" [{paper(cell.published, column)}]" if cell.published is not None else ""
    warned = f" ⚠ {', '.join(map(_line, marks(cell)))}" if marks(cell) else ""
    shown = number(cell.median, column.digits) + signs(cell, column)
    return f"{shown} ({spread(cell, column.digits)}){published}{warned}"


def _differences(table: Table) -> list[str]:
    found = compared(table)
    if not found or table.reference is None:
        return []
    lines = [f"## Differences from {_line(table.reference)}", "", _cells(["row", "column", "difference", "seeds"])]
    lines.append(_cells(["---", "---", "---:", "---"]))
    for row, differences in found:
        for column, d in differences:
            cells = [_line(row.name), _line(column.title), interval(d, column.digits), test(d)]
            lines.append(_cells(cells))
    return [*lines, "", TESTS, ""]


def _best(table: Table) -> list[str]:
    if not table.best:
        return []
    lines = ["## Best setting of each task", "", _cells(["task", "best setting", "score", "of settings"])]
    lines.append(_cells(["---", "---", "---:", "---:"]))
    for best in table.best:
        shown = _cell(best.cell, best.column)
        lines.append(_cells([_line(best.column.title), _line(best.row), shown, str(best.num_settings)]))
    return [*lines, "", GRID, ""]


def _links(row: Row) -> str:
    cells = [row.perplexity, *row.cells]
    records = {r.run_id: r for cell in cells for r in cell.records if r.result}
    return ", ".join(f"[{_line(r.run_id)}]({quote(r.directory)})" for r in records.values()) or "none"


def _cells(texts: list[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _line(text: str) -> str:
    """Literal inside a line of Markdown: no table cell, tag, entity, link, image or emphasis can begin in it."""
    flat = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", flat)


# ---------------------------------------------------------------- CSV
CSV_FIELDS = tuple(
    [
        "row",
        "column",
        "metric",
        "stand_in",
        "measured",
        "median",
        "low",
        "high",
        "n",
        "expected",
        "published",
        "majority",
        "marks",
        "reference",
        "difference",
        "difference_low",
        "difference_high",
        "pairs",
        "p",
        "told_apart",
        "runs",
    ]
)


def csv_text(table: Table) -> str:
    """One line per cell, unrounded; held-out figures are columns like the tasks, perplexity's `majority` is the unigram model's.

    Runs are ids separated by spaces; `told_apart` is empty where nothing could be compared.
    """
    written = io.StringIO()
    writer = csv.DictWriter(written, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for column, cell in table.cells(row):
            low, high = cell.spread or (cell.median, cell.median)
            baseline = row.unigram_ppl if column.metric == "ppl" else column.majority
            named = {"row": row.name, "column": column.task, "metric": column.metric, "stand_in": column.stand_in}
            values = {"median": cell.median, "low": low, "high": high, "n": len(cell.values)}
            said = {"expected": len(cell.records), "published": cell.published, "majority": baseline}
            runs = {"runs": " ".join(record.run_id for record in cell.records if record.result)}
            writer.writerow(
                {
                    **named,
                    **{"measured": column.measured, "marks": "; ".join(cell.marks)},
                    **values,
                    **said,
                    **_compared(table, cell),
                    **runs,
                }
            )
    return written.getvalue()


def _compared(table: Table, cell: Cell) -> dict[str, object]:
    d = cell.difference
    if d is None:
        return {}
    tested = {"difference_low": d.low, "difference_high": d.high, "p": d.p} if d.was_tested else {}
    found = {"reference": table.reference, "difference": d.mean, "pairs": d.n}
    return {**found, **tested, "told_apart": str(d.apart).lower()}
