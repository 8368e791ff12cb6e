"""Write files and folders that are whole or absent even when a process is killed; make things once; hash values."""

import errno
import fnmatch
import glob
import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeAlias

from roberta_lab.config import ConfigError, Damaged, naming, processes
from roberta_lab.data import claims, network_files

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None


# ---------------------------------------------------------------- atomic writes
_LEFT = re.compile(
    r"\.(?P<name>.+?)\.(?:(?P<machine>[0-9a-f]{8})-)?(?P<pid>[0-9]+)(?:\.before)?"
)  # older code: no machine


REMOVED = ".removed"  # how the name of a hidden folder ends that is being removed
DAY = 86_400.0  # seconds: more than clocks are apart, and than a file takes to be written


def beside(path: Path) -> Path:
    """Return the hidden neighbour of a path that this process fills before it takes the path's place."""
    return path.with_name(f".{path.name}.{processes.this_machine()}-{os.getpid()}")


def sweep(folder: Path, *names: str) -> None:
    """Remove what processes that are gone left half-written of files and folders of these names. Nothing else is touched.

    Names may have wildcards. What was moved aside stays while nothing has taken its place.
    """
    for path in [*folder.glob(".*[0-9e]")]:
        found = _LEFT.fullmatch(path.name)
        if found is None or not any(fnmatch.fnmatchcase(found["name"], name) for name in names):
            continue
        is_needed = path.name.endswith(".before") and not (folder / found["name"]).exists()
        if is_needed or not _is_left(path, found, DAY):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _is_left(path: Path, by: re.Match[str], seconds: float) -> bool:
    """Return whether the process that began a hidden file or folder is gone.

    One of another machine, or of this one before it was started anew, cannot be asked. It is gone where this process has claimed
    the folder, and elsewhere once it has touched nothing for so many seconds.
    """
    if by["machine"] in (None, processes.this_machine()):
        return processes.start_of(int(by["pid"])) is None
    if claims.is_claimed(path.parent):
        return True
    try:
        return network_files.now(path.parent) - path.lstat().st_ctime > seconds
    except FileNotFoundError:
        return False


@contextmanager
def replacing(path: Path, durable: bool = False, size: int | None = None) -> Iterator[IO[bytes]]:
    """Yield a new file beside `path`, which takes its place when the block ends; after an error nothing has changed.

    With `durable`, wait until the disk has the bytes and the name, so that a loss of power cannot take them. `size` are the
    bytes that will be written, if known: an error of the system says them, and the path.
    """
    new = beside(path)
    if durable:
        sweep(path.parent, glob.escape(path.name))
    with naming(path, size, new):
        try:
            with open(new, "wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(new, path)
        finally:
            with suppress(OSError):
                new.unlink()
        if durable:
            network_files.sync(path.parent)


def write(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a whole file atomically; a file that already holds the content is left alone."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        sweep(path.parent, glob.escape(path.name))
        return
    with replacing(path, durable, len(data)) as file:
        file.write(data)


def as_json(value: object) -> str:
    """Return a value as the text of a JSON file."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, atomically and durably."""
    write(path, as_json(value), durable=True)


def finite(value: Json) -> Json:
    """Return the value with null for each NaN and infinity, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(part) for part in value]
    return value


def expect_no_link(folder: Path) -> None:
    """Raise Damaged for a link in place of a folder that is to be replaced: nothing is removed or written where it leads."""
    if folder.is_symlink():
        way_out = "delete the link, or put the folder itself there, and type the same command again"
        raise Damaged.at(folder, f"is a link to {os.readlink(folder)}, and no folder of this program", way_out)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place when the block ends; after an error nothing has changed.

    What is in it and its name are on the disk then. Raises Damaged for a link: who made it may have led it to anything.
    Raises ConfigError for what cannot be renamed.
    """
    expect_no_link(folder)
    new = beside(folder)
    before = new.with_name(f"{new.name}.before")
    if not folder.exists():
        _bring_back(folder)
    shutil.rmtree(new, ignore_errors=True)  # left by a killed process with the same number
    sweep(folder.parent, glob.escape(folder.name))
    with naming(folder, beside=new):
        try:
            new.mkdir(parents=True)
            yield new
            for path in [*new.rglob("*"), new]:
                network_files.sync(path)
            if folder.exists():
                _expect_renamed(folder, before)
            os.replace(new, folder)
            network_files.sync(folder.parent)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            if before.exists() and not folder.exists():
                os.replace(before, folder)
            shutil.rmtree(before, ignore_errors=True)


def _expect_renamed(folder: Path, before: Path) -> None:
    try:
        os.replace(folder, before)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        what = "is where a file system is mounted, and cannot be replaced as a whole"
        raise ConfigError(f"{folder} {what}. Allowed: a folder within it, as {folder / 'new'}.") from None


def _bring_back(folder: Path) -> None:
    """Put a folder back that a process had moved aside when it was killed, before it put the new one in its place.

    That takes a moment, so on another machine too it is no longer at work once clocks that differ cannot explain it.
    """
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.before"):
        found = _LEFT.fullmatch(path.name)
        if found is not None and found["name"] == folder.name and _is_left(path, found, claims.AGREE):
            with suppress(OSError):
                os.replace(path, folder)
            return


def remove_whole(folder: Path) -> None:
    """Remove a folder at once, for whoever looks at its name: no process takes a part of it for the whole.

    It is hidden by a name of its own first. What a killed process left of one of this name goes too. Raises OSError.
    """
    hidden = folder
    if not folder.name.endswith(REMOVED):
        for left in folder.parent.glob(f".{glob.escape(folder.name)}.*{REMOVED}"):
            shutil.rmtree(left, ignore_errors=True)
        hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{REMOVED}")
        os.replace(folder, hidden)
    # NFS keeps a file that is open somewhere: it goes the next time. Another process may remove the same
    with network_files.without(errno.ENOTEMPTY, errno.EBUSY, errno.ENOENT):
        shutil.rmtree(hidden)


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
    with claims.locked(_lock(path), on_wait):
        if path.exists():
            return False
        making = _making(path)
        make(making)
        try:
            os.replace(making, path)
        except OSError as error:
            # a machine of a network may learn late of a name that another one has made: what is there holds the same
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not path.is_dir():
                raise
            shutil.rmtree(making, ignore_errors=True)
            return False
    return True


def shared_folder(path: Path) -> Path | None:
    """Return the folder that many processes may fill before `make_once` makes a whole of it; None once that has begun."""
    making = _making(path)
    if path.exists() or claims.is_held(path.parent, _lock(path).name):
        return None
    making.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return making
    with suppress(OSError):  # since a moment
        making.rmdir()
    return None


def _making(path: Path) -> Path:
    return path.with_name(f".{path.name}.making")


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
