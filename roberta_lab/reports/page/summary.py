"""The summary of a table that lies beside it in `table.json`: what the landing page shows of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from roberta_lab.reports.figures.figure import Figure
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.table.rows import Table

SUMMARY = "table.json"


@dataclass(frozen=True)
class Summary:
    """A table as the landing page lists it."""

    name: str
    title: str
    question: str
    scale: str
    num_runs: int
    num_missing: int
    command: str  # makes what is missing
    runs: list[str]  # ids
    figure: dict[str, object] | None  # the main one: title, note, kind, svg, and the keys of its legend

    @property
    def state(self) -> str:
        """Return whether the table is complete, in words."""
        return f"{self.num_missing} of {self.num_runs} runs missing" if self.num_missing else "complete"

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class TableCard(Summary):
    """A table in the index, with its place in the outputs."""

    folder: str


def summary(table: Table, command: str, main: Figure | None) -> Summary:
    """Return the summary of a table, with the figure that stands for it."""
    return Summary(
        name=table.name,
        title=table.title,
        question=table.question,
        scale=table.scale,
        num_runs=table.num_runs,
        num_missing=table.num_missing,
        command=command,
        runs=sorted({record.run_id for record in table.records}),
        figure=_drawn(main) if main is not None else None,
    )


def _drawn(figure: Figure) -> dict[str, object]:
    drawn = inline(figure)
    legend = [asdict(key) for key in drawn.legend]
    return {"title": figure.title, "note": figure.note, "kind": figure.kind, "svg": drawn.svg, "legend": legend}


def read_card(file: Path, outputs: Path) -> TableCard | None:
    """Return a table by its summary; None where that cannot be read or has other fields."""
    try:
        return TableCard(
            **json.loads(file.read_text(encoding="utf-8")), folder=file.parent.relative_to(outputs).as_posix()
        )
    except (OSError, ValueError, TypeError):
        return None
