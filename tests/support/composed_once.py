"""What tests composed before with the same overrides, of the same files, is not composed again: not in this process.

Hydra composes each job of a multirun twice, once when the sweeper checks it and once when the launcher starts it; and the tests
of a file ask for the same jobs. Composing takes a fifth of a second, a copy five milliseconds. What is composed for the first
time takes its files from those read before, and Hydra makes the map of choices, a sixth of the work, only where a default
names one.
"""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.utils import JobRuntime
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, flag_override

from roberta_lab.runs import options

KEPT = 300  # trees: what a few files of tests share

_composed: dict[str, DictConfig] = {}
_read: dict[tuple[Any, ...], ConfigResult] = {}


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Hydra take a copy of what it composed before."""
    real = ConfigLoaderImpl.load_configuration
    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", lambda *given, **named: _once(real, *given, **named))
    load, choices = FileConfigSource.load_config, defaults_list._create_interpolation_map
    monkeypatch.setattr(FileConfigSource, "load_config", lambda source, config_path: _loaded(load, source, config_path))

    def map_of_choices(overrides: Any, defaults: list[Any], self_added: bool) -> DictConfig | None:
        is_read = any(default.is_interpolation() for default in defaults)
        return choices(overrides, defaults, self_added) if is_read else None

    monkeypatch.setattr(defaults_list, "_create_interpolation_map", map_of_choices)


def _loaded(load: Callable[..., ConfigResult], source: FileConfigSource, config_path: str) -> ConfigResult:
    path = Path(source.path) / source._normalize_file_name(config_path)
    if not path.is_file():
        return load(source, config_path)
    key = (source.provider, config_path, *_state(path))
    if key not in _read:
        _read[key] = load(source, config_path)
    return copy.deepcopy(_read[key])


def _once(real: Callable[..., DictConfig], loader: ConfigLoaderImpl, *given: Any, **named: Any) -> DictConfig:
    path = [(place.provider, place.path) for place in loader.config_search_path.get_path()]
    key = repr((path, _files(), JobRuntime.instance().get("name"), given, sorted(named.items())))
    if key not in _composed:
        _composed[key] = real(loader, *given, **named)
        while len(_composed) > KEPT:
            del _composed[next(iter(_composed))]
    made = copy.deepcopy(_composed[key])
    with flag_override(made.hydra, ["readonly", "struct"], False):
        made.hydra.runtime.cwd = os.getcwd()
    return made


def _files() -> list[tuple[str, int, int, int]]:
    """The files that a test may change, sweeps and all that lies outside the package, as they are now."""
    outside = [path for folder in options.outside().folders for path in sorted(folder.rglob("*"))]
    return [_state(path) for path in (*options.files(options.SWEEP).values(), *outside) if path.exists()]


def _state(path: Path) -> tuple[str, int, int, int]:
    state = path.stat()
    return str(path), state.st_ino, state.st_mtime_ns, state.st_size
