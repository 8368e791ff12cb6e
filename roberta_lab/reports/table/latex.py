r"""A table as LaTeX: `tabular.tex` to `\input` where a paper wants it (booktabs), `table.tex` to compile as it is."""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import jinja2

from roberta_lab.config.formatting import number
from roberta_lab.reports.table import row_facts, wording
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.first_sentence import first_sentence
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
    "\N{NOT EQUAL TO}": r"$\neq$",
    "\N{DAGGER}": r"\textdagger{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
    variable_start_string="<<",
    variable_end_string=">>",
    block_start_string="<%",
    block_end_string="%>",
)


def escaped(text: str) -> str:
    """Return text that is literal in LaTeX, on one line; letters that its Western fonts lack become numbers: [U+65E5]."""
    return "".join(_SPECIAL.get(c) or _plain(c) for c in " ".join(text.split()))


def _plain(character: str) -> str:
    if "\x20" <= character <= "\x7e" or ("\xa0" < character <= "\xff" and character.isalpha()):
        return character
    return "" if unicodedata.category(character) == "Cc" else f"[U+{ord(character):04X}]"


def document(table: Table, meta: dict[str, str], tabular_file: str = "tabular.tex") -> str:
    """Return a whole document around the file of `tabular`; `meta` names where the numbers come from."""
    differences = [[escaped(text) for text in row] for row in wording.difference_rows(table)]
    if differences:
        differences[0][2] = f"less {escaped(str(table.reference))}"
    apart = [[escaped(text) for text in row] for row in wording.apart_rows(table)]
    notes = [wording.legend(table), *footnotes(table)]
    notes += [wording.TESTS] if differences else []
    notes += [*(f"Claim: {verdict.text}" for verdict in table.verdicts), *([wording.CLAIMS] if table.verdicts else [])]
    notes += [wording.GRID] if table.best else []
    facts = [*row_facts.lines(table.rows), *origins(table, meta)]
    notes += [*(wording.APART for _ in apart[:1]), *facts]
    return _rendered(
        "table.tex.j2",
        table=table,
        first_sentence=first_sentence(table),
        warning=wording.warning(table),
        tabular_file=tabular_file,
        differences=differences,
        apart=apart,
        best=wording.best_rows(table, escaped, _cell),
        notes=notes,
    )


def tabular(table: Table) -> str:
    """Return the table itself: medians with their spread below, published values in brackets, marks below those."""
    rows = [
        [_stack(escaped(row.name), *map(_mark, row.marks)), *(_cell(cell, column) for column, cell in table.cells(row))]
        for row in table.rows
    ]
    head, published = [_head(column) for column in table.all_columns], wording.published_rows(table)
    return _rendered("tabular.tex.j2", table=table, head=head, rows=rows, published=published)


def _rendered(template: str, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(**values, escaped=escaped, comment=_comment, line=_line)


def _head(column: Column) -> str:
    whose, name = column.head
    return _stack(escaped(whose), escaped(name), escaped(f"by {column.shown}") if column.shown else "")


def _cell(cell: Cell, column: Column) -> str:
    signs = wording.signs(cell, column).strip()
    above = rf"\textsuperscript{{{escaped(signs)}}}" if signs else ""
    published = f" {wording.bracketed(cell.published, column)}" if cell.published is not None else ""
    shown = escaped(number(cell.median, column.digits)) + above + published
    return _stack(shown, escaped(wording.spread(cell, column.digits)), *map(_mark, wording.marks(cell)))


def _mark(mark: str) -> str:
    return rf"\textit{{{escaped(mark)}}}"


def _stack(first: str, *below: str) -> str:
    """Return lines above each other in one cell; the lower ones small."""
    small = [rf"{{\scriptsize {text}}}" for text in below if text]
    return r"\begin{tabular}[t]{@{}r@{}}" + r"\\".join([_kept(first), *small]) + r"\end{tabular}" if small else first


def _kept(text: str) -> str:
    """Return text whose first bracket is not read as an argument of the `\\\\` before it."""
    return "{}" + text if text.startswith("[") else text


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(_kept, cells)) + r" \\"


def _comment(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)
