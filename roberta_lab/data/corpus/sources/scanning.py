"""Read the files of a source once: hash their content, by which a corpus is found again, and find where workers may cut them."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

from tqdm import tqdm

from roberta_lab.config import ConfigError, SourceConfig
from roberta_lab.config.later_keys import settings
from roberta_lab.data.corpus.sources.files import COMPRESSIONS, SourceFile, find
from roberta_lab.data.corpus.sources.marks import LONGEST_MARK, encoding_of
from roberta_lab.data.corpus.sources.remote import Place, RemoteFile, opened
from roberta_lab.data.storage import digest
from roberta_lab.data.verified import recall, remember

MEMORY = "file_scans.json"  # in the cache
RANGE_BYTES = 1 << 25  # a larger plain file of JSON lines is read in ranges of about this size
# keys of SourceConfig that do not decide what is read of files
_NOT_IN_DOCUMENTS = ("path", "hub", "stands_for", "licence", "repeats", "weight")
_YOUNG_NS = 2_000_000_000  # a younger file could change again within its time stamp's resolution


class _FileScan(TypedDict):
    sha256: str
    cuts: list[list[int]]  # byte and number of a line, about every RANGE_BYTES


@dataclass(frozen=True)
class Scan:
    """The scan of a source's files: what they hold, and where they may be cut."""

    fingerprint: Mapping[str, object]
    groups: list[tuple[list[SourceFile], int]]  # in order: files that one worker reads, and their bytes


def scan(source: SourceConfig, cache: Path, progress: bool = False) -> Scan:
    """Return what decides the documents of a source: how it is read, and names, sizes and SHA-256 of its files, but no paths.

    The scans are kept in `cache`/file_scans.json under path, size and time of change, so a second call reads no file.
    """
    memory = cache / MEMORY
    remembered, files, pieces = recall(memory), dict[str, object](), list[tuple[SourceFile, int]]()
    known = dict(remembered)
    found = find(source)
    try:
        states = {file: _state(file.path) for file in found}
        total = sum(state.size for state in states.values())
        with tqdm(total=total, unit="B", unit_scale=True, desc="hashing", disable=not progress, delay=2) as bar:
            for file, state in states.items():
                seen: _FileScan = known.get(state.key) or _scan_file(file.path, bar.update)
                if state.is_told:
                    known[state.key] = seen
                compression = file.path.suffix if file.path.suffix in COMPRESSIONS else ""
                files[file.name + compression] = {"bytes": state.size, "sha256": seen["sha256"]}
                can_be_cut = source.kind == "jsonl" and not compression and state.can_be_cut
                if isinstance(file.path, RemoteFile):
                    file = replace(file, path=replace(file.path, sha256=seen["sha256"]))
                else:
                    file = replace(file, scanned=(state.size, state.changed, seen["sha256"]))
                pieces += _pieces(file, state.size, seen["cuts"] if can_be_cut else [])
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from None
    finally:
        if known != remembered:
            remember(memory, known)
    reading = {name: value for name, value in settings(source).items() if name not in _NOT_IN_DOCUMENTS}
    return Scan({"reading": reading, "files": files}, _grouped(pieces))


def keys(source: SourceConfig) -> list[tuple[str, Place, int]]:
    """Return the key of each file's scan in the memory, the file, and its bytes; not of files whose content no key tells.

    Raises ConfigError.
    """
    try:
        states = {file.path: _state(file.path) for file in find(source)}
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from None
    return [(state.key, path, state.size) for path, state in states.items() if state.is_told]


def scan_files(files: Mapping[str, Place]) -> dict[str, _FileScan]:
    """Return the scans of files by their keys, as the memory holds them. Raises ConfigError."""
    try:
        return {key: _scan_file(path, lambda _: None) for key, path in files.items()}
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from None


def _pieces(file: SourceFile, size: int, cuts: list[list[int]]) -> Iterator[tuple[SourceFile, int]]:
    """Yield a file, or the ranges of lines between its cuts, with their sizes in bytes."""
    if not cuts:
        yield file, size
        return
    for (start, line), (end, _) in pairwise([[0, 0], *cuts, [size, 0]]):
        yield replace(file, start=start, end=end, first_line=line), end - start


def _grouped(pieces: list[tuple[SourceFile, int]]) -> list[tuple[list[SourceFile], int]]:
    groups: list[tuple[list[SourceFile], int]] = []
    for piece, size in pieces:
        files, num_bytes = groups.pop() if groups and groups[-1][1] + size <= RANGE_BYTES else ([], 0)
        files.append(piece)
        groups.append((files, num_bytes + size))
    return groups


@dataclass(frozen=True)
class _State:
    """A file as it stands before it is read. `key` changes with its content; it is empty where nothing says that it did."""

    size: int  # bytes
    key: str
    changed: int  # nanoseconds of the clock; 0 where the key says enough
    can_be_cut: bool

    @property
    def is_told(self) -> bool:
        """Return whether the key tells the content: not of a file so young that it could change within the same time of change."""
        return bool(self.key) and time.time_ns() - self.changed > _YOUNG_NS


def _state(path: Place) -> _State:
    if isinstance(path, RemoteFile):
        # of the whole URL, whose secrets must not be written
        key = f"{digest({'url': path.url}, 64)}|{path.size}|{path.version}" if path.version else ""
        return _State(path.size, key, 0, path.can_be_cut)
    stat = path.stat()
    return _State(stat.st_size, f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}", stat.st_mtime_ns, True)


def _scan_file(path: Place, count: Callable[[int], object]) -> _FileScan:
    """Return the SHA-256 of a file and, about every RANGE_BYTES, the start of a line: its place and its number.

    A file whose mark says that it is not UTF-8 has no such places: its line ends are other bytes.
    """
    hashed, cuts, lines, at, edge, start = hashlib.sha256(), list[list[int]](), 0, 0, RANGE_BYTES, b""
    with opened(path) as file:
        while block := file.read(1 << 20):
            hashed.update(block)
            start = start or block[:LONGEST_MARK]
            while at + len(block) > edge and (newline := block.find(b"\n", max(0, edge - at))) >= 0:
                cuts.append([at + newline + 1, lines + block.count(b"\n", 0, newline + 1)])
                edge = cuts[-1][0] + RANGE_BYTES
            lines += block.count(b"\n")
            at += len(block)
            count(len(block))
    if isinstance(path, RemoteFile):
        path.expect_unchanged()
    cuts = cuts if encoding_of(start) is None else []
    return {"sha256": hashed.hexdigest(), "cuts": [cut for cut in cuts if cut[0] < at]}
