"""What tests composed before with the same overrides, of the same files, is not composed again: not in this process.

Hydra composes each job of a multirun twice, once when the sweeper checks it and once when the launcher starts it; and the tests
of a file ask for the same jobs. Composing takes a sixth of a second, a copy one millisecond. What is composed for the first
time takes its files from those read before, Hydra makes the map of choices, a sixth of the work, only where a default names
one, and trees are copied by pickling them, which is eight times as fast as how OmegaConf copies them.
"""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.utils import JobRuntime
from omegaconf import DictConfig, OmegaConf, flag_override

from roberta_lab.config import Config
from roberta_lab.runs import compose, options

KEPT = 1000  # trees of 20 kB: what a few files of tests share

_composed: dict[str, bytes] = {}
_typed: dict[str, bytes] = {}
_read: dict[tuple[str, int, int, int], bytes] = {}
_classes: dict[int, type] = {}


class Pickler(pickle.Pickler):
    """Keeps classes themselves, not their names: Hydra may load a plugin again, and then two have one name."""

    def reducer_override(self, value: Any) -> Any:
        """Return how to make a class again; all else is pickled as usual."""
        if not isinstance(value, type):
            return NotImplemented
        _classes[id(value)] = value
        return _class, (id(value),)


def _class(number: int) -> type:
    return _classes[number]


def _pickled(value: object) -> bytes:
    file = io.BytesIO()
    Pickler(file).dump(value)
    return file.getvalue()


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Hydra take a copy of what it composed before."""
    compose_all = ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(
        ConfigLoaderImpl, "load_configuration", lambda *given, **named: _once(compose_all, *given, **named)
    )
    typed, load, choices = compose.typed_config, OmegaConf.load, defaults_list._create_interpolation_map
    monkeypatch.setattr(compose, "typed_config", lambda tree: _typed_once(typed, tree))
    monkeypatch.setattr(OmegaConf, "load", lambda file: _loaded(load, file))
    of_library = DictConfig.__deepcopy__
    monkeypatch.setattr(DictConfig, "__deepcopy__", lambda tree, memo: _copied(of_library, tree, memo))

    def map_of_choices(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig | None:
        is_read = any(default.is_interpolation() for default in defaults)
        return choices(overrides, defaults, self_added) if is_read else None

    monkeypatch.setattr(defaults_list, "_create_interpolation_map", map_of_choices)


def _loaded(load: Callable[[Any], Any], file: Any) -> Any:
    """Return the tree of a file, given by its path or open at its start."""
    path = Path(getattr(file, "name", file))
    if not path.is_file():
        return load(file)
    key = _state(path)
    if key not in _read:
        _read[key] = _pickled(load(file))
    return pickle.loads(_read[key])


def _copied(of_library: Callable[..., DictConfig], tree: DictConfig, memo: dict[int, Any]) -> DictConfig:
    """Return a deep copy, below the same parent; of what cannot be pickled, as OmegaConf makes it."""
    parent = tree.__dict__["_parent"]
    tree.__dict__["_parent"] = None
    try:
        made: DictConfig = pickle.loads(_pickled(tree))
    except (pickle.PicklingError, AttributeError, TypeError):
        return of_library(tree, memo)
    finally:
        tree.__dict__["_parent"] = parent
    made.__dict__["_parent"] = parent
    return made


def _once(real: Callable[..., DictConfig], loader: ConfigLoaderImpl, *given: Any, **named: Any) -> DictConfig:
    path = [(place.provider, place.path) for place in loader.config_search_path.get_path()]
    key = repr((path, _files(), JobRuntime.instance().get("name"), given, sorted(named.items())))
    if key not in _composed:
        _keep(_composed, key, real(loader, *given, **named))
    made: DictConfig = pickle.loads(_composed[key])
    with flag_override(made.hydra, ["readonly", "struct"], False):
        made.hydra.runtime.cwd = os.getcwd()
    return made


def _typed_once(real: Callable[[DictConfig], Config], tree: DictConfig) -> Config:
    """Return the typed config of a tree; what Hydra says of its own job changes nothing."""
    plain = {name: value for name, value in OmegaConf.to_container(tree, resolve=False).items() if name != "hydra"}  # type: ignore[union-attr]
    key = repr((os.getcwd(), plain))
    if key not in _typed:
        _keep(_typed, key, real(tree))
    found: Config = pickle.loads(_typed[key])
    return found


def _keep(kept: dict[str, bytes], key: str, value: object) -> None:
    kept[key] = _pickled(value)
    while len(kept) > KEPT:
        del kept[next(iter(kept))]


def _files() -> list[tuple[str, int, int, int]]:
    """The files that a test may change, sweeps and all that lies outside the package, as they are now."""
    outside = [path for folder in options.outside().folders for path in sorted(folder.rglob("*"))]
    return [_state(path) for path in (*options.files(options.SWEEP).values(), *outside) if path.exists()]


def _state(path: Path) -> tuple[str, int, int, int]:
    state = path.stat()
    return str(path), state.st_ino, state.st_mtime_ns, state.st_size
