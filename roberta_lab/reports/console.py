"""Columns of text for the console."""

import io
import sys
from collections.abc import Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from roberta_lab.config.formatting import visible

WIDTH = 10_000  # characters: lines are never broken or cut; a terminal breaks its own
_JUSTIFY: dict[str, Literal["left", "right"]] = {"l": "left", "r": "right"}


def aligned(rows: Sequence[Sequence[str]], alignment: str, head: bool = False) -> list[str]:
    """Return a line for each row, with cells below each other and two spaces between columns.

    `alignment` has a letter for each column, l or r. With `head` the first row has their names, bold on a terminal.
    """
    table = Table(box=None, show_header=head, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for number, side in enumerate(alignment):
        table.add_column(Text(visible(rows[0][number])) if head else "", justify=_JUSTIFY[side], no_wrap=True)
    for row in rows[1:] if head else rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    written = io.StringIO()
    Console(file=written, width=WIDTH, force_terminal=head and sys.stdout.isatty()).print(table)
    return [line.rstrip() for line in written.getvalue().splitlines()]
