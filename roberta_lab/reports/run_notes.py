"""What a run left in its folder: its result, settings, overrides and provenance. Damaged notes read as missing ones."""

from pathlib import Path

from roberta_lab.config import ConfigError, Damaged
from roberta_lab.data.verified import recall
from roberta_lab.runs import results, yaml_file
from roberta_lab.runs.provenance import NAME, Provenance
from roberta_lab.runs.results import RunResult


def result(folder: Path) -> tuple[RunResult | None, str | None]:
    """Return the result of a run, if it has one; and where a file of the run is damaged, which, and the way out."""
    try:
        return results.read(folder), None
    except Damaged as damage:
        return None, str(damage)


def provenance(folder: Path) -> Provenance | None:
    """Return what the run noted of its data and attempts."""
    found = recall(folder / NAME)
    known = found.keys() >= {"data", "attempts"}
    return Provenance(data=found["data"], attempts=found["attempts"]) if known else None


def overrides(folder: Path) -> list[str] | None:
    """Return what was typed to start the run."""
    found = _yaml(folder / "overrides.yaml")
    return [str(override) for override in found] if isinstance(found, list) else None


def setting(folder: Path, *keys: str) -> object:
    """Return a value of `config.yaml`, such as that of `batch_size`, `steps`."""
    found = _yaml(folder / "config.yaml")
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def settings(folder: Path) -> dict[str, object]:
    """Return all of `config.yaml`, nested; nothing where it cannot be read."""
    found = _yaml(folder / "config.yaml")
    return found if isinstance(found, dict) else {}


def _yaml(file: Path) -> object:
    try:
        return yaml_file.plain(file)
    except ConfigError:
        return None
