"""The summary of a table that lies beside it in `table.json`: what the landing page shows of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from roberta_lab.reports.figures.figure import Figure
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.table.rows import Table

SUMMARY = "table.json"


class SummaryFigure(TypedDict):
    """A figure as the landing page draws it."""

    title: str
    note: str
    kind: str
    svg: str
    legend: list[dict[str, object]]  # the fields of each inline_svg.Key


class Summary(TypedDict):
    """A table as the landing page lists it."""

    name: str
    title: str
    question: str
    scale: str
    num_runs: int
    num_missing: int
    command: str  # makes what is missing
    runs: list[str]  # ids
    figure: SummaryFigure | None


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


def _drawn(figure: Figure) -> SummaryFigure:
    drawn = inline(figure)
    legend = [asdict(key) for key in drawn.legend]
    return SummaryFigure(title=figure.title, note=figure.note, kind=figure.kind, svg=drawn.svg, legend=legend)


def read_summary(file: Path) -> Summary | None:
    """Return a summary that was written earlier; None where it cannot be read or lacks something."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Summary(**{key: found[key] for key in Summary.__annotations__})  # type: ignore[typeddict-item]  # JSON
    except (OSError, ValueError, LookupError, TypeError):
        return None
