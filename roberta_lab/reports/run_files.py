"""What lies in a run's folder, read for reports: its settings and its curves. Nothing here is written by reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from roberta_lab.config import MaskingConfig


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


def masking(config: dict[str, Any]) -> MaskingConfig | None:
    """The masking of a run's settings, without whole words; None where they do not say."""
    said = config.get("masking")
    if not isinstance(said, dict):
        return None
    known = {key: value for key, value in said.items() if key in MaskingConfig.__dataclass_fields__}
    return MaskingConfig(**{**known, "whole_words": False})


def sequences(config: dict[str, Any]) -> int | None:
    """Sequences of a batch."""
    batch = config.get("batch_size")
    return batch.get("sequences") if isinstance(batch, dict) else None
