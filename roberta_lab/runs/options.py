"""The config groups with their options, and the sweep files, as they lie in conf/ and sweeps/."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
CONF, SWEEPS = ROOT / "conf", ROOT / "sweeps"


def groups() -> dict[str, list[str]]:
    """Return every config group with its options, in the order of the folders."""
    folders = [path for path in sorted(CONF.iterdir()) if path.is_dir() and not path.name.startswith("__")]
    found = {folder.name: sorted(p.stem for p in folder.glob("*.yaml")) for folder in folders}
    found["sweep"] = sorted((p.stem for p in SWEEPS.glob("*.yaml")), key=reading_order)
    return found


def reading_order(sweep: str) -> tuple[bool, str]:
    """Return the key that sorts sweeps by name, the paper's tables before other questions."""
    return not sweep.startswith("table"), sweep


def default_options() -> dict[str, str]:
    """Return the option of each group that a command without overrides has: of `config.yaml`, or of its scale."""

    def chosen(path: Path) -> dict[str, str | None]:
        entries = [entry for entry in _read(path).get("defaults", []) if not isinstance(entry, str)]
        return {key.removeprefix("override ").lstrip("/"): option for entry in entries for key, option in entry.items()}

    found = chosen(CONF / "config.yaml")
    found |= chosen(CONF / "scale" / f"{found['scale']}.yaml")
    return {group: option for group in groups() if (option := found.get(group)) is not None}


def sources_of(mix: str) -> set[str]:
    """Return the names of the sources of an option of data_mix, with those of the options that it is made of."""
    option = _read(CONF / "data_mix" / f"{mix}.yaml")
    return set(option.get("sources", {})).union(*(sources_of(name) for name in option.get("defaults", [])))


def _read(path: Path) -> DictConfig:
    found = OmegaConf.load(path)
    assert isinstance(found, DictConfig), path
    return found
