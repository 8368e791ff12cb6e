"""The words of a command that name config from outside the package: a folder, or a sweep file by its path.

`--config-dir DIR`, `hydra.searchpath=[file://DIR]` and `sweep=path/to/NAME.yaml` become the places of `runs/options.py`. So no
later code sees a path: an option of DIR is chosen as any other, and the sweep is `sweep=NAME`.
"""

import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path

from roberta_lab.config import ConfigError, nearest
from roberta_lab.config.paths import user_path
from roberta_lab.runs import options
from roberta_lab.runs.options import Outside
from roberta_lab.runs.overrides import assign, texts, unquoted

_FLAGS = ("--config-dir", "-cd")
_SEARCHPATH = re.compile(r"\+{0,2}hydra\.searchpath=")
_SWEEP = re.compile(r"\+{0,2}sweep=")
_ENTRY = re.compile(
    r"""\s*'(?:\\.|[^'\\])*'\s*|\s*"(?:\\.|[^"\\])*"\s*|[^,]+"""
)  # of a list: in quotes, or up to a comma
_TAKEN = ("all", "null")  # every table, and none
_SWEEP_NAME = re.compile(r"[A-Za-z_][\w.-]*")  # what Hydra takes for the name of an option


def open_places(arguments: Sequence[str]) -> list[str]:
    """Use the places that the arguments name; return the arguments without them, sweeps by names. Raises: ConfigError."""
    options.use(Outside())
    rest, folders, sweeps = list[str](), list[Path](), list[Path]()
    words = iter(arguments)
    for word in words:
        flag, is_joined, value = word.partition("=")
        if flag in _FLAGS:
            folders.append(_folder(value if is_joined else next(words, ""), "--config-dir "))
        elif found := _SEARCHPATH.match(word):
            folders += [_on_search_path(place) for place in _names(word[found.end() :])]
        else:
            rest.append(word)
    options.use(Outside(folders=tuple(dict.fromkeys(folders))))
    rest = [_sweeps_by_name(word, sweeps) for word in rest]
    options.use(Outside(options.outside().folders, tuple(dict.fromkeys(sweeps))))
    options.check_outside()
    return rest


def words() -> list[str]:
    """Return what names the outside folders as an override, for notes that outlast the command."""
    folders = [f"file://{folder}" for folder in options.outside().folders]
    return texts([assign("hydra.searchpath", folders)]) if folders else []


def flags() -> list[str]:
    """Return what names the outside folders in a command that is shown."""
    return [word for folder in options.outside().folders for word in ("--config-dir", str(folder))]


def _folder(name: str, said: str) -> Path:
    path = Path(os.path.abspath(user_path(name.removeprefix("file://"))))
    if not name or not path.is_dir():
        siblings = [p.name for p in path.parent.glob("*/")] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings) if name else ""
        raise ConfigError(f"{said}{name}: no such folder.{hint} Allowed: a folder laid out as conf/: GROUP/NAME.yaml.")
    return path


def _on_search_path(place: str) -> Path:
    """Return the folder of an entry of `hydra.searchpath`: a path, `file://FOLDER` or `pkg://PACKAGE`."""
    scheme, has_scheme, name = place.rpartition("://")
    said = "hydra.searchpath="
    if has_scheme and scheme == "pkg":
        try:
            spec = importlib.util.find_spec(name.strip("/").replace("/", "."))
        except (ImportError, ValueError):
            spec = None
        places = spec.submodule_search_locations if spec is not None else None
        if not places:
            raise ConfigError(f"{said}{place}: no such package. Allowed: file://FOLDER, pkg://PACKAGE.")
        return _folder(next(iter(places)), said)
    if has_scheme and scheme != "file":
        raise ConfigError(f"{said}{place}: unknown. Allowed: file://FOLDER, pkg://PACKAGE.")
    return _folder(place, said)


def _names(value: str) -> list[str]:
    """Return the entries of `A`, `A,B` and `[A,B]`, without quotes. A path that is there as a whole is one, commas and all."""
    whole = unquoted(value)
    place = user_path(whole.removeprefix("file://"))
    if whole and (place.exists() or Path(f"{place}.yaml").exists()):
        return [whole]
    return [unquoted(entry[0].strip()) for entry in _ENTRY.finditer(value.removeprefix("[").removesuffix("]"))]


def _sweeps_by_name(word: str, sweeps: list[Path]) -> str:
    """Return `sweep=PATH` as `sweep=NAME`, its file added to `sweeps`; any other word as it is."""
    found = _SWEEP.match(word)
    if found is None:
        return word
    value = word[found.end() :]
    named = _names(value)
    if not any(map(_is_path, named)):
        return word
    names = [_name_of(name, sweeps) if _is_path(name) else name for name in named]
    is_list = value.startswith("[") and named != [value]
    return f"{found[0]}[{','.join(names)}]" if is_list else f"{found[0]}{','.join(names)}"


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith((".yaml", ".yml"))


def _name_of(name: str, sweeps: list[Path]) -> str:
    path = Path(os.path.abspath(user_path(name if name.endswith(".yaml") else f"{name}.yaml")))
    if not path.exists():
        siblings = [file.name for file in path.parent.glob("*.yaml")]
        hint = nearest(path.name, siblings) or nearest(path.stem, list(options.files(options.SWEEP)))
        raise ConfigError(
            f"sweep={name}: no such file.{hint} Allowed: the path of a file NAME.yaml, or a sweep's name."
        )
    if not _SWEEP_NAME.fullmatch(path.stem):
        allowed = "NAME.yaml of letters, digits, _ and -, a letter first"
        raise ConfigError(f"sweep={name}: the file's name is the sweep's. Allowed: {allowed}.")
    if path.stem in _TAKEN:
        raise ConfigError(
            f"sweep={name}: the file's name is the sweep's, and sweep={path.stem} is no file's. Allowed: another name."
        )
    known = options.files(options.SWEEP).get(path.stem)
    if known is None or not known.samefile(path):
        sweeps.append(path)
    return path.stem
