"""What each table's `table.json` keeps for the pages over all tables and runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from roberta_lab.data.storage import Json
from roberta_lab.reports.figures.figure import Figure
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.page.known import Holder
from roberta_lab.reports.table import as_json
from roberta_lab.reports.table.as_json import JSON_FILE, LANDING
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import Table
from roberta_lab.runs.options import reading_order
from roberta_lab.runs.tables import TABLES


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
    seen: str = ""  # the first sentence; none in summaries of older code

    @property
    def state(self) -> str:
        return f"{self.num_missing} of {self.num_runs} runs missing" if self.num_missing else "complete"


def summary(table: Table, command: str, main: Figure | None) -> dict[str, Json]:
    """Return what a table's `table.json` keeps for the landing page; `main` is the figure that stands for it."""
    figure: dict[str, object] | None = None
    if main is not None:
        drawn = inline(main)
        figure = {"title": main.title, "note": main.note, "kind": main.kind, "svg": drawn.svg}
        figure["legend"] = [asdict(key) for key in drawn.legend]
    runs = sorted({record.run_id for record in table.records})
    counts = table.num_runs, table.num_missing
    found = Summary(
        table.name, table.title, table.question, table.scale, *counts, command, runs, figure, first_sentence(table)
    )
    return asdict(found)


def _read_summary(file: Path) -> Summary | None:
    """Return a table's summary; None where it cannot be read or has other fields."""
    try:
        content = as_json.read(file.parent)
        return Summary(**content.get(LANDING, content))  # older code kept nothing else there
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def summaries(outputs: Path) -> dict[str, Summary]:
    """Return the tables in the outputs by folder, in the order in which they are read."""
    files = outputs.glob(f"{TABLES}/*/*/{JSON_FILE}")  # of NAME/SCALE
    ordered = sorted(files, key=lambda file: (reading_order(file.parts[-3]), file))
    found = {file.parent.relative_to(outputs).as_posix(): _read_summary(file) for file in ordered}
    return {folder: table for folder, table in found.items() if table is not None}


def holders_of_tables(tables: Mapping[str, Summary]) -> list[Holder]:
    """Return tables by folder as the pages of runs know them."""
    return [Holder(folder, t.name, t.title, Path(folder).name, frozenset(t.runs)) for folder, t in tables.items()]


def holders_in(outputs: Path) -> list[Holder]:
    """Return the tables in the outputs with the runs that they hold."""
    return holders_of_tables(summaries(outputs))
