"""Where a table's numbers come from: data, code, packages, hardware, dates, as the runs noted them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roberta_lab.config import Config
from roberta_lab.reports.table.rows import Record
from roberta_lab.runs import run_files


def provenance(config: Config, records: list[Record], folder: Path) -> dict[str, str]:
    """What the runs noted of code, packages, hardware, data and dates, every attempt of a resumed run counted.

    Differing notes stand side by side.
    """
    notes: dict[str, dict[str, None]] = {}
    days: set[str] = set()
    complete = {record.directory: record for record in records if record.result is not None}
    for directory, record in complete.items():
        said = run_files.provenance(folder / directory)
        if not said:
            continue
        if record.kind == "pretrain":
            notes.setdefault("data", {})[_data(config, run_files.settings(folder / directory), said["data"])] = None
        for attempt in said["attempts"]:
            days |= {attempt[key][:10] for key in ("start", "end") if key in attempt}
            for key, value in _circumstances(attempt).items():
                notes.setdefault(key, {})[value] = None
    seconds = sum(record.result["seconds"] for record in complete.values() if record.result)
    times = {"computing time": f"{seconds:,.0f} s over {len(complete)} runs"}
    if days:
        times["date"] = " to ".join(dict.fromkeys((min(days), max(days))))
    return {"scale": config.scale.name, **{key: "; ".join(values) for key, values in notes.items()}, **times}


def _data(config: Config, settings: dict[str, Any], fingerprints: dict[str, str]) -> str:
    """`pydoc (corpus 61d7, tokens f251)`; the sources are the run's own, since rows may differ in them."""
    own = settings.get("data_mix", {}).get("sources") or config.data_mix.sources
    known = [f"{name} {fingerprints[name]}" for name in ("corpus", "tokens") if name in fingerprints]
    return " + ".join(own) + (f" ({', '.join(known)})" if known else "")


def _circumstances(attempt: dict[str, Any]) -> dict[str, str]:
    """Code, packages and hardware of one attempt, in words."""
    commit, hardware = attempt["git"]["commit"], dict(attempt["hardware"])
    dirty = " with uncommitted changes" if attempt["git"]["dirty"] else ""
    machine = [str(hardware.pop("platform")), f"{hardware.pop('cpus')} CPUs"]
    machine += [f"{key} {value}" for key, value in hardware.items() if key != "host" and value]
    return {
        "code": f"commit {commit}{dirty}" if commit else "no git",
        "packages": ", ".join(f"{name} {version}" for name, version in attempt["packages"].items()),
        "python": attempt["python"],
        "hardware": ", ".join(machine),
    }
