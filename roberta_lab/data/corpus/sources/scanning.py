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
        stats = {file: file.path.stat() for file in found}
        total = sum(stat.st_size for stat in stats.values())
        with tqdm(total=total, unit="B", unit_scale=True, desc="hashing", disable=not progress, delay=2) as bar:
            for file, stat in stats.items():
                key = f"{file.path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
                seen: _FileScan = known.get(key) or _scan_file(file.path, bar.update)
                if time.time_ns() - stat.st_mtime_ns > _YOUNG_NS:
                    known[key] = seen
                compression = file.path.suffix if file.path.suffix in COMPRESSIONS else ""
                files[file.name + compression] = {"bytes": stat.st_size, "sha256": seen["sha256"]}
                can_be_cut = source.kind == "jsonl" and not compression
                pieces += _pieces(file, stat.st_size, seen["cuts"] if can_be_cut else [])
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from None
    finally:
        if known != remembered:
            remember(memory, known)
    reading = {name: value for name, value in settings(source).items() if name not in _NOT_IN_DOCUMENTS}
    return Scan({"reading": reading, "files": files}, _grouped(pieces))


def keys(source: SourceConfig) -> list[tuple[str, Path, int]]:
    """Return the key of each file's scan in the memory, the file, and its bytes. Raises ConfigError."""
    try:
        stats = {file.path: file.path.stat() for file in find(source)}
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.") from None
    return [(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}", path, stat.st_size) for path, stat in stats.items()]


def scan_files(files: Mapping[str, Path]) -> dict[str, _FileScan]:
    """Return the scans of files by their keys, as the memory holds them."""
    return {key: _scan_file(path, lambda _: None) for key, path in files.items()}


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


def _scan_file(path: Path, count: Callable[[int], object]) -> _FileScan:
    """Return the SHA-256 of a file and, about every RANGE_BYTES, the start of a line: its place and its number.

    A file whose mark says that it is not UTF-8 has no such places: its line ends are other bytes.
    """
    digest, cuts, lines, at, edge = hashlib.sha256(), list[list[int]](), 0, 0, RANGE_BYTES
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            while at + len(block) > edge and (newline := block.find(b"\n", max(0, edge - at))) >= 0:
                cuts.append([at + newline + 1, lines + block.count(b"\n", 0, newline + 1)])
                edge = cuts[-1][0] + RANGE_BYTES
            lines += block.count(b"\n")
            at += len(block)
            count(len(block))
    with open(path, "rb") as file:
        is_utf8 = encoding_of(file.read(LONGEST_MARK)) is None
    cuts = cuts if is_utf8 else []
    return {"sha256": digest.hexdigest(), "cuts": [cut for cut in cuts if cut[0] < at]}
