r"""A table as LaTeX: `tabular.tex` to `\input` where a paper wants it (booktabs), `table.tex` to compile as it is."""

from __future__ import annotations

import re
import unicodedata

from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.notes import baselines, notes
from roberta_lab.reports.table.rows import Cell, Table
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
    test,
    warning,
)

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


def escaped(text: str) -> str:
    """Literal in LaTeX, on one line; what its fonts of Western letters lack is named by its number: [U+65E5]."""
    flat = " ".join(str(text).split())
    return "".join(_SPECIAL.get(c) or _plain(c) for c in flat)


def _plain(character: str) -> str:
    if "\x20" <= character <= "\x7e" or (character > "\xa0" and character <= "\xff" and character.isalpha()):
        return character
    return "" if unicodedata.category(character) == "Cc" else f"[U+{ord(character):04X}]"


def document(table: Table, meta: dict[str, str], tabular_file: str = "tabular.tex") -> str:
    """A whole document around `tabular`, with warning and footnotes."""
    said_below = [
        legend(table),
        *baselines(table),
        *notes(table),
        *([TESTS] if compared(table) else []),
        *([GRID] if table.best else []),
    ]
    said_below += [f"{row.name}: {facts(row)}" for row in table.rows]
    said_below += [f"{key}: {value}" for key, value in meta.items()]
    said_below += [f"published values: {table.source}"] if table.source else []
    said = warning(table)
    return (
        "\n".join(
            [
                r"\documentclass{article}",
                r"\usepackage[utf8]{inputenc}",
                r"\usepackage[T1]{fontenc}",
                r"\usepackage{textcomp,booktabs,longtable,graphicx}",
                r"\usepackage[margin=2cm,a4paper,landscape]{geometry}",
                r"\begin{document}",
                r"\section*{" + escaped(table.title) + "}",
                escaped(table.question) + r"\par\medskip",
                *([r"\noindent\textbf{" + escaped(said) + r"}\par\medskip"] if said else []),
                r"\noindent\input{" + tabular_file + "}",
                r"\par\medskip\noindent\footnotesize",
                *_difference_table(table),
                *_best_table(table),
                r"\begin{itemize}\raggedright",
                *(r"\item " + _breakable(note) for note in said_below),
                r"\end{itemize}",
                r"\end{document}",
            ]
        )
        + "\n"
    )


def _breakable(text: str) -> str:
    return escaped(text).replace(",", r",\allowbreak{}")


def tabular(table: Table) -> str:
    """The table itself: medians with their spread below, published values in brackets, marks below those."""
    columns = table.all_columns
    heads = [_stack(escaped(c.task if c.task != "held_out" else "held-out"), escaped(c.metric), _by(c)) for c in columns]  # fmt: skip
    lines = ["% needs \\usepackage{booktabs,graphicx} and \\usepackage[T1]{fontenc}"]
    lines += [f"% runs of {_comment(row.name)}: {_comment(' '.join(r.run_id for cell in (row.perplexity, *row.cells) for r in cell.records if r.result))}" for row in table.rows]  # fmt: skip
    lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule", _row(["row", *heads]), r"\midrule"]
    for row in table.rows:
        lines.append(_row([escaped(row.name), *(_cell(cell, column) for column, cell in table.cells(row))]))
        lines.append(r"\addlinespace")
    if table.published_only:
        lines.append(r"\midrule")
    for name, values in table.published_only.items():
        shown = ["" if v is None else f"[{paper(v, c)}]" for c, v in zip(columns, values, strict=True)]
        lines.append(_row([escaped(f"{name} (published only)"), *shown]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}%", "}"]) + "\n"


def _by(column: Column) -> str:
    return escaped(f"by {by(column)}") if by(column) else ""


def _cell(cell: Cell, column: Column) -> str:
    digits = column.digits
    ends = f"{number(cell.spread[0], digits)} to {number(cell.spread[1], digits)}, " if cell.spread else ""
    published = f" [{paper(cell.published, column)}]" if cell.published is not None else ""
    small = signs(cell, column).strip()
    shown = (
        escaped(number(cell.median, digits)) + (rf"\textsuperscript{{{escaped(small)}}}" if small else "") + published
    )
    return _stack(shown, escaped(f"{ends}n={len(cell.values)}"), *(rf"\textit{{{escaped(m)}}}" for m in marks(cell)))


def _stack(first: str, *below: str) -> str:
    """Lines above each other in one cell; the lower ones small."""
    small = [rf"{{\scriptsize {text}}}" for text in below if text]
    return r"\begin{tabular}[t]{@{}r@{}}" + r"\\".join([_kept(first), *small]) + r"\end{tabular}" if small else first


def _kept(text: str) -> str:
    """A bracket after `\\\\` would be read as its argument."""
    return "{}" + text if text.startswith("[") else text


def _row(cells: list[str]) -> str:
    return " & ".join(map(_kept, cells)) + r" \\"


def _difference_table(table: Table) -> list[str]:
    found = compared(table)
    if not found or table.reference is None:
        return []
    lines = [r"\begin{longtable}[l]{llrl}", r"\toprule"]
    lines += [_row(["row", "column", f"less {escaped(table.reference)}", "seeds"]), r"\midrule"]
    for row, differences in found:
        for column, d in differences:
            cells = [row.name, column.title, interval(d, column.digits), test(d)]
            lines.append(_row([escaped(cell) for cell in cells]))
    return [*lines, r"\bottomrule", r"\end{longtable}"]


def _best_table(table: Table) -> list[str]:
    if not table.best:
        return []
    lines = [
        r"\begin{longtable}[l]{llrr}",
        r"\toprule",
        _row(["task", "best setting", "score", "of settings"]),
        r"\midrule",
    ]
    for best in table.best:
        names = [escaped(best.column.title), escaped(best.row)]
        lines.append(_row([*names, _cell(best.cell, best.column), str(best.num_settings)]))
    return [*lines, r"\bottomrule", r"\end{longtable}"]


def _comment(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "?", text)
