"""Experiments in sweeps: the overrides that an experiment stands for, so that a sweep treats them like typed ones.

Hydra composes a single run's `experiment=NAME` by itself. In a sweep, base, rows, scale and user may set the same things, and
who wins is decided among overrides: so a row with an experiment is the run of the same settings typed out.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from roberta_lab.config import Config, ConfigError
from roberta_lab.runs.options import EXPERIMENT, files
from roberta_lab.runs.overrides import Override, assign, fields_of, parse, value_text
from roberta_lab.runs.search_path import check_option
from roberta_lab.runs.yaml_file import read


def spelled_out(overrides: Iterable[Override]) -> list[Override]:
    """Return the overrides with what their experiment stands for in its place, less what they set themselves."""
    overrides = list(overrides)
    own = {o.key_or_group for o in overrides}
    found = list[Override]()
    for override in overrides:
        name = value_text(override)
        if override.key_or_group != EXPERIMENT:
            found.append(override)
        elif name != "null":
            found += [o for o in _overrides_of(name) if o.key_or_group not in own]
    return found


def _overrides_of(name: str) -> list[Override]:
    """Return the overrides that an experiment stands for; of several with one key, the last. Raises: ConfigError."""
    path = files(EXPERIMENT).get(name)
    if path is None:
        raise ConfigError(f"{EXPERIMENT}={name}: no such experiment. Allowed: {', '.join(files(EXPERIMENT))}.")
    config = read(path)
    check_option(path, EXPERIMENT, config, "_global_")
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    settings = {str(key): value for key, value in values.items() if key not in ("defaults", "hydra")}
    own = list(_of_values(Config, settings))
    found = list[Override]()
    for entry in config.get("defaults", []):
        if entry == "_self_":
            found, own = [*found, *own], []
        elif isinstance(entry, str):
            found += _overrides_of(entry.removeprefix(f"/{EXPERIMENT}/"))
        else:
            found += [_of_default(path, key, option) for key, option in entry.items()]
    return list({o.key_or_group: o for o in [*found, *own]}.values())


def _of_default(path: Path, key: str, option: Any) -> Override:
    group = key.removeprefix("override ").removeprefix("/")
    if not key.startswith("override ") or not isinstance(option, str) or "@" in key:
        allowed = "override /GROUP: OPTION, and names of other experiments"
        raise ConfigError(f"{path}: defaults: {key}: {option}: not in a sweep. Allowed in a sweep: {allowed}.")
    return assign(group, option)


def _of_values(schema: Any, values: dict[str, Any], before: str = "") -> Iterator[Override]:
    """Yield an override for each value; keys that the schema leaves open (a source, a task's file) are set or added."""
    is_open = not dataclasses.is_dataclass(schema)
    for name, value in values.items():
        key = f"{before}{name}"
        if isinstance(value, dict) and value:
            yield from _of_values(None if is_open else fields_of(schema)[name], value, f"{key}.")
        else:
            plus = "++" if is_open else ""
            yield parse([f"{plus}{key}=null"])[0] if value is None else assign(f"{plus}{key}", value)
