"""Find the files of a source, name them, and open them, compressed or not."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar, cast

from roberta_lab.config import ConfigError, SourceConfig
from roberta_lab.config.paths import user_path
from roberta_lab.data.corpus.sources import remote
from roberta_lab.data.corpus.sources.compressed import decompressed
from roberta_lab.data.corpus.sources.marks import as_utf8
from roberta_lab.data.corpus.sources.remote import Place, RemoteFile, opened
from roberta_lab.data.file_hashes import sha256_of
from roberta_lab.data.foreign import expect_regular

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_PATTERNS = {
    "text": ("*.txt",),
    "jsonl": ("*.jsonl",),
    "csv": ("*.csv",),
    "parquet": ("*.parquet",),
    "gutenberg": ("*.txt",),
    "wikiextractor": ("wiki_*", "*.txt", "*.json", "*.jsonl"),  # the first as it names its own files
}
_ELSE = {"jsonl": ("*.json", "*.ndjson")}  # of a folder that has none of these: C4 has a JSON object a line in .json.gz

_P = TypeVar("_P", bound=PurePath)


@dataclass(frozen=True)
class SourceFile:
    """A file, or some whole lines of it."""

    name: str  # the path relative to the source, with `/`, without the ending of a compression
    path: Place
    start: int = 0  # bytes
    end: int | None = None
    first_line: int = 0  # number of the line at `start`, from 0
    scanned: tuple[int, int, str] | None = None  # size, time of change (ns) and SHA-256 of one on a disk

    def expect_unchanged(self) -> None:
        """Raise ConfigError if the file has changed since it was hashed: other text would bear the name of the one before."""
        if isinstance(self.path, RemoteFile):
            self.path.expect_unchanged()
        elif self.scanned is not None:
            stat, (size, time, sha256) = self.path.stat(), self.scanned
            if stat.st_size != size or (stat.st_mtime_ns != time and sha256_of(self.path) != sha256):
                raise remote.changed(self.path)


# ---------------------------------------------------------------- finding
def find(source: SourceConfig) -> list[SourceFile]:
    """Return the files of a source by name. A folder gives the files of its kind, a file or glob what it names."""
    if remote.is_url(source.path):
        return _named(remote.find(source.path, partial(_of_kind, kind=source.kind), _looked_for(source.kind)))
    path = user_path(source.path)
    if path.is_dir():
        root, found = path, _files_of_kind(path, source.kind)
    elif os.path.lexists(path):
        expect_regular(path, "a file, a folder or a glob")
        return [SourceFile(_plain_name(Path(path.name)), path)]
    elif glob.has_magic(str(path)):
        root = _before_magic(path)
        found = _globbed(root, path.relative_to(root), source.kind)
    else:
        raise ConfigError(f"{path} does not exist. {_listed(path)}")
    if not found:
        looked_for = f"files that match {path.name}" if glob.has_magic(str(path)) else _looked_for(source.kind)
        raise ConfigError(f"{path}: no {looked_for}. {_listed(root)}")
    for file in sorted(set(found)):
        expect_regular(file, f"a file of kind {source.kind}")
        _expect_inside(root, file)
    return _named({file.relative_to(root): file for file in found})


def _named(found: Mapping[_P, Place]) -> list[SourceFile]:
    """Return files with their names, in their order, by their paths below the source."""
    files: dict[str, SourceFile] = {}
    for relative, file in sorted(found.items()):
        name = _plain_name(relative)
        if name in files:
            raise ConfigError(f"{file} and {files[name].path} hold the same file twice; keep one of them.")
        files[name] = SourceFile(name, file)
    return [files[name] for name in sorted(files)]


def _plain_name(relative: PurePath) -> str:
    """Return the name of a file, without the ending of a compression; names on a disk need not be UTF-8."""
    plain = relative.with_suffix("") if relative.suffix in COMPRESSIONS else relative
    return plain.as_posix().encode(errors="surrogateescape").decode(errors="replace")


def _expect_inside(root: Path, file: Path) -> None:
    """Raise ConfigError for a file that links lead to from a folder that does not hold it.

    Who names a folder asks for what is in it. A cache of the Hugging Face hub keeps its files beside its folders of links.
    """
    top, place = Path(os.path.realpath(root)), Path(os.path.realpath(file))
    blobs = [folder.parent / "blobs" for folder in (top, *top.parents) if folder.name == "snapshots"]
    if not any(place.is_relative_to(folder) for folder in (top, *blobs)):
        raise ConfigError(
            f"{file}: a link leads out of {root}, to {place}. Allowed: links within it, or that path itself."
        )


def _files_of_kind(folder: Path, kind: str) -> list[Path]:
    return _of_kind(_files_below(folder), kind)


def _of_kind(paths: Iterable[_P], kind: str) -> list[_P]:
    below = list(paths)
    found = [path for path in below if _matches(path, kind, _PATTERNS[kind])]
    return found or [path for path in below if _matches(path, kind, _ELSE.get(kind, ()))]


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield every file that is not hidden. Links are followed, each folder once."""
    seen: set[str] = set()
    for at, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if (real := os.path.realpath(at)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(at, name) for name in names if name[0] != ".")


def _raise(error: OSError) -> None:
    raise ConfigError(f"{error.filename} cannot be read: {error.strerror}.")


def _matches(path: PurePath, kind: str, patterns: Iterable[str]) -> bool:
    plain = PurePath(path.stem) if path.suffix in COMPRESSIONS and kind != "parquet" else PurePath(path.name)
    return any(map(plain.match, patterns))


def _before_magic(pattern: Path) -> Path:
    """Return the folders of a pattern before the first part that is one; a part that is there, as `a[1]`, is a name."""
    root = Path()
    for part in pattern.parts[:-1]:
        if glob.has_magic(part) and not (root / part).exists():
            break
        root /= part
    return root


def _globbed(root: Path, pattern: Path, kind: str) -> list[Path]:
    matches = [root / match for match in glob.glob(str(pattern), root_dir=root, recursive=True)]
    below = [file for folder in matches if folder.is_dir() for file in _files_of_kind(folder, kind)]
    is_recursive = "**" in pattern.parts  # then the files of a folder match themselves
    return [match for match in matches if match.is_file()] + ([] if is_recursive else below)


def _looked_for(kind: str) -> str:
    endings = " or ".join(pattern.removeprefix("*") for pattern in (*_PATTERNS[kind], *_ELSE.get(kind, ())))
    return f"{endings} file" + ("" if kind == "parquet" else f" (plain or {', '.join(COMPRESSIONS)})")


def _listed(path: Path) -> str:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    kinds = [kind for kind in ("jsonl", "csv", "parquet") if any(f".{kind}" in name for name in names)]
    said = f" Files of another kind are read with its kind={kinds[0]}." if kinds else ""
    return f"{path.absolute()} holds: {shown or 'nothing'}.{said}"


# ---------------------------------------------------------------- opening
def open_plain(path: Place) -> BinaryIO:
    """Open a file as plain UTF-8: by the ending of its name (compressions), then by its byte order mark (UTF-16, UTF-32).

    Broken files raise OSError, EOFError, zlib.error, LZMAError here or when they are read; ConfigError for what is no file.
    """
    size = path.size if isinstance(path, RemoteFile) else expect_regular(path)
    if path.suffix in COMPRESSIONS:
        return as_utf8(cast(BinaryIO, io.BufferedReader(decompressed(path, size), 1 << 17)))
    return as_utf8(opened(path))
