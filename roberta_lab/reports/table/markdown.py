"""A table as Markdown, for a terminal or a repository."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from roberta_lab.config.formatting import number, visible
from roberta_lab.reports.table import row_facts, wording
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.notes import footnotes, origins
from roberta_lab.reports.table.rows import Cell, Table


def document(
    table: Table,
    meta: dict[str, str],
    figures: Mapping[str, str] | None = None,
    diffs: Mapping[str, str] | None = None,
) -> str:
    """Return the table with its warning, footnotes and links to runs.

    `meta` names where the numbers come from; `figures` are paths of pictures beside the table, by title; the first stands before the table. `diffs` are pages of rows against the reference row, by row.
    """
    lines = [f"# {escaped(table.title)}", "", escaped(first_sentence(table)), "", escaped(table.question), ""]
    if warning := wording.warning(table):
        lines += [f"> **{escaped(warning)}**", ""]
    pictures = [f"![{escaped(title)}]({quote(path)})" for title, path in (figures or {}).items()]
    lines += [line for picture in pictures[:1] for line in (picture, "")]
    lines += [*_main(table), "", escaped(wording.legend(table)), ""]
    if table.verdicts:
        lines += [
            "## Claims",
            "",
            *(f"- {escaped(verdict.text)}" for verdict in table.verdicts),
            "",
            wording.CLAIMS,
            "",
        ]
    if rows := wording.difference_rows(table):
        lines += [f"## Differences from {escaped(str(table.reference))}", ""]
        lines += [*grid([list(map(escaped, row)) for row in rows], "llrrl"), "", wording.TESTS, ""]
    if best := wording.best_rows(table, escaped, _cell):
        lines += ["## Best setting of each task", "", *grid(best, "llrr"), "", wording.GRID, ""]
    if apart := wording.apart_rows(table):
        lines += ["## Published values", "", wording.APART, ""]
        lines += [*grid([list(map(escaped, row)) for row in apart], "l" + "r" * (len(apart[0]) - 1)), ""]
    lines += [line for picture in pictures[1:] for line in (picture, "")]
    lines += [f"- {escaped(text)}" for text in footnotes(table)]
    if text := row_facts.shared(table.rows):
        lines.append(f"- {escaped(f'all rows: {text}')}")
    for row in table.rows:
        links = ", ".join(f"[{escaped(run.run_id)}]({quote(run.directory)})" for run in row.complete) or "none"
        page = (diffs or {}).get(row.name)
        differs = f"; [differs from {escaped(str(table.reference))}]({quote(page)})" if page else ""
        lines.append(f"- {escaped(row_facts.described(row, table.rows))}; runs {links}{differs}")
    lines += [f"- {escaped(text)}" for text in origins(table, meta)]
    return "\n".join(lines) + "\n"


def _main(table: Table) -> list[str]:
    columns = table.all_columns
    heads = [c.title + (f", by {c.shown}" if c.shown else "") for c in columns]
    settings = table.setting_columns
    rows = [["row", *map(escaped, settings), *map(escaped, heads), "unigram ppl"]]
    for row in table.rows:
        shown = [_cell(cell, column) for column, cell in table.cells(row)]
        marks = f" ⚠ {', '.join(map(escaped, row.marks))}" if row.marks else ""
        own = [escaped(table.settings.get(row.name, {}).get(key, "")) for key in settings]
        rows.append([escaped(row.name) + marks, *own, *shown, number(row.unigram_ppl)])
    blanks = [""] * len(settings)
    rows += [[escaped(name), *blanks, *values, ""] for name, *values in wording.published_rows(table)]
    return grid(rows, "l" + "r" * (len(settings) + len(columns) + 1))


def _cell(cell: Cell, column: Column) -> str:
    median = number(cell.median, column.digits) + wording.signs(cell, column)
    marks = f"⚠ {', '.join(map(escaped, wording.marks(cell)))}" if wording.marks(cell) else ""
    parts = (median, f"({wording.spread(cell, column.digits)})", wording.bracketed(cell.published, column), marks)
    return " ".join(part for part in parts if part)


def grid(rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Return the lines of a table of escaped texts, head first; `alignment` has an l or r for each column."""
    rule = [{"l": "---", "r": "---:"}[side] for side in alignment]
    return ["| " + " | ".join(cells) + " |" for cells in (rows[0], rule, *rows[1:])]


def escaped(text: str) -> str:
    """Return text that is literal in a line of Markdown: no cell, tag, entity, link, image or emphasis begins in it."""
    flat = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", flat)
