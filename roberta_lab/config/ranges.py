"""What a setting may be, declared beside its field in the schema and checked in one place.

Beside what a field declares, every number is finite and at most `LARGEST` or `LARGEST_FLOAT`, and no text has control characters or is longer
than `LONGEST`.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from omegaconf import MISSING

from roberta_lab.config.errors import ConfigError, nearest
from roberta_lab.config.paths import URL, wrong_path

LARGEST = 2**53  # of whole numbers: what JSON and float64 hold exactly
LARGEST_FLOAT = 3e38  # what float32 holds
LONGEST = 4096  # characters of a text
MOST = 10_000  # values of a list
LONGEST_NAME = 100  # bytes of a name: files are called after it
_NAME = re.compile(r"[\w+][\w.+=-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may have; `null`, where its type allows it, is always fine."""

    words: str  # for the message: `1 or more`
    holds: Callable[[float], bool]

    def wrong(self, key: str, value: Any) -> str:
        """Return what is wrong with a value of a key, and what is allowed; nothing if it is fine."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return f"{key}={value}: allowed is {self.words}."
        if isinstance(value, int) and abs(value) > LARGEST:
            return f"{key}: too large, a number of {_digits(value)} digits; allowed is {self.words}, up to 2**53."
        if not math.isfinite(value) or not self.holds(value) or (value == 0 and math.copysign(1, value) < 0):
            return f"{key}={value}: allowed is {self.words}."
        if abs(value) > LARGEST_FLOAT:
            return f"{key}={value}: too large; allowed is {self.words}, up to {LARGEST_FLOAT:g}."
        return ""


@dataclass(frozen=True)
class Choice:
    """The names that a setting may have."""

    names: tuple[str, ...]

    def wrong(self, key: str, value: Any) -> str:
        """Return what is wrong with a value of a key, and what is allowed; nothing if it is fine."""
        if value in self.names:
            return ""
        return f"{key}={value}: unknown.{nearest(str(value), list(self.names))} Allowed: {', '.join(self.names)}."


@dataclass(frozen=True)
class Text:
    """The texts that a setting may have; `why_not` returns what is wrong with one, or nothing."""

    words: str
    why_not: Callable[[str], str]

    def wrong(self, key: str, value: Any) -> str:
        """Return what is wrong with a value of a key, and what is allowed; nothing if it is fine."""
        reason = self.why_not(value) if isinstance(value, str) else f"a {type(value).__name__}"
        return f"{key}={_shown(value)}: {reason}; allowed is {self.words}." if reason else ""


Allowed: TypeAlias = Range | Choice | Text


def _ill_formed(text: str) -> str:
    if found := _CONTROL.search(text):
        return f"it has the control character U+{ord(found[0]):04X}"
    return f"too long, {len(text):,} characters" if len(text) > LONGEST else ""


def _no_name(text: str) -> str:
    if len(text.encode(errors="surrogatepass")) > LONGEST_NAME:
        return f"too long, {len(text)} characters"
    return "" if _NAME.fullmatch(text) and ".." not in text else "this is no name"


def _unlike(pattern: str, text: str) -> str:
    return "" if len(text) <= LONGEST_NAME and re.fullmatch(pattern, text) else "it is none"


def _no_label(text: str) -> str:
    if not text.strip() or len(text.encode(errors="surrogatepass")) > LONGEST_NAME:
        return f"{len(text)} characters"
    return "" if text.isprintable() and not {*text} & {*"/\\"} else "this is no name"


# a name stands in names of files and folders; a label is shown, and files are called after a part of it
NAME = Text(f"a name of letters, digits and _.+=-, at most {LONGEST_NAME}, without ..", _no_name)
LABEL = Text(f"a name without slashes and control characters, of 1 to {LONGEST_NAME} bytes", _no_label)
PATH = Text("a path, each part of at most 255 bytes", lambda text: _ill_formed(text) or wrong_path(text))
PATH_OR_URL = Text(
    "a path, each part of at most 255 bytes, or a URL",
    lambda text: _ill_formed(text) or ("" if URL.match(text) else wrong_path(text)),
)
ANY_TEXT = {"allowed": Text("a text or a list of texts", lambda text: "")}  # of a field whose texts are data
# of options of sbatch, which takes `=`, and lines of a script, which a blank or a line feed would end
SLURM_WORD = {"allowed": Text("a word as SLURM knows it", lambda text: _unlike(r"[\w.,:|&*()\[\]/@+-]+", text))}
SLURM_TIME = {
    "allowed": Text(
        "a time limit as SLURM writes it: 90 (minutes), 1:30:00, 2-12:00:00",
        lambda text: _unlike(r"[1-9]\d*|\d+(:[0-5]\d){1,2}|\d+-\d+(:[0-5]\d){0,2}", text),
    )
}
EACH_SLURM_LINE = {
    "allowed": Text("an option of sbatch: --qos=long", lambda text: _unlike(r"--[a-z][\w-]*(=[^\s\x00-\x1f]+)?", text))
}
_PLAIN = Text(f"a text without control characters, of at most {LONGEST:,} characters", _ill_formed)
_ABOVE_ZERO = Range("more than 0", lambda number: number > 0)
EACH_ABOVE_ZERO = {"allowed": _ABOVE_ZERO}  # of a field that is a dict of numbers
SEED = {"allowed": Range("0 or more", lambda number: number >= 0)}  # of a field that is a list of seeds
EACH_NAME = {"allowed": NAME}  # of a field that is a list of names
NAMED = {"named": LABEL}  # of a field that is a dict: what its keys may be
BY_NAME = {"named": NAME}  # the same, where files are called after the keys


def at_least(least: float, default: Any = MISSING, null: str = "") -> Any:
    """Declare a field for numbers from `least` on; `null` says what null means, where it is allowed."""
    return _number(default, null, f"{least:,} or more", lambda number: number >= least)


def between(least: float, most: float, default: Any = MISSING, null: str = "", why: str = "") -> Any:
    """Declare a field for numbers from `least` to `most`, both included; `why` says what sets the limit."""
    words = f"{least:,} to {most:,}" + (f" ({why})" if why else "")
    return _number(default, null, words, lambda number: least <= number <= most)


def above_zero(default: Any = MISSING, null: str = "") -> Any:
    """Declare a field for numbers above 0."""
    return _number(default, null, _ABOVE_ZERO.words, _ABOVE_ZERO.holds)


def share(default: Any = MISSING, null: str = "") -> Any:
    """Declare a field for a share that is not nothing: more than 0, and up to 1."""
    return _number(default, null, "more than 0 and up to 1", lambda part: 0 < part <= 1)


def below_one(default: Any = MISSING) -> Any:
    """Declare a field for a share: from 0 on, and less than 1."""
    return _number(default, "", "0 or more and less than 1", lambda part: 0 <= part < 1)


def one_of(*names: str, default: Any = MISSING) -> Any:
    """Declare a field for one of these names."""
    return field(default=default, metadata={"allowed": Choice(names)})


def name(default: Any = MISSING) -> Any:
    """Declare a field for a name, after which files may be called."""
    return field(default=default, metadata={"allowed": NAME})


def path(default: Any = MISSING) -> Any:
    """Declare a field for a path."""
    return field(default=default, metadata={"allowed": PATH})


def path_or_url(default: Any = MISSING) -> Any:
    """Declare a field for a path or a URL."""
    return field(default=default, metadata={"allowed": PATH_OR_URL})


def _number(default: Any, null: str, words: str, holds: Callable[[float], bool]) -> Any:
    allowed = Range(words + (f", or null for {null}" if null else ""), holds)
    return field(default=default, metadata={"allowed": allowed})


def check(node: Any, path: str = "") -> None:
    """Raise ConfigError for the first setting of a config, or of a part of it, that is not what its field declares.

    `node` is an instance of a dataclass of the schema, `path` the key of the part for the message.
    """
    for declared in dataclasses.fields(node):
        value, key = getattr(node, declared.name), f"{path}.{declared.name}".lstrip(".")
        named: Allowed = declared.metadata.get("named", _PLAIN)
        for own in value if isinstance(value, dict) else ():
            _expect(named, key, str(own))
        for own, one in _parts(key, value):
            if dataclasses.is_dataclass(one):
                if not isinstance(value, dict):  # else its key is one of the user's, and `compose` names it
                    check(one, own)
            elif one is not None:
                _expect(declared.metadata.get("allowed") or _usual(one), own, one)


def _parts(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a value, or all values in lists and dicts, each with its key."""
    if isinstance(value, list) and len(value) > MOST:
        raise ConfigError(f"{key}: {len(value):,} values. Allowed: at most {MOST:,}.")
    if isinstance(value, dict):
        for own, part in value.items():
            yield from _parts(f"{key}.{own}", part)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _parts(f"{key}[{number}]", part)
    else:
        yield key, value


def _usual(value: Any) -> Allowed | None:
    """Return what is allowed of a value whose field declares nothing."""
    if isinstance(value, str):
        return _PLAIN
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Range("a finite number", lambda number: True) if is_number else None


def _expect(allowed: Allowed | None, key: str, value: Any) -> None:
    if allowed is not None and (wrong := allowed.wrong(key, value)):
        raise ConfigError(wrong)


def _digits(value: int) -> int:
    return abs(value).bit_length() * 30103 // 100000 + 1  # Python prints no number of thousands of digits


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."
