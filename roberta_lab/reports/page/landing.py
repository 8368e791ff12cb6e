"""`outputs/index.html`: an index over all tables and runs, what state they are in, and how to go on with them."""

import os
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from roberta_lab.config.formatting import number
from roberta_lab.data.storage import Json, read_json, write
from roberta_lab.reports import run_notes
from roberta_lab.reports.figures.figure import Figure
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.page.claims import write_claims
from roberta_lab.reports.page.table_page import rendered
from roberta_lab.reports.table.as_json import JSON_FILE, LANDING
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import Table
from roberta_lab.runs import identity, tracking
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.options import reading_order
from roberta_lab.runs.overrides import parse, without_sweep
from roberta_lab.runs.results import is_complete
from roberta_lab.runs.tables import TABLES

LINKED = ("result.json", "metrics.csv", "metrics.jsonl", "config.yaml", "provenance.json", "predictions.jsonl")
STATES = ("complete", "in progress", "interrupted")


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


@dataclass(frozen=True)
class RunLine:
    """A run in the index."""

    kind: str
    run_id: str
    directory: str  # relative to the outputs
    label: str
    state: str  # one of STATES
    detail: str  # how far, or who holds it
    figure: str  # perplexity or score
    marks: tuple[str, ...]
    tables: tuple[str, ...]
    links: tuple[str, ...]
    resume: str  # the command that goes on with it; empty when it is complete


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
        content = read_json(file)
        return Summary(**content.get(LANDING, content))  # older code kept nothing else there
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def tables_in(outputs: Path) -> dict[str, Summary]:
    """Return the tables that lie in `outputs`, by their folders relative to it, in reading order."""
    files = outputs.glob(f"{TABLES}/*/*/{JSON_FILE}")  # of NAME/SCALE
    ordered = sorted(files, key=lambda file: (reading_order(file.parts[-3]), file))
    found = {file.parent.relative_to(outputs).as_posix(): _read_summary(file) for file in ordered}
    return {folder: table for folder, table in found.items() if table is not None}


def write_landing(outputs: Path) -> Path:
    """Write `index.html` over everything that lies in `outputs`, and the page of claims beside it; return its path."""
    tables = tables_in(outputs)
    lines = [_run(outputs, folder, tables.values()) for kind in identity.KINDS for folder in outputs.glob(f"{kind}/*/")]
    lines.sort(
        key=lambda line: (list(identity.KINDS).index(line.kind), line.state == "complete", line.label, line.run_id)
    )
    counts = {state: sum(line.state == state for line in lines) for state in STATES}
    path, claims = outputs / "index.html", write_claims(outputs)
    write(path, rendered("landing.html.j2", tables=tables, runs=lines, counts=counts, claims=claims.name))
    return path


def _run(outputs: Path, folder: Path, tables: Iterable[Summary]) -> RunLine:
    kind, overrides = folder.parent.name, run_notes.overrides(folder)
    state, detail = state_of(folder)
    result, damage = run_notes.result(folder)
    marks: tuple[str, ...] = ("unreadable",) if damage else ()
    figure = ""
    if result is not None and result.kind != "pretrain":
        found = result.scored
        marks, figure = found.marks, f"{found.task} {found.metric} {number(found.score)}"
    elif result is not None:
        figure = result.pretraining.figure()
    return RunLine(
        kind=kind,
        run_id=folder.name,
        directory=folder.relative_to(outputs).as_posix(),
        label=(result.label if result is not None else "") or _label(overrides) or folder.name,
        state=state,
        detail=damage or detail,
        figure=figure,
        marks=marks,
        tables=tuple(f"{table.name} {table.scale}" for table in tables if folder.name in table.runs),
        links=tuple(name for name in LINKED if (folder / name).is_file()),
        resume="" if state == "complete" or overrides is None else typed(kind, without_sweep(parse(overrides))),
    )


def state_of(folder: Path) -> tuple[str, str]:
    """Return one of `STATES`, and how far the run is and which process works on it.

    A run is in progress when its owner is noted and, if that is a process of this machine, alive. The lock itself is not
    touched: trying it would hold it for a moment, and a run that starts in that moment would be refused.
    """
    if is_complete(folder):
        return "complete", ""
    owner = run_notes.owner(folder)
    if owner is not None and _is_alive(*owner):
        return "in progress", f"{_progress(folder)}; process {owner[0]} on {owner[1]}"
    return "interrupted", _progress(folder)


def _is_alive(pid: str, host: str) -> bool:
    if host != socket.gethostname():
        return True  # a process on another machine cannot be checked: it is taken for alive
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    return True


def _progress(folder: Path) -> str:
    rows = tracking.read(folder / "metrics.jsonl")
    if not rows:
        return "no step logged"
    steps = run_notes.setting(folder, "batch_size", "steps") if folder.parent.name == "pretrain" else None
    return f"step {rows[-1].step:,}" + (f" of {steps:,}" if isinstance(steps, int) else "")


def _label(overrides: list[str] | None) -> str:
    """Return the row, seed and task of a run that is not complete."""
    values = dict(o.lstrip("+~").partition("=")[::2] for o in overrides or [])
    names = [values.get("sweep.row"), f"seed {values['seed']}" if "seed" in values else None, values.get("task")]
    names.append(values.get("finetune.seed") if "task" in values else None)
    return " ".join(name for name in names if name) or " ".join(overrides or [])
