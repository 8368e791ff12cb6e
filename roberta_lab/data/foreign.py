"""Read small files that others made: regular ones of a limited size, without waiting for what never comes."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from roberta_lab.config import ConfigError
from roberta_lab.config.formatting import in_bytes

NO_JSON = (ValueError, RecursionError)  # what json raises of a text that is no JSON, or is nested too deeply
MOST_BYTES = 1 << 28  # of a file that is read as a whole: 20 times the largest published tokenizer.json
_KINDS = (
    *((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket")),
    *((stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device")),
)


def expect_regular(path: Path, what: str = "a file") -> int:
    """Return the bytes of a regular file, to which links may lead. Raises ConfigError for anything else, without opening it.

    A pipe or a device would be read for ever; files of /proc have no size.
    """
    try:
        status = path.stat()
    except OSError as error:
        said = "a link that leads nowhere" if path.is_symlink() else error.strerror or type(error).__name__
        raise ConfigError(f"{path}: {said}. Allowed: {what}.") from None
    except ValueError:
        raise ConfigError(f"{str(path)!r}: no path. Allowed: {what}.") from None
    if kind := special(path, status):
        raise ConfigError(f"{path}: this is {kind}. Allowed: {what}.")
    return status.st_size


def special(path: Path, status: os.stat_result) -> str:
    """Return what a path is that is not read like a file, in words; nothing for a regular file."""
    named = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "")
    is_of_kernel = status.st_size == 0 and os.path.realpath(path).startswith(("/proc/", "/sys/"))
    return named or ("a file of the system, without a size" if is_of_kernel else "")


def text_of(path: Path, most: int = MOST_BYTES) -> str:
    """Return the text of a file in UTF-8. Raises ConfigError if it is no regular file, larger than `most` bytes, or no text."""
    size = expect_regular(path)
    if size > most:
        raise ConfigError(f"{path}: {in_bytes(size)}. Allowed: a file of at most {in_bytes(most)}.")
    try:
        with open(path, "rb") as file:
            return file.read(most + 1).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name} cannot be read: not UTF-8 (byte {error.start}: {error.reason}).") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None


def json_of(path: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """Return the object in a JSON file. Raises ConfigError as `text_of` does, and for what is no JSON object."""
    try:
        found = json.loads(text_of(path, most))
    except RecursionError:
        raise ConfigError(f"{path.name} cannot be read: it is nested too deeply.") from None
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path.name} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path.name} is no JSON object.")
    return found
