"""Where a table's numbers come from: data, code, packages, hardware, dates, as the runs noted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.reports import run_notes
from roberta_lab.reports.run_notes import Attempt
from roberta_lab.reports.table.rows import Record


def provenance(config: Config, records: Sequence[Record], folder: Path) -> dict[str, str]:
    """Return what the runs noted of code, packages, hardware, data and dates, each attempt of a resumed run included.

    Different notes stand side by side.

    Args:
        folder: the one that the directories of the records are relative to.
    """
    notes: dict[str, dict[str, None]] = {}
    days: set[str] = set()
    complete = {record.directory: (record.kind, record.result) for record in records if record.result is not None}
    for directory, (kind, _) in complete.items():
        noted = run_notes.provenance(folder / directory)
        if noted is None:
            continue
        if kind == "pretrain":
            notes.setdefault("data", {})[_data(config, folder / directory, noted["data"])] = None
        for attempt in noted["attempts"]:
            days |= {time[:10] for time in (attempt.get("start"), attempt.get("end")) if time}
            for key, value in _circumstances(attempt).items():
                notes.setdefault(key, {})[value] = None
    seconds = sum(result.seconds for _, result in complete.values())
    times = {"computing time": f"{seconds:,.0f} s over {len(complete)} runs"}
    if days:
        times["date"] = " to ".join(dict.fromkeys((min(days), max(days))))
    return {"scale": config.scale.name, **{key: "; ".join(values) for key, values in notes.items()}, **times}


def _data(config: Config, run: Path, fingerprints: Mapping[str, str]) -> str:
    """Return the sources and prepared data of a run: `pydoc (corpus 61d7, tokens f251)`. Rows may differ in their sources."""
    sources = run_notes.setting(run, "data_mix", "sources")
    names = sources if isinstance(sources, dict) and sources else config.data_mix.sources
    known = [f"{name} {fingerprints[name]}" for name in ("corpus", "tokens") if name in fingerprints]
    return " + ".join(names) + (f" ({', '.join(known)})" if known else "")


def _circumstances(attempt: Attempt) -> dict[str, str]:
    """Return the code, packages and hardware of one attempt in words."""
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
