"""Tests that compose hundreds of jobs: a job that was composed before with the same overrides is not composed again.

Hydra composes each job of a multirun twice, once when the sweeper checks it and once when the launcher starts it.
"""

import copy
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl


@pytest.fixture(scope="module")
def composed() -> dict[Any, Any]:
    """Composed trees by their overrides; a module's tests share them, for they see the same groups and sweeps."""
    return {}


@pytest.fixture
def composing_once(composed: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    real = ConfigLoaderImpl.load_configuration

    def load(self: Any, config_name: str, overrides: list[str], *rest: Any, **named: Any) -> Any:
        path = [(p.provider, p.path) for p in self.config_search_path.get_path()]
        key = repr((path, config_name, overrides, rest, sorted(named.items())))
        if key not in composed:
            composed[key] = real(self, config_name, overrides, *rest, **named)
        return copy.deepcopy(composed[key])

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load)
