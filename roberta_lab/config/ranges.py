"""What a setting may be, declared beside its field in the schema and checked in one place."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from roberta_lab.config.errors import ConfigError, nearest


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may have; `null`, where its type allows it, is always fine."""

    words: str  # for the message: `1 or more`
    holds: Callable[[float], bool]


EACH_ABOVE_ZERO = {"allowed": Range("more than 0", lambda number: number > 0)}  # of a field that is a dict of numbers


def at_least(least: int, default: Any = MISSING, null: str = "") -> Any:
    """Declare a field for numbers from `least` on; `null` says what null means, where it is allowed."""
    return _number(default, null, f"{least} or more", lambda number: number >= least)


def above_zero(default: Any = MISSING, null: str = "") -> Any:
    """Declare a field for numbers above 0."""
    return _number(default, null, "more than 0", lambda number: number > 0)


def below_one(default: Any = MISSING) -> Any:
    """Declare a field for a share: from 0 on, and less than 1."""
    return _number(default, "", "0 or more and less than 1", lambda share: 0 <= share < 1)


def one_of(*names: str, default: Any = MISSING) -> Any:
    """Declare a field for one of these names."""
    return field(default=default, metadata={"allowed": names})


def _number(default: Any, null: str, words: str, holds: Callable[[float], bool]) -> Any:
    allowed = Range(words + (f", or null for {null}" if null else ""), holds)
    return field(default=default, metadata={"allowed": allowed})


def check(node: Any, path: str = "") -> None:
    """Raise ConfigError for the first setting of a config, or of a part of it, that is not what its field declares.

    `node` is an instance of a dataclass of the schema, `path` the key of the part for the message.
    """
    for declared in dataclasses.fields(node):
        value, key = getattr(node, declared.name), f"{path}.{declared.name}".lstrip(".")
        allowed = declared.metadata.get("allowed")
        if isinstance(allowed, Range):
            found = {f"{key}.{name}": one for name, one in value.items()} if isinstance(value, dict) else {key: value}
            for own, number in found.items():
                if number is not None and not allowed.holds(number):
                    raise ConfigError(f"{own}={number}: allowed is {allowed.words}.")
        elif allowed is not None and value not in allowed:
            hint = nearest(str(value), list(allowed))
            raise ConfigError(f"{key}={value}: unknown.{hint} Allowed: {', '.join(allowed)}.")
        if dataclasses.is_dataclass(value):
            check(value, key)
        elif isinstance(value, list):
            for number, part in enumerate(value):
                if dataclasses.is_dataclass(part):
                    check(part, f"{key}[{number}]")
