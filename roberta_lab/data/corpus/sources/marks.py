"""Read what a byte order mark says is UTF-16 or UTF-32 as UTF-8, so that all other code reads UTF-8."""

from __future__ import annotations

import codecs
import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# UTF-32 first: its mark begins as that of UTF-16 does
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONGEST_MARK = max(map(len, _MARKS))  # bytes
_CHUNK = 1 << 16


def encoding_of(start: bytes) -> str | None:
    """Return the encoding that the first bytes of a file name with a mark; None for UTF-8, marked or not."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)


def as_utf8(stream: BinaryIO) -> BinaryIO:
    """Return the stream itself, or one of the same text in UTF-8 without a mark. It must be at its start and have `peek`."""
    encoding = encoding_of(stream.peek(LONGEST_MARK)[:LONGEST_MARK])  # type: ignore[attr-defined]
    return stream if encoding is None else io.BufferedReader(_Utf8(stream, encoding))


class _Utf8(io.RawIOBase):
    """The UTF-8 bytes of a stream in another encoding. What is broken there comes as bytes that are not UTF-8."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._plain = stream, memoryview(b"")
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._plain:
            raw = self._stream.read(_CHUNK)
            if not raw:
                cut_off, _ = self._decoder.getstate()
                self._decoder.reset()
                self._plain = memoryview(b"\xff" * bool(cut_off))
                break
            try:
                self._plain = memoryview(self._decoder.decode(raw).encode("utf-8", "surrogatepass"))
            except UnicodeDecodeError as error:  # UTF-32 beyond the last character
                self._decoder.reset()
                self._plain = memoryview(b"\xff" * len(error.object))
        free = memoryview(buffer)
        size = min(len(free), len(self._plain))
        free[:size], self._plain = self._plain[:size], self._plain[size:]
        return size
