"""Files and folders that are whole or absent, whoever is killed meanwhile: atomic writes, locks, and ids of values."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """Yield a new file beside `path`, which takes its place when the block ends; after an error nothing has changed.

    Args:
        durable: wait until the disk has the bytes and the name, so that a loss of power cannot take them.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a whole file atomically; a file that already holds the content is left alone."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return
    with replacing(path, durable) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically and durably."""
    write(path, json.dumps(value, indent=2, sort_keys=True) + "\n", durable=True)


def read_json(path: Path) -> Any:
    """Return the value of a JSON file. Raises OSError and ValueError."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place when the block ends; after an error nothing has changed."""
    beside, before = (folder.with_name(f".{folder.name}.{os.getpid()}{end}") for end in ("", ".before"))
    shutil.rmtree(beside, ignore_errors=True)  # of a killed process with the same number
    try:
        beside.mkdir(parents=True)
        yield beside
        if folder.exists():
            os.replace(folder, before)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if before.exists() and not folder.exists():
            os.replace(before, folder)
        shutil.rmtree(before, ignore_errors=True)


def digest(values: Mapping[str, Any], digits: int = 12) -> str:
    """Return the first hex digits of the SHA-256 of the values; equal values give equal ids, on every machine."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:digits]


@contextmanager
def locked(path: Path, seconds: float = -1) -> Iterator[None]:
    """Hold the lock of a file. It goes with the process, so that of a dead one is free.

    Args:
        seconds: how long to wait for another process that holds it; -1: as long as it takes.

    Raises: TimeoutError (filelock's Timeout).
    """
    lock = FileLock(path)
    lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()


__all__ = [
    "Timeout",
    "digest",
    "locked",
    "read_json",
    "replacing",
    "replacing_folder",
    "sync_folder",
    "write",
    "write_json",
]
