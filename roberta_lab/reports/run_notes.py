"""What a run left in its folder: its result, settings, overrides, owner and provenance. Damaged notes read as missing ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import yaml

from roberta_lab.runs import results
from roberta_lab.runs.results import DamagedResult, RunResult


class Git(TypedDict):
    """The code of an attempt; None where it is not known."""

    commit: str | None
    dirty: bool | None


class Attempt(TypedDict, total=False):
    """One start of a run. `end` is missing when the process was killed."""

    git: Git
    python: str
    packages: dict[str, str]
    hardware: dict[str, object]
    start: str
    end: str


class Provenance(TypedDict):
    """`provenance.json`: fingerprints of the data by name, and all attempts."""

    data: dict[str, str]
    attempts: list[Attempt]


def result(folder: Path) -> tuple[RunResult | None, str | None]:
    """Return the result of a run, if it has one; and where that is damaged, why and how to mend it."""
    try:
        return results.read(folder), None
    except DamagedResult as damage:
        return None, str(damage)


def provenance(folder: Path) -> Provenance | None:
    """Return what the run noted of its data and attempts."""
    found = _read(folder / "provenance.json")
    if not isinstance(found, dict) or not found.keys() >= {"data", "attempts"}:
        return None
    return Provenance(data=found["data"], attempts=found["attempts"])


def owner(folder: Path) -> tuple[str, str] | None:
    """Return number and host of the process that works on the run, or did when it was killed."""
    found = _read(folder / "owner.json")
    return (str(found.get("pid")), str(found.get("host"))) if isinstance(found, dict) and found else None


def overrides(folder: Path) -> list[str] | None:
    """Return what was typed to start the run."""
    found = _read(folder / "overrides.yaml")
    return [str(override) for override in found] if isinstance(found, list) else None


def setting(folder: Path, *keys: str) -> object:
    """Return a value of `config.yaml`, such as that of `batch_size`, `steps`."""
    found = _read(folder / "config.yaml")
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _read(file: Path) -> object:
    parse = json.loads if file.suffix == ".json" else yaml.safe_load
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
