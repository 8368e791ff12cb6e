"""Find the files of a source, name them, and open them, compressed or not."""

from __future__ import annotations

import bz2
import glob
import gzip
import importlib
import io
import lzma
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, cast

from roberta_lab.config import ConfigError, SourceConfig
from roberta_lab.config.paths import user_path
from roberta_lab.data.corpus.sources.marks import as_utf8

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from zstandard import ZstdDecompressionObj

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


@dataclass(frozen=True)
class SourceFile:
    """A file, or some whole lines of it."""

    name: str  # the path relative to the source, with `/`, without the ending of a compression
    path: Path
    start: int = 0  # bytes
    end: int | None = None
    first_line: int = 0  # number of the line at `start`, from 0


# ---------------------------------------------------------------- finding
def find(source: SourceConfig) -> list[SourceFile]:
    """Return the files of a source by name. A folder gives the files of its kind, a file or glob what it names."""
    path = user_path(source.path)
    if path.is_dir():
        root, found = path, _files_of_kind(path, source.kind)
    elif path.exists():
        root, found = path.parent, [path]
    elif glob.has_magic(str(path)):
        root = _before_magic(path)
        found = _globbed(root, path.relative_to(root), source.kind)
    else:
        raise ConfigError(f"{path} does not exist. {_listed(path)}")
    if not found:
        looked_for = f"files that match {path.name}" if glob.has_magic(str(path)) else _looked_for(source.kind)
        raise ConfigError(f"{path}: no {looked_for}. {_listed(root)}")
    files: dict[str, SourceFile] = {}
    for file in sorted(set(found)):
        relative = file.relative_to(root)
        plain = relative.with_suffix("") if relative.suffix in COMPRESSIONS else relative
        name = plain.as_posix().encode(errors="surrogateescape").decode(errors="replace")  # names need not be UTF-8
        if name in files:
            raise ConfigError(f"{file} and {files[name].path} hold the same file twice; keep one of them.")
        files[name] = SourceFile(name, file)
    return [files[name] for name in sorted(files)]


def _files_of_kind(folder: Path, kind: str) -> list[Path]:
    below = list(_files_below(folder))
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


def _matches(path: Path, kind: str, patterns: Iterable[str]) -> bool:
    plain = Path(path.stem) if path.suffix in COMPRESSIONS and kind != "parquet" else Path(path.name)
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
def import_extra(package: str, path: Path) -> ModuleType:
    """Return a package that only some sources need. Raise ConfigError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.split(".")[0]
        raise ConfigError(f"{path} needs the package {name}: pip install 'roberta_lab[data]'") from None


def open_plain(path: Path) -> BinaryIO:
    """Open a file as plain UTF-8: by the ending of its name (compressions), then by its byte order mark (UTF-16, UTF-32).

    Broken files raise OSError, EOFError, zlib.error, LZMAError here or when they are read.
    """
    return as_utf8(_open_bytes(path))


def _open_bytes(path: Path) -> BinaryIO:
    if path.suffix == ".zst":
        return io.BufferedReader(_Zstd(path), 1 << 17)
    openers: dict[str, Callable[[Path, str], object]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return cast(BinaryIO, openers.get(path.suffix, open)(path, "rb"))


class _Zstd(io.RawIOBase):
    """The frames of a .zst file. Unlike zstandard's own reader it notices that a file was cut off."""

    def __init__(self, path: Path) -> None:
        self._zstandard = import_extra("zstandard", path)
        self._file = open(path, "rb")  # noqa: SIM115
        self._decompressor = self._zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._frame: ZstdDecompressionObj | None = None
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._plain:
            raw = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            raw = raw or self._file.read(1 << 11)  # 2 KB, since they may become a thousand times as many
            if not raw:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the file ends within a zstd frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._decompressor.decompressobj(write_size=1 << 14)
            try:
                self._plain = memoryview(self._frame.decompress(raw))
            except self._zstandard.ZstdError as error:
                raise OSError(str(error)) from None
        free = memoryview(buffer)
        size = min(len(free), len(self._plain))
        free[:size], self._plain = self._plain[:size], self._plain[size:]
        return size
