"""The SHA-256 of files: a process reads a file once, and remembers what it found while size and time of change stay the same."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

YOUNG_SECONDS = 2.0  # a younger file could change again within its time stamp's resolution
_known: dict[tuple[int, ...], str] = {}  # file, size, time of change -> SHA-256


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read once in a process unless it changes. Raises OSError."""
    with open(path, "rb") as file:
        key = _key(path)
        found = _known.get(key) or hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - path.stat().st_mtime > YOUNG_SECONDS and _key(path) == key:
            _known[key] = found
    return found


def hashes_of(*paths: Path) -> dict[tuple[int, ...], str]:
    """Return the SHA-256 of files that are old enough to keep it, for `learn` in another process of this machine."""
    for path in paths:
        sha256_of(path)
    return {key: found for path in paths if (found := _known.get(key := _key(path)))}


def forget() -> None:
    """Forget the hashes of all files: the next call of each reads it."""
    _known.clear()


def learn(found: Mapping[tuple[int, ...], str]) -> None:
    """Take the hashes that another process has found by `hashes_of`, so that this one does not read the files again."""
    _known.update(found)


def _key(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
