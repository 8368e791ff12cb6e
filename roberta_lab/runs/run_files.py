"""What lies in a run's folder, read for reports: its settings and its curves. Nothing here is written by reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml


def settings(folder: Path) -> dict[str, Any]:
    """`config.yaml` as plain values; {} where there is none that can be read."""
    return mapping(folder / "config.yaml", yaml.safe_load)


def provenance(folder: Path) -> dict[str, Any]:
    """`provenance.json`; {} where there is none."""
    return mapping(folder / "provenance.json", json.loads)


def result(folder: Path) -> dict[str, Any]:
    """`result.json`; {} where the run is not complete."""
    return mapping(folder / "result.json", json.loads)


def mapping(file: Path, parse: Any = json.loads) -> dict[str, Any]:
    """A file of keys and values; {} where there is none that can be read."""
    try:
        found = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def overrides(folder: Path) -> list[str] | None:
    """What was typed to start the run; None where it is not noted."""
    try:
        found = yaml.safe_load((folder / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return [str(override) for override in found] if isinstance(found, list) else None
