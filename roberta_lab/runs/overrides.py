"""Overrides as people type them: spelled out as Hydra knows them, and checked by name before anything is composed."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterable
from typing import Any

from roberta_lab.config import Config, ConfigError, DataMixConfig, nearest
from roberta_lab.runs.compose import encoder_config
from roberta_lab.runs.options import groups


def key_of(override: str) -> str:
    """`+masking.name=x` -> `masking.name`."""
    return override.lstrip("+~").partition("=")[0]


def without_sweep(overrides: Iterable[str]) -> list[str]:
    """Those that say which run is meant: not of which table, nor how it is launched."""
    return [o for o in overrides if re.split(r"[./]", key_of(o))[0] not in ("sweep", "hydra")]


def spelled_out(overrides: Iterable[str]) -> list[str]:
    """`data_mix.NAME.key=`, which sets or adds a source of the mix, a task's files and columns, and `predict.text=TEXT`, as
    Hydra knows them; other overrides as they are."""
    fields = _fields(DataMixConfig)

    def one(override: str) -> str:
        if override.startswith(_TEXT):
            return _TEXT + _quoted(override.removeprefix(_TEXT))
        name = override.removeprefix("~data_mix.")
        if name != override and name.isidentifier() and name not in fields:
            return f"~data_mix.sources.{name}"
        if _TASK_KEY.match(override):
            return f"++{override}"
        found = _SOURCE_KEY.match(override)
        if found is None or (found[1] in fields and found[1] != "sources"):
            return override
        return f"++data_mix.sources.{override[found.start(1) :].removeprefix('sources.')}"

    return [one(override) for override in overrides]


_TASK_KEY = re.compile(r"task\.(files|columns)\.\w+=")
_SOURCE_KEY = re.compile(r"\+{0,2}data_mix\.(\w+)(?:\.|=\{)")
_TEXT = "predict.text="


def _quoted(text: str) -> str:
    """Running text, whose commas, quotes and brackets mean nothing, as a string of Hydra's; its lists and strings as they are."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if text.startswith(("[", "'", '"')) or text == "null":
        try:
            OverridesParser.create().parse_override(_TEXT + text)
            return text
        except HydraException:
            pass
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # what OmegaConf would look up
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


_NOT_THE_ENCODER_S = ("task", "finetune.init_from", "finetune.save_model", "finetune.submission")


def encoder_overrides(config: Config, overrides: Iterable[str]) -> list[str]:
    """Those that make the run of `finetune.init_from`, with its weights (`composition.encoder_config`), from those of `config`."""
    task = encoder_config(config).task
    kept = [o for o in overrides if not o.lstrip("+~").startswith(_NOT_THE_ENCODER_S)]
    kept.append(f"task={task.name}")
    if task.path:
        kept.append(f"task.path={task.path if re.fullmatch(_PLAIN_PATH, task.path) else _quoted(task.path)}")
    if task.hub is not None and task.hub.revision:
        kept.append(f"task.hub.revision={task.hub.revision}")
    return [*kept, "finetune.save_model=true"]


_PLAIN_PATH = r"[\w./-]+( [\w./-]+)*"  # that means the same to Hydra without quotes


def check_override_names(overrides: list[str]) -> None:
    """Raises ConfigError for the first override whose group, option or key does not exist; values are checked by composing."""
    options = groups()
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key.split(".")[0].split("/")[0].split("@")[0] == "hydra":
            continue
        if key in options:
            _check_options(key, value, options[key])
        else:
            _check_key(key)


def _check_options(group: str, value: str, options: list[str]) -> None:
    if "${" in value or value.startswith(("choice(", "glob(", "[")):
        return
    for option in value.split(","):
        if option not in options and not (group == "sweep" and option == "null"):
            hint = nearest(option, options)
            raise ConfigError(f"{group}={option}: no such option.{hint} Allowed: {', '.join(options)}.")


def _check_key(key: str) -> None:
    node: Any = Config
    walked: list[str] = []
    for part in key.split("."):
        if not dataclasses.is_dataclass(node):
            return  # inside a dict or a list: the type check of the composed config speaks
        fields = _fields(node)
        if part not in fields:
            where = f" in '{'.'.join(walked)}'" if walked else ""
            raise ConfigError(
                f"{key}: no key '{part}'{where}.{nearest(part, list(fields))} Allowed: {', '.join(fields)}."
            )
        node = fields[part]
        walked.append(part)


def _fields(schema: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(schema)
    return {
        f.name: next((t for t in _parts(hints[f.name]) if dataclasses.is_dataclass(t)), hints[f.name])
        for f in dataclasses.fields(schema)
    }


def _parts(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; of a dictionary none, for its keys are the user's."""
    return () if typing.get_origin(hint) is dict else typing.get_args(hint)
