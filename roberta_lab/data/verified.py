"""Notice damage: every file that this program wrote is compared with its hash when it is opened.

A folder that is made has one `hashes.json`, with name, size and SHA-256 of each of its files, written last. It seals itself, as
do single files: JSON by a key `sha256`, others by bytes at their end. Folders of older code have no hashes: they are read with one note.
"""

import functools
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from roberta_lab.config import Damaged
from roberta_lab.config.console import say, say_once
from roberta_lab.data import network_files
from roberta_lab.data.file_hashes import YOUNG_SECONDS, sha256_of
from roberta_lab.data.foreign import NO_JSON, special
from roberta_lab.data.storage import write_json

HASHES = "hashes.json"
MANIFEST = "manifest.json"  # of folders of the cache, also those of older code
SEAL = "sha256"  # the key of a JSON file that seals it
LEVELS = 3  # of folders above a file, of which one has its hash

Entry = tuple[int, str]  # size in bytes, SHA-256


# ---------------------------------------------------------------- folders
def seal(folder: Path, only: tuple[str, ...] = ("",), coming: Mapping[str, bytes] = MappingProxyType({})) -> None:
    """Write the hashes of a folder's files, and of those that are written next; a hash that it has stays as it is.

    So what was damaged before stays damaged. Only files have one whose names begin with one of `only`, none that are hidden.
    Raises Damaged for hashes that cannot be read.
    """
    earlier = entries_of(folder) or {}
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = (file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))
    chosen = [name for name in names if name.startswith(only) and name != HASHES]
    found = {name: earlier.get(name) or _entry(folder / name) for name in chosen}
    for place in {(folder / name).parent for name in found}:
        network_files.sync(place)
    found |= {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in coming.items()}
    entries = {name: {"size": size, "sha256": sha256} for name, (size, sha256) in sorted({**earlier, **found}.items())}
    write_json(folder / HASHES, sealed({"files": entries}))


def _entry(path: Path) -> Entry:
    """Return the entry of a file, once the disk has it: a loss of power may not leave its hash alone."""
    network_files.sync(path)
    return path.stat().st_size, sha256_of(path)


def entries_of(folder: Path) -> Mapping[str, Entry] | None:
    """Return the hashes of a folder's files; None in one of older code. Raises Damaged."""
    path = folder / HASHES
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if time.time() - stat.st_mtime < YOUNG_SECONDS:
        return _parsed.__wrapped__(path)
    return _parsed(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=1 << 12)
def _parsed(path: Path, *stat: int) -> Mapping[str, Entry]:
    found = read_sealed(path, way_out(path))
    if SEAL not in found:
        raise Damaged.at(path, "has no seal: it was changed", way_out(path))
    try:
        entries = {_inside(name): (entry["size"], entry["sha256"]) for name, entry in found["files"].items()}
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise Damaged.at(path, f"is damaged: {type(error).__name__}: {error}", way_out(path)) from None
    return entries


def _inside(name: str) -> str:
    """Return the name of a file below its folder. Raises ValueError for one that could lead out of it, or to no file."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or "\0" in name:
        raise ValueError(f"{name!r} is no file of the folder")
    return name


def way_out(file: Path) -> str:
    """Return what to do about a damaged file of a made folder."""
    made = [folder for folder in [*file.parents][:LEVELS] if (folder / HASHES).exists() or (folder / MANIFEST).exists()]
    folder = made[-1] if made else file.parent
    if (folder / "overrides.yaml").exists() or (folder / "provenance.json").exists():  # a run's
        result = folder / "result.json"
        what = f"it and {result}" if result.exists() and file != result else "it"
        return f"delete {what}, and the same command goes on from the last checkpoint, or from the start without one"
    return f"delete the folder {folder}, and the same command makes it again"


# ---------------------------------------------------------------- checks
def size_of(path: Path, how: str = "") -> int:
    """Return the bytes of a file, before it is opened: a pipe or a device would be read for ever.

    `how` is the way out. Raises Damaged for what is no regular file, OSError.
    """
    status = path.stat()
    if kind := special(path, status):
        raise Damaged.at(path, f"is {kind} in place of a file", how or way_out(path))
    return status.st_size


def check(path: Path) -> Path:
    """Return a file of a made folder, once its bytes are those that were written. Raises Damaged, FileNotFoundError."""
    for folder in [*path.parents][:LEVELS]:
        entries = entries_of(folder)
        if entries is not None:
            _compare(folder, path, entries.get(path.relative_to(folder).as_posix()))
            break
        if folder.name.startswith("."):  # it is being made
            break
    else:
        note_unverified(path.parent)
    size_of(path)
    return path


def check_folder(folder: Path, leave_out: tuple[str, ...] = (), may_lack: tuple[str, ...] = ()) -> None:
    """Check the files of a folder that has hashes, but those whose names begin with `leave_out`. Raises Damaged.

    Files whose names begin with one of `may_lack` may have been removed.
    """
    entries = entries_of(folder)
    if entries is None:
        note_unverified(folder)
        return
    for name, entry in entries.items():
        is_left_out = name.startswith(leave_out) or (name.startswith(may_lack) and not (folder / name).exists())
        if not is_left_out:
            _compare(folder, folder / name, entry)


def check_sizes(folder: Path) -> None:
    """Check that all files of a folder are there and of their sizes, without reading them. Raises Damaged."""
    for name, (size, _) in (entries_of(folder) or {}).items():
        _compare_size(folder / name, size)


def _compare(folder: Path, path: Path, entry: Entry | None) -> None:
    if entry is None:
        return  # made later, of what is verified
    _compare_size(path, entry[0])
    if sha256_of(path) != entry[1]:
        raise Damaged.at(path, f"is damaged: its SHA-256 is not the one in {folder / HASHES}", way_out(path))


def _compare_size(path: Path, size: int) -> None:
    try:
        found = size_of(path)
    except FileNotFoundError:
        raise Damaged.at(path, "is missing", way_out(path)) from None
    if found != size:
        raise Damaged.at(path, f"is damaged: it has {found:,} bytes of {size:,}", way_out(path))


def note_unverified(path: Path) -> None:
    """Say once that a folder or file has no hashes."""
    say_once(f"{path} is of older code and has no hash: it is read unverified, as are others like it", "no hash")


# ---------------------------------------------------------------- files that seal themselves
def sealed(values: Mapping[str, object]) -> dict[str, Any]:
    """Return values with their seal, to be written as JSON."""
    plain = {name: value for name, value in json.loads(json.dumps(values)).items() if name != SEAL}
    return {**plain, SEAL: _hash_values(plain)}


def _hash_values(values: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_sealed(path: Path, way_out: str) -> dict[str, Any]:
    """Return what a JSON file holds, its seal too, which one of older code lacks. Raises Damaged, OSError."""
    size_of(path, way_out)
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
        is_whole = SEAL not in found or found[SEAL] == _hash_values({k: v for k, v in found.items() if k != SEAL})
    except NO_JSON as error:
        raise Damaged.at(path, f"is damaged: {' '.join(str(error).split())}", way_out) from None
    if not is_whole:
        raise Damaged.at(path, f"is damaged: its {SEAL} is not that of its values", way_out)
    return found


def recall(path: Path, way_out: str = "it is made again") -> dict[str, Any]:
    """Return what `remember` wrote; nothing where there is nothing, or where it is damaged, which is said in a line."""
    try:
        found = read_sealed(path, way_out)
    except Damaged as damage:
        say(str(damage))
        return {}
    except OSError:
        return {}
    found.pop(SEAL, None)
    return found


def remember(path: Path, values: Mapping[str, object]) -> None:
    """Write values for later runs as sealed JSON, in a folder that is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, sealed(values))


# ---------------------------------------------------------------- reading files of made folders
@contextmanager
def readable(path: Path, way_out: str) -> Iterator[None]:
    """Raise Damaged for whatever numpy and json raise of a file that they cannot read, but errors of the system."""
    try:
        yield
    except (OSError, Damaged):
        raise
    except Exception as error:
        raise Damaged.at(path, f"is damaged ({type(error).__name__})", way_out) from None


def load_array(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """Return the array of a file of a made folder. Raises Damaged, FileNotFoundError."""
    with readable(check(path), way_out(path)):
        found: np.ndarray = np.load(path, mmap_mode, allow_pickle=False)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file of a made folder. Raises Damaged, FileNotFoundError."""
    with readable(check(path), way_out(path)):
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise TypeError
    return found
