"""The config groups with their options, and the sweeps, by the files in the places where they lie.

The places are conf/ and sweeps/ of the package and, for the command at hand, what lies outside of it (`Outside`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from roberta_lab.config import ConfigError
from roberta_lab.runs.yaml_file import read

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
CONF, SWEEPS = ROOT / "conf", ROOT / "sweeps"
EXPERIMENT, SWEEP = "experiment", "sweep"  # groups without a folder in conf/: all experiments are the user's


@dataclass(frozen=True)
class Outside:
    """What a command reads from outside the package; all paths are absolute."""

    folders: tuple[Path, ...] = ()  # each laid out as conf/, with sweeps in sweep/ or sweeps/
    sweeps: tuple[Path, ...] = ()  # files that were named by their paths


_outside = Outside()


def use(outside: Outside) -> None:
    """Make these the places of the command at hand, beside the package's own; a worker does it with what its job brings."""
    global _outside
    _outside = outside


def outside() -> Outside:
    """Return the places outside the package."""
    return _outside


def groups() -> dict[str, list[str]]:
    """Return every config group with its options, in the order of the folders; the user's experiments and sweeps last."""
    folders = [path.name for path in sorted(CONF.iterdir()) if path.is_dir() and not path.name.startswith("__")]
    found = {group: sorted(files(group)) for group in [*folders, EXPERIMENT]}
    found[SWEEP] = sorted(files(SWEEP), key=reading_order)
    return found


def files(group: str) -> dict[str, Path]:
    """Return the file of each option of a group, without reading any. Of one name, the first place has it, as in Hydra."""
    found: dict[str, Path] = {}
    for path in _files(group):
        found.setdefault(path.stem, path)
    return found


def _files(group: str) -> Iterator[Path]:
    if group == SWEEP:
        folders = [SWEEPS, *(folder / name for folder in _outside.folders for name in ("sweep", "sweeps"))]
    else:
        folders = [place / group for place in (CONF, *_outside.folders)]
    for folder in folders:
        yield from (path for path in sorted(folder.glob("*.yaml")) if not path.name.startswith("."))
    if group == SWEEP:
        yield from _outside.sweeps


def check_outside() -> None:
    """Raise ConfigError for a file outside the package that Hydra would never read, since another place has its name."""
    for folder in _outside.folders:
        for name in ("config.yaml", "schema.yaml"):
            if (folder / name).exists():
                allowed = f"options in its groups, such as masking/NAME.yaml, or {EXPERIMENT}/NAME.yaml"
                raise ConfigError(f"{folder / name}: the package's own {name} is read instead. Allowed: {allowed}.")
    for group in groups() if _outside != Outside() else ():
        first = files(group)
        for path in _files(group):
            taken = first[path.stem]
            if path != taken:
                raise ConfigError(f"{path}: {group}={path.stem} is there already ({taken}). Give it another name.")


def reading_order(sweep: str) -> tuple[bool, str]:
    """Return the key that sorts sweeps by name, the paper's tables before other questions."""
    return not sweep.startswith("table"), sweep


def default_options() -> dict[str, str]:
    """Return the option of each group that a command without overrides has: of `config.yaml`, or of its scale."""

    def chosen(path: Path) -> dict[str, str | None]:
        entries = [entry for entry in read(path).get("defaults", []) if not isinstance(entry, str)]
        return {key.removeprefix("override ").lstrip("/"): option for entry in entries for key, option in entry.items()}

    found = chosen(CONF / "config.yaml")
    found |= chosen(CONF / "scale" / f"{found['scale']}.yaml")
    return {group: option for group in groups() if (option := found.get(group)) is not None}


def sources_of(mix: str) -> set[str]:
    """Return the names of the sources of an option of data_mix, with those of the options that it is made of."""
    return {str(source) for source in content("data_mix", mix).get("sources", {})}


def content(group: str, option: str) -> DictConfig:
    """Return what an option sets, with what the options of its group set that it starts from, uncomposed: `${...}` stays."""
    own = read(files(group)[option])
    parts: list[DictConfig] = []
    for entry in own.pop("defaults", []):
        if entry == "_self_":
            parts.append(own)
        elif isinstance(entry, str) and entry in files(group):
            parts.append(content(group, entry))
    if own not in parts:  # Hydra puts the option's own keys last
        parts.append(own)
    merged = OmegaConf.merge(*parts)
    assert isinstance(merged, DictConfig)
    return merged
