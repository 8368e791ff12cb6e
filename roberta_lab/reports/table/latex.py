r"""A table as LaTeX: `tabular.tex` to `\input` where a paper wants it (booktabs), `table.tex` to compile as it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from roberta_lab.config.formatting import number
from roberta_lab.reports.table import wording
from roberta_lab.reports.table.columns import HELD_OUT, Column
from roberta_lab.reports.table.notes import footnotes, origins
from roberta_lab.reports.table.rows import Cell, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": "{-}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{DAGGER}": r"\textdagger{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

_HEAD = (
    r"\documentclass{article}",
    r"\usepackage[utf8]{inputenc}",
    r"\usepackage[T1]{fontenc}",
    r"\usepackage{textcomp,booktabs,longtable,graphicx}",
    r"\usepackage[margin=2cm,a4paper,landscape]{geometry}",
    r"\begin{document}",
)


def escaped(text: str) -> str:
    """Return text that is literal in LaTeX, on one line; letters that its Western fonts lack become numbers: [U+65E5]."""
    flat = " ".join(text.split())
    return "".join(_SPECIAL.get(c) or _plain(c) for c in flat)


def _plain(character: str) -> str:
    if "\x20" <= character <= "\x7e" or (character > "\xa0" and character <= "\xff" and character.isalpha()):
        return character
    return "" if unicodedata.category(character) == "Cc" else f"[U+{ord(character):04X}]"


def document(table: Table, meta: dict[str, str], tabular_file: str = "tabular.tex") -> str:
    """Return a whole document around the file of `tabular`, with warning and footnotes.

    Args:
        meta: where the numbers come from, by name.
    """
    warning = wording.warning(table)
    lines = [
        *_HEAD,
        r"\section*{" + escaped(table.title) + "}",
        escaped(table.question) + r"\par\medskip",
        *([r"\noindent\textbf{" + escaped(warning) + r"}\par\medskip"] if warning else []),
        r"\noindent\input{" + tabular_file + "}",
        r"\par\medskip\noindent\footnotesize",
        *_difference_table(table),
        *_best_table(table),
        r"\begin{itemize}\raggedright",
        *(r"\item " + _breakable(note) for note in _below(table, meta)),
        r"\end{itemize}",
        r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def _below(table: Table, meta: dict[str, str]) -> list[str]:
    found = [wording.legend(table), *footnotes(table)]
    found += [wording.TESTS] if wording.compared_rows(table) else []
    found += [wording.GRID] if table.best else []
    found += [f"{row.name}: {wording.facts(row)}" for row in table.rows]
    return [*found, *origins(table, meta)]


def _breakable(text: str) -> str:
    return escaped(text).replace(",", r",\allowbreak{}")


def tabular(table: Table) -> str:
    """Return the table itself: medians with their spread below, published values in brackets, marks below those."""
    columns = table.all_columns
    lines = ["% needs \\usepackage{booktabs,graphicx} and \\usepackage[T1]{fontenc}"]
    for row in table.rows:
        lines.append(f"% runs of {_comment(row.name)}: {_comment(' '.join(run.run_id for run in row.complete))}")
    lines.append(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%")
    lines.append(r"\begin{tabular}{l" + "r" * len(columns) + "}")
    lines += [r"\toprule", _row(["row", *map(_head, columns)]), r"\midrule"]
    for row in table.rows:
        lines.append(_row([escaped(row.name), *(_cell(cell, column) for column, cell in table.cells(row))]))
        lines.append(r"\addlinespace")
    if table.published_only:
        lines.append(r"\midrule")
    for name, *values in wording.published_rows(table):
        lines.append(_row([escaped(name), *values]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}%", "}"]) + "\n"


def _head(column: Column) -> str:
    task = "held-out" if column.task == HELD_OUT else column.task
    return _stack(escaped(task), escaped(column.metric), escaped(f"by {column.shown}") if column.shown else "")


def _cell(cell: Cell, column: Column) -> str:
    signs = wording.signs(cell, column).strip()
    above = rf"\textsuperscript{{{escaped(signs)}}}" if signs else ""
    published = f" {wording.bracketed(cell.published, column)}" if cell.published is not None else ""
    shown = escaped(number(cell.median, column.digits)) + above + published
    marks = (rf"\textit{{{escaped(mark)}}}" for mark in wording.marks(cell))
    return _stack(shown, escaped(wording.spread(cell, column.digits)), *marks)


def _stack(first: str, *below: str) -> str:
    """Return lines above each other in one cell; the lower ones small."""
    small = [rf"{{\scriptsize {text}}}" for text in below if text]
    return r"\begin{tabular}[t]{@{}r@{}}" + r"\\".join([_kept(first), *small]) + r"\end{tabular}" if small else first


def _kept(text: str) -> str:
    """Return text whose first bracket is not read as an argument of the `\\\\` before it."""
    return "{}" + text if text.startswith("[") else text


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(_kept, cells)) + r" \\"


def _difference_table(table: Table) -> list[str]:
    rows = [list(map(escaped, row)) for row in wording.difference_rows(table)]
    if rows:
        rows[0][2] = f"less {escaped(str(table.reference))}"
    return _long_table(rows, "llrl")


def _best_table(table: Table) -> list[str]:
    if not table.best:
        return []
    rows = [["task", "best setting", "score", "of settings"]]
    for best in table.best:
        names = [escaped(best.column.title), escaped(best.row)]
        rows.append([*names, _cell(best.cell, best.column), str(best.num_settings)])
    return _long_table(rows, "llrr")


def _long_table(rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Return a table that may break across pages; the first row is its head. Nothing for no rows."""
    if not rows:
        return []
    head, *body = map(_row, rows)
    begin = r"\begin{longtable}[l]{" + alignment + "}"
    return [begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{longtable}"]


def _comment(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)
