"""Overrides: what people type after a command. Hydra's own parser makes objects of them once; `texts` makes words again."""

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString, Sweep
from hydra.core.override_parser.types import Override as Override
from hydra.errors import HydraException

from roberta_lab.config import Config, ConfigError, DataMixConfig, nearest, secrets
from roberta_lab.runs import known_words
from roberta_lab.runs.options import groups

# Keys that hold a path (* is any name): what stands behind the equals sign is taken as it is, whatever Hydra's grammar makes of
# its characters. The places of config, `--config-dir` and `sweep=`, are in `runs/outside.py`.
PATHS = (
    *("data_mix.*.path", "data_mix.sources.*.path", "task.path", "task.files.*", "tokenizer.path", "pretrained.path"),
    *(
        "paths.outputs",
        "paths.cache",
        "paths.local",
        "export.path",
        "predict.file",
        "predict.output",
        "plan.output",
        "diff.output",
        "predict.figure",
    ),
)
_PATH = re.compile(
    r"(\+{0,2}(?:" + "|".join(re.escape(key).replace(r"\*", r"\w+") for key in PATHS) + "))=(.+)", re.DOTALL
)
_TEXT = "predict.text="
_RUNS_KEY = "table.runs="
_RUNS = re.compile(rf"{re.escape(_RUNS_KEY)}\[([^'\"]+)\]")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)  # a text in Hydra's quotes
_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)  # what means the same to Hydra without quotes, in a list
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*( [\w./-]+)*", re.ASCII)  # and alone
_RESERVED = ("null", "true", "false", "nan", "inf")
_TASK_KEY = re.compile(r"task\.(files|columns)\.\w+=")
_SOURCE_KEY = re.compile(r"\+{0,2}data_mix\.(\w+)(?:\.|=\{)")


def parse(words: Iterable[str]) -> tuple[Override, ...]:
    """Return the overrides that words stand for, short forms spelled out. Raises ConfigError for a word that is none."""
    return tuple(_parsed(_spelled_out(word)) for word in words)


@lru_cache(maxsize=1 << 14)
def _parsed(word: str) -> Override:
    if ("=" not in word.removeprefix("~") and not word.startswith("~")) or word.startswith("="):
        raise ConfigError(f"{word}: no override. Allowed: key=value, without blanks around the equals sign.")
    try:
        return _parser().parse_override(word)
    except (HydraException, RecursionError) as error:
        raise ConfigError(f"{word}: no override ({str(error).splitlines()[0]}). Allowed: key=value.") from None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def expect_unmasked(overrides: Iterable[Override]) -> None:
    """Raise ConfigError for an override from which a secret was taken: as it stands it would mean another thing.

    A text to predict may have any characters.
    """
    for override in overrides:
        if secrets.MASK in (word := override.input_line or "") and not word.startswith(_TEXT):
            raise ConfigError(f"{word}: *** stands for a secret, which was not kept. Allowed: the secret itself.")


def assign(key: str, value: object) -> Override:
    """Return the override `key=value`; a text or the texts of a list are quoted where Hydra's grammar needs it."""
    if isinstance(value, list | tuple):
        return _parsed(f"{key}=[{','.join(_in_grammar(part, _NAME) for part in value)}]")
    return _parsed(f"{key}={_in_grammar(value, _PLAIN)}")


def _in_grammar(value: object, plain: re.Pattern[str]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and (value.lower() in _RESERVED or not plain.fullmatch(value)):
        return _quoted(value)
    return str(value)


def texts(overrides: Iterable[Override]) -> list[str]:
    """Return the overrides as words again, for Hydra and for a shell."""
    return [override.input_line or "" for override in overrides]


def _spelled_out(word: str) -> str:
    """Return the word that Hydra knows for a short form; any other word as it is.

    Short forms: `data_mix.NAME.key=`, which sets or adds a source of the mix; a task's files and columns; `predict.text=TEXT`;
    a path (`PATHS`); `table.runs=[ID,ID]`.
    """
    fields = fields_of(DataMixConfig)
    if found := _RUNS.fullmatch(word):  # an id may look like a number
        return f"{_RUNS_KEY}[{','.join(_quoted(run.strip()) for run in found[1].split(','))}]"
    if found := _PATH.fullmatch(word):
        word = f"{found[1]}={_as_it_is(found[2])}"
    if word.startswith(_TEXT):
        return _TEXT + _quoted_text(word.removeprefix(_TEXT))
    name = word.removeprefix("~data_mix.")
    if name != word and name.isidentifier() and name not in fields:
        return f"~data_mix.sources.{name}"
    if _TASK_KEY.match(word):
        return f"++{word}"
    found = _SOURCE_KEY.match(word)
    if found is None or (found[1] in fields and found[1] != "sources"):
        return word
    return f"++data_mix.sources.{word[found.start(1) :].removeprefix('sources.')}"


def _quoted_text(text: str) -> str:
    """Return running text, whose commas, quotes and brackets mean nothing, as one string; strings and lists as they are."""
    if text.startswith(("[", "'", '"')) or text == "null":
        try:
            _parser().parse_override(_TEXT + text)
            return text
        except HydraException:
            pass
    return _quoted(re.sub(r"(\\*)\$\{", r"\1\1\\${", text))  # what OmegaConf would look up


def _as_it_is(path: str) -> str:
    """Return a path as Hydra reads it as one text: quoted, unless it is no other text to Hydra without that.

    Three things keep their meaning: a text in quotes, which is how commands are shown; null; choice(A,B), several paths.
    """
    with suppress(HydraException):
        value = _parser().parse_override(f"path={path}").value()
        if (
            value in (None, path)
            or _QUOTED.fullmatch(path)
            or (isinstance(value, ChoiceSweep) and not value.simple_form)
        ):
            return path
    return _quoted(path)


def unquoted(text: str) -> str:
    """Return what a text in Hydra's quotes says; any other text as it is."""
    with suppress(HydraException):
        return str(_parser().parse_override(f"key={text}").value()) if _QUOTED.fullmatch(text) else text
    return text


def _quoted(text: str) -> str:
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"


def room(override: Override) -> str:
    """Return the group, or the first part of the key, that an override is about: `masking` of `masking.mask_prob=0.2`."""
    return re.split(r"[./]", override.key_or_group)[0]


def value_text(override: Override) -> str:
    """Return what stands behind the equals sign."""
    return (override.input_line or "").partition("=")[2]


def sweep_names(overrides: Iterable[Override]) -> list[str]:
    """Return the names in `sweep=NAME`, `sweep=A,B` and `sweep=[A,B]`; none for `sweep=null`."""
    values = [value_text(o) for o in overrides if o.key_or_group == "sweep"]
    if not values or values[-1] == "null":
        return []
    return [name.strip() for name in values[-1].strip("[]").split(",")]


def same_value(override: Override, other: Override) -> bool:
    """Return whether two overrides set the same key to the same value: 1e-5 is 1.0e-5."""
    return override.key_or_group == other.key_or_group and override.value() == other.value()


def without(overrides: Iterable[Override], *keys: str) -> list[Override]:
    """Return the overrides of other keys. A key without a dot stands for its whole group, or for all keys below it."""

    def is_meant(override: Override) -> bool:
        name = override.key_or_group
        return any(name == key or name.startswith((f"{key}.", f"{key}/")) for key in keys)

    return [override for override in overrides if not is_meant(override)]


def without_sweep(overrides: Iterable[Override]) -> list[Override]:
    """Return the overrides without those of the sweep and of Hydra: what says which run is meant, and where options lie."""
    return [o for o in without(overrides, "sweep") if room(o) != "hydra" or o.key_or_group == "hydra.searchpath"]


def check_names(overrides: Iterable[Override]) -> None:
    """Raise ConfigError for the first override whose group, option or key does not exist; composing checks the values."""
    options = groups()
    for override in overrides:
        if room(override) == "hydra":
            continue
        if override.key_or_group in options:
            _check_options(override, options[override.key_or_group])
        else:
            check_key(override.key_or_group)


def _check_options(override: Override, allowed: list[str]) -> None:
    if override.value() is None and not override.is_delete():  # which Hydra does not take
        raise ConfigError(f"{override.input_line}: no option. Allowed: {', '.join(allowed)}, or to leave it out.")
    for option in _options(override):
        if option not in allowed:
            group = override.key_or_group
            hint = known_words.of_number(group, option) or nearest(option, allowed)
            names = ", ".join(allowed) or f"none here; those of DIR/{group}/ with --config-dir DIR"
            raise ConfigError(f"{group}={option}: no such option.{hint} Allowed: {names}.")


def _options(override: Override) -> Iterator[str]:
    """Yield the options that an override of a group names, as far as they can be told before composing."""
    value = override.value()
    if isinstance(value, ChoiceSweep) and value.simple_form:
        for part in value.list:
            yield part.text if isinstance(part, QuotedString) else str(part)
    elif not isinstance(value, Sweep | list | dict) and value is not None and "${" not in str(value):
        yield str(value)


def check_key(key: str) -> None:
    """Raise ConfigError for a key that the schema does not have."""
    node: Any = Config
    walked: list[str] = []
    for part in key.split("."):
        if not dataclasses.is_dataclass(node):
            return  # inside a dict or a list: the type check of the composed config speaks
        fields = fields_of(node if isinstance(node, type) else type(node))
        if part not in fields:
            where = f" in '{'.'.join(walked)}'" if walked else ""
            hint = nearest(part, list(fields))
            if (said := known_words.meaning(part)) and not (walked and hint):
                raise ConfigError(f"{key}: no key '{part}'{where}.{said}")
            raise ConfigError(f"{key}: no key '{part}'{where}.{hint} Allowed: {', '.join(fields)}.")
        node = fields[part]
        walked.append(part)


@cache
def fields_of(schema: type[Any]) -> dict[str, Any]:
    """Return the type of each field; of a union, its dataclass. The keys of a dictionary are the user's."""

    def node(hint: Any) -> Any:
        alternatives = () if typing.get_origin(hint) is dict else typing.get_args(hint)
        return next(filter(dataclasses.is_dataclass, alternatives), hint)

    return {name: node(hint) for name, hint in typing.get_type_hints(schema).items()}
