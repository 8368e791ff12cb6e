"""Find the files of a source, name them, and open them, compressed or not."""

from __future__ import annotations

import bz2
import glob
import gzip
import importlib
import io
import lzma
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, cast

from roberta_lab.config import ConfigError, SourceConfig

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
    path = Path(source.path).expanduser()
    if path.is_dir():
        root, found = path, [file for file in _files_below(path) if _is_of_kind(file, source.kind)]
    elif path.exists():
        root, found = path.parent, [path]
    elif glob.has_magic(str(path)):
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts[:-1]))
        found = _globbed(path, source.kind)
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


def _is_of_kind(path: Path, kind: str) -> bool:
    plain = Path(path.stem) if path.suffix in COMPRESSIONS and kind != "parquet" else Path(path.name)
    return any(map(plain.match, _PATTERNS[kind]))


def _globbed(pattern: Path, kind: str) -> list[Path]:
    matches = [Path(match) for match in glob.glob(str(pattern), recursive=True)]
    below = [file for folder in matches if folder.is_dir() for file in _files_below(folder) if _is_of_kind(file, kind)]
    is_recursive = "**" in pattern.parts  # then the files of a folder match themselves
    return [match for match in matches if match.is_file()] + ([] if is_recursive else below)


def _looked_for(kind: str) -> str:
    endings = " or ".join(pattern.removeprefix("*") for pattern in _PATTERNS[kind])
    return f"{endings} file" + ("" if kind == "parquet" else f" (plain or {', '.join(COMPRESSIONS)})")


def _listed(path: Path) -> str:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"{path.absolute()} holds: {shown or 'nothing'}."


# ---------------------------------------------------------------- opening
def import_extra(package: str, path: Path) -> ModuleType:
    """Return a package that only some sources need. Raise ConfigError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.split(".")[0]
        raise ConfigError(f"{path} needs the package {name}: pip install 'roberta_lab[data]'") from None


def open_plain(path: Path) -> BinaryIO:
    """Open the plain bytes of a file by the ending of its name. Broken files raise OSError, EOFError, zlib.error, LZMAError."""
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
