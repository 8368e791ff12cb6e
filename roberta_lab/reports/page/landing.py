"""`outputs/index.html`: an index over all tables and runs, what state they are in, and how to go on with them."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roberta_lab.data.storage import write
from roberta_lab.reports.page.table_page import rendered
from roberta_lab.reports.table.wording import number
from roberta_lab.runs import identity, results, run_files
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.options import reading_order
from roberta_lab.runs.overrides import parse, without_sweep
from roberta_lab.runs.tracking import read

LINKED = ("result.json", "metrics.csv", "metrics.jsonl", "config.yaml", "provenance.json", "predictions.jsonl")
STATES = ("complete", "in progress", "interrupted")

SUMMARY = "table.json"  # in a table's folder: what the landing page shows of it


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


def write_landing(outputs: Path) -> Path:
    """Writes `index.html` over everything that lies in `outputs`; returns its path."""
    tables = _tables(outputs)
    lines = [line for kind in identity.KINDS for line in _runs(outputs, kind, tables)]
    counts = {state: sum(line.state == state for line in lines) for state in STATES}
    page = rendered("landing.html.j2", tables=tables, runs=lines, counts=counts)
    path = outputs / "index.html"
    write(path, page)
    return path


def _tables(outputs: Path) -> list[dict[str, Any]]:
    found = []
    files = outputs.glob(f"tables/*/*/{SUMMARY}")  # of NAME/SCALE
    for file in sorted(files, key=lambda file: (reading_order(file.parts[-3]), file)):
        with suppress(OSError, ValueError, KeyError):
            said = json.loads(file.read_text(encoding="utf-8"))
            folder = file.parent.relative_to(outputs).as_posix()
            state = (
                "complete" if not said["num_missing"] else f"{said['num_missing']} of {said['num_runs']} runs missing"
            )
            figure = said["figure"]
            kept = {
                key: said[key] for key in ("name", "title", "question", "scale", "command", "num_runs", "num_missing")
            }
            found.append({**kept, "folder": folder, "state": state, "runs": set(said["runs"]), "figure": figure})
    return found


def _runs(outputs: Path, kind: str, tables: list[dict[str, Any]]) -> list[RunLine]:
    folders = (outputs / kind).iterdir() if (outputs / kind).is_dir() else ()
    found = [_run(outputs, kind, folder, tables) for folder in folders if folder.is_dir()]
    return sorted(found, key=lambda line: (STATES.index(line.state) == 0, line.label, line.run_id))


def _run(outputs: Path, kind: str, folder: Path, tables: list[dict[str, Any]]) -> RunLine:
    result = run_files.result(folder) if results.is_complete(folder) else {}
    overrides = run_files.overrides(folder)
    state, detail = state_of(folder)
    marks = tuple(mark for key, mark in (("at_chance", "at chance"), ("diverged", "diverged")) if result.get(key))
    return RunLine(
        kind=kind,
        run_id=folder.name,
        directory=folder.relative_to(outputs).as_posix(),
        label=str(result.get("label") or _label(overrides) or folder.name),
        state=state,
        detail=detail,
        figure=_figure(kind, result),
        marks=marks,
        tables=tuple(f"{t['name']} {t['scale']}" for t in tables if folder.name in t["runs"]),
        links=tuple(name for name in LINKED if (folder / name).is_file()),
        resume="" if state == "complete" else _resume(kind, overrides),
    )


def state_of(folder: Path) -> tuple[str, str]:
    """One of `STATES`, and how far it is or who is at it.

    A run is in progress when its owner is noted and, if that is a process of this machine, alive. The lock itself is not
    touched: whoever tries it holds it for a moment, and a run that starts in that moment would be turned away.
    """
    if results.is_complete(folder):
        return "complete", ""
    owner = run_files.mapping(folder / "owner.json")
    if owner and _alive(owner):
        return "in progress", "; ".join(part for part in (_progress(folder), f"process {owner.get('pid')} on {owner.get('host')}") if part)  # fmt: skip
    return "interrupted", _progress(folder)


def _alive(owner: dict[str, Any]) -> bool:
    if owner.get("host") != socket.gethostname():
        return True  # nobody here can know better
    try:
        os.kill(int(owner["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _progress(folder: Path) -> str:
    rows = read(folder / "metrics.jsonl")
    if not rows:
        return "no step logged"
    steps = run_files.settings(folder).get("batch_size", {}).get("steps") if folder.parent.name == "pretrain" else None
    return f"step {rows[-1]['step']:,}" + (f" of {steps:,}" if isinstance(steps, int) else "")


def _label(overrides: list[str] | None) -> str:
    """A run that is not complete says its row and its task by its overrides."""
    said = dict(o.lstrip("+~").partition("=")[::2] for o in overrides or [])
    names = [said.get("sweep.row"), f"seed {said['seed']}" if "seed" in said else None, said.get("task")]
    names.append(said.get("finetune.seed") if "task" in said else None)
    return " ".join(name for name in names if name) or " ".join(overrides or [])


def _figure(kind: str, result: dict[str, Any]) -> str:
    if not result:
        return ""
    if kind == "pretrain":
        return f"ppl {number(result.get('val/ppl'))}"
    return f"{result.get('task')} {result.get('metric')} {number(result.get('score'))}"


def _resume(kind: str, overrides: list[str] | None) -> str:
    """The command that addresses the same run; whether a sweep started it makes no difference to what it is."""
    if overrides is None:
        return ""
    return typed(kind, without_sweep(parse(overrides)))
