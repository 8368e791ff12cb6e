"""Columns of text for the console."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 10_000  # characters: lines are never broken or cut; a terminal breaks its own
_JUSTIFY: dict[str, Literal["left", "right"]] = {"l": "left", "r": "right"}


def aligned(rows: Sequence[Sequence[str]], alignment: str, head: Sequence[str] | None = None) -> list[str]:
    """Return a line for each row, with cells below each other and two spaces between columns.

    Args:
        alignment: a letter for each column, l or r.
        head: names of the columns; bold on a terminal.
    """
    table = Table(box=None, show_header=head is not None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name, side in zip(head or ("",) * len(alignment), alignment, strict=True):
        table.add_column(Text(name), justify=_JUSTIFY[side], no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    written = io.StringIO()
    on_terminal = head is not None and sys.stdout.isatty()
    Console(file=written, width=WIDTH, force_terminal=on_terminal).print(table)
    return [line.rstrip() for line in written.getvalue().splitlines()]
