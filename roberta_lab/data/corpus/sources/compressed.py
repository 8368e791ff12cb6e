"""Decompress a file as a stream, in bounded memory, and refuse one that becomes more than any text does."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Protocol

from roberta_lab.config import ConfigError
from roberta_lab.config.formatting import in_bytes
from roberta_lab.data.corpus.sources.extras import import_extra
from roberta_lab.data.corpus.sources.remote import Place, opened

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)  # what a file raises that was cut off or changed
MOST_TIMES = 200  # as many bytes; text becomes 3 to 10 times as many, the dullest logs about 100 times
SMALL = 1 << 26  # bytes that any file may become
MOST_MEMORY = (
    1 << 29
)  # bytes that a file may ask the decompressor to keep; `xz -9` asks for 64 MB, `zstd --long=27` for 128
_PIECE = 1 << 16  # bytes that come out at once
_READ = 1 << 11  # bytes that go in at once, since they may become a thousand times as many
_ZIP_OF_ANY_SIZE = 16 + zlib.MAX_WBITS  # with gzip's header


class Decompressor(Protocol):
    """A decompressor of one stream, as those of `bz2` and `lzma` are; several may follow each other in a file."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""

    @property
    def needs_input(self) -> bool:
        """Whether it has nothing more to give without another piece."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Take a piece, and return at most so many bytes."""


class _Gzip:
    """A stream of gzip."""

    def __init__(self) -> None:
        self._own = zlib.decompressobj(_ZIP_OF_ANY_SIZE)

    @property
    def eof(self) -> bool:
        return self._own.eof

    @property
    def unused_data(self) -> bytes:
        return self._own.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._own.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._own.decompress(self._own.unconsumed_tail + data, max_length)


class _Zstd:
    """A frame of zstandard, whose output for one small piece of input is small as well."""

    def __init__(self, path: Place) -> None:
        self._zstandard = import_extra("zstandard", path)
        self._own = self._zstandard.ZstdDecompressor(max_window_size=MOST_MEMORY).decompressobj(write_size=1 << 14)
        self._held = memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._own.eof) and not self._held

    @property
    def unused_data(self) -> bytes:
        return bytes(self._own.unused_data)

    @property
    def needs_input(self) -> bool:
        return not self._held

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            if data:  # only when nothing is held
                self._held = memoryview(self._own.decompress(data))
        except self._zstandard.ZstdError as error:
            raise OSError(str(error)) from None
        given, self._held = bytes(self._held[:max_length]), self._held[max_length:]
        return given


def _new(path: Place) -> Decompressor:
    if path.suffix == ".xz":
        return lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=MOST_MEMORY)
    if path.suffix == ".zst":
        return _Zstd(path)
    return _Gzip() if path.suffix == ".gz" else bz2.BZ2Decompressor()


def decompressed(path: Place, size: int) -> io.RawIOBase:
    """Return the plain bytes of a compressed file of so many bytes; the ending of its name says how it is read.

    Reading raises OSError, EOFError, zlib.error and LZMAError for a broken file, and ConfigError for one that becomes more than
    `MOST_TIMES` as many bytes.
    """
    return _Plain(path, size)


class _Plain(io.RawIOBase):
    """The plain bytes of one stream after another. It notices that a file was cut off."""

    def __init__(self, path: Place, size: int) -> None:
        self._path, self._most, self._given = path, max(SMALL, MOST_TIMES * size), 0
        self._stream = _new(path)
        self._file = opened(path)
        self._is_fresh = True  # whether the stream has seen no byte yet
        self._has_ended = False  # whether a stream before it has ended

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        free = memoryview(buffer)
        while True:
            raw = b""
            if self._stream.eof:
                raw = self._stream.unused_data
                self._stream, self._is_fresh, self._has_ended = _new(self._path), True, True
            is_padded = (
                self._is_fresh and self._has_ended and self._path.suffix != ".zst"
            )  # the other kinds may be, by NULs
            if is_padded:
                raw = raw.lstrip(b"\0")
            while not raw and self._stream.needs_input and (read := self._file.read(_READ)):
                raw = read.lstrip(b"\0") if is_padded else read
            if not raw and self._stream.needs_input:
                if self._is_fresh and (self._has_ended or not self._file.tell()):
                    return 0
                raise EOFError("the file ends within a compressed stream")
            self._is_fresh = False
            if plain := self._stream.decompress(raw, min(len(free), _PIECE)):
                self._count(len(plain))
                free[: len(plain)] = plain
                return len(plain)

    def _count(self, number: int) -> None:
        self._given += number
        if self._given > self._most:
            what = f"it unpacks to more than {MOST_TIMES} times its size (stopped after {in_bytes(self._given)})"
            way_out = "If it is right all the same, unpack it, and give the path of what it holds"
            raise ConfigError(f"{self._path}: {what}, so it is damaged or no text. {way_out}.")
