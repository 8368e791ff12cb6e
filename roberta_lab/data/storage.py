"""Write files and folders that are whole or absent even when a process is killed; make things once; lock; hash values."""

import hashlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from filelock import FileLock, Timeout

from roberta_lab.config import RunInUse

WAIT_SECONDS = 0.5  # between two looks at what another process holds
Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None


# ---------------------------------------------------------------- atomic writes
@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """Yield a new file beside `path`, which takes its place when the block ends; after an error nothing has changed.

    With `durable`, wait until the disk has the bytes and the name, so that a loss of power cannot take them.
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
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a whole file atomically; a file that already holds the content is left alone."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return
    with replacing(path, durable) as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, atomically and durably."""
    write(path, json.dumps(value, indent=2, sort_keys=True) + "\n", durable=True)


def finite(value: Json) -> Json:
    """Return the value with null for each NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(part) for part in value]
    return value


def read_json(path: Path) -> Any:
    """Return the value of a JSON file. Raise OSError and ValueError."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place when the block ends; after an error nothing has changed."""
    beside, before = (folder.with_name(f".{folder.name}.{os.getpid()}{end}") for end in ("", ".before"))
    shutil.rmtree(beside, ignore_errors=True)  # left by a killed process with the same number
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


# ---------------------------------------------------------------- things that are made once
def digest(values: Mapping[str, object], digits: int = 12) -> str:
    """Return the first hex digits of the SHA-256 of the values; equal values give equal ids, on every machine."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:digits]


def make_once(path: Path, make: Callable[[Path], object], on_wait: Callable[[], object] = lambda: None) -> bool:
    """Make a file or folder unless it is there, and return whether this call made it. Name it by the `digest` of its inputs.

    Processes that start at once make it once; `on_wait` is called before waiting for another one. `make` is called with the
    place to fill, a hidden neighbour of `path` that is renamed at the end; it may hold what a killed attempt has finished.
    """
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock"), on_wait):
        if path.exists():
            return False
        making = path.with_name(f".{path.name}.making")
        make(making)
        os.replace(making, path)
    return True


def recall(path: Path) -> dict[str, Any]:
    """Return what `remember` wrote; an empty dictionary when there is nothing that can be read."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(path: Path, values: Mapping[str, object]) -> None:
    """Write values for later runs as JSON, in a folder that is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values)


# ---------------------------------------------------------------- locks, which end with the process that holds them
@contextmanager
def locked(path: Path, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of a file, after a call of `on_wait` when another process holds it."""
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        held = lock.acquire()
    with held:
        yield


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, and note that in its `owner.json`; raise RunInUse with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "owner.json"

    def refuse() -> None:
        message = f"{folder} is in use by {owner_of(folder)}; wait for it or stop it, then type the same command again."
        raise RunInUse(message) from None

    with locked(folder / ".lock", on_wait=refuse):
        try:
            since = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            write_json(note, {"pid": os.getpid(), "host": socket.gethostname(), "since": since})
            yield
        finally:
            note.unlink(missing_ok=True)


def owner_of(folder: Path) -> str:
    """Return who holds a folder, for the console."""
    owner = recall(folder / "owner.json")
    return "process {pid} on {host} since {since}".format(**owner) if owner else "another process"


def is_held(folder: Path) -> bool:
    """Return whether a live process holds a folder; this one does not count as one."""
    if not (folder / "owner.json").exists():
        return False
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def wait_until_free(folder: Path, say: Callable[[str], object], seconds: float = math.inf) -> bool:
    """Wait while a live process holds a folder, after a line that says so. Return whether there was anything to wait for."""
    if not is_held(folder):
        return False
    say(f"waiting for {owner_of(folder)}, which makes {folder} ...")
    deadline = time.monotonic() + seconds
    while is_held(folder) and time.monotonic() < deadline:
        time.sleep(WAIT_SECONDS)
    return True
