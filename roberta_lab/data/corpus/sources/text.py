"""Turn bytes of any origin into clean lines and paragraphs, in bounded memory. No content of a file raises an error.

The policy, each case counted under its name in `counts`:

| found | becomes | counted as |
|---|---|---|
| a byte that is not UTF-8 | U+FFFD, one per byte | invalid UTF-8 bytes replaced |
| a lone surrogate, from an escape in JSON | U+FFFD | lone surrogates replaced |
| NUL and the other C0 controls except tab, DEL | nothing | control characters removed |
| U+FEFF at any place (files are concatenated with it) | nothing | byte order marks removed |
| CRLF, CR, VT, FF, U+0085, U+2028, U+2029 | a newline | newlines normalised |
| a line of more than 65,536 characters | pieces up to this length, cut at the last space in their second half | lines cut |
| a wrapped paragraph of more than 65,536 characters | pieces, cut between two lines | paragraphs cut |
| a document of more than 4,194,304 characters | documents up to this length, cut between paragraphs | documents cut |
| a document of whitespace only | nothing | documents empty |

A file in another encoding is refused (`expect_decodable`): more than ALLOWED_UNDECODABLE of its characters, and more than
ALLOWED_AT_LEAST, are bytes that are not UTF-8 or NULs. UTF-16 and UTF-32 with their marks are read (`files.open_plain`).

The result does not depend on how a text was read: pieces are cut from the start of their line. A missing final newline
changes nothing. C1 controls other than U+0085, tabs and spaces inside a line stay.
"""

import codecs
import io
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import BinaryIO

import sentencex

from roberta_lab.config import ConfigError

MAX_PARAGRAPH = 1 << 16  # characters; segmentation is several times slower on longer ones
MAX_DOCUMENT = 1 << 22  # characters; "War and Peace" has 3.2 million
_CHUNK = 1 << 18  # bytes
ALLOWED_UNDECODABLE = (
    0.001  # share of a file's characters: of text in Latin-1 it is some percent, in UTF-8 next to none
)
ALLOWED_AT_LEAST = 10  # characters of a file, so that a short one may have a broken byte

_NEWLINES = ("\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029")
_CONTROLS = bytes([*(byte for byte in range(0x20) if byte not in b"\t\n\v\f\r"), 0x7F])
_REMOVED = dict.fromkeys(_CONTROLS)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BROKEN_AT_DASH = re.compile(r"(?<=\S[-—])\n")

INVALID = "invalid UTF-8 bytes replaced"
LONE = "lone surrogates replaced"
READ, NULS = "characters read", "NULs read"  # counted until `expect_decodable` takes them


@dataclass(frozen=True)
class Document:
    """A document. `package` is the part of its source that it belongs to. `whole` decides its split."""

    id: str
    title: str
    package: str
    paragraphs: list[str]
    whole: str  # its id, or that of the long document of which this is a later part


# ---------------------------------------------------------------- characters
def decode(raw: bytes, counts: Counter[str]) -> str:
    """Decode UTF-8 to text without surrogates; newlines and controls stay."""
    counts[READ] += len(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return _without_surrogates(raw.decode(errors="surrogateescape"), counts, INVALID)


def clean(text: str, counts: Counter[str], surrogates: str = LONE) -> str:
    """Apply the policy to characters. `surrogates` is the name under which surrogates are counted."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        text = _without_surrogates(text, counts, surrogates)
        raw = text.encode()
    for newline in _NEWLINES:
        if newline in text:
            counts["newlines normalised"] += text.count(newline)
            text = text.replace(newline, "\n")
    if "\ufeff" in text:
        counts["byte order marks removed"] += text.count("\ufeff")
        text = text.replace("\ufeff", "")
    if removed := len(raw) - len(raw.translate(None, _CONTROLS)):  # controls are one byte each; scanned in C
        counts["control characters removed"] += removed
        counts[NULS] += raw.count(0)
        text = text.translate(_REMOVED)
    return text


def one_line(text: str, counts: Counter[str]) -> str:
    """Return a title or an id, clean, on one line, with single spaces."""
    return " ".join(clean(text, counts).split())


def expect_decodable(what: object, counts: Counter[str], replaced: int) -> None:
    """Raise ConfigError if text cannot be meant as UTF-8: `replaced` bytes of it were replaced, and it has NULs (UTF-16)."""
    read, undecodable = counts[READ], replaced + counts[NULS]
    if undecodable > max(ALLOWED_AT_LEAST, ALLOWED_UNDECODABLE * read):
        allowed = f"allowed are {ALLOWED_UNDECODABLE:.1%}, or {ALLOWED_AT_LEAST}"
        convert = "Is it in another encoding? iconv -f ENCODING -t UTF-8 makes UTF-8 of it"
        raise ConfigError(f"{what}: {undecodable:,} of {read:,} characters are not UTF-8; {allowed}. {convert}.")


def _without_surrogates(text: str, counts: Counter[str], name: str) -> str:
    text, replaced = _SURROGATE.subn("\ufffd", text)
    counts[name] += replaced
    return text


# ---------------------------------------------------------------- lines
def lines(stream: BinaryIO, counts: Counter[str]) -> Iterator[tuple[str, bool]]:
    """Yield (line, whether it continues the one before) of a stream; at most MAX_PARAGRAPH characters, without newline.

    The memory is that of a chunk and a piece, for lines of any length.
    """
    rest, continues = "", False
    for text in _texts(stream, counts):
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            if continues or len(line) > MAX_PARAGRAPH:
                yield from _pieces(line, continues, counts)
                continues = False
            else:
                yield line, False
        rest, continues = yield from _full_pieces(rest, continues, counts)
    if rest.strip():
        yield rest, continues


def _texts(stream: BinaryIO, counts: Counter[str]) -> Iterator[str]:
    """Yield clean text, a chunk at a time; a CR and its LF come together."""
    bytes_decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    decoder = io.IncrementalNewlineDecoder(bytes_decoder, translate=False)  # holds a CR until it sees what follows
    while raw := stream.read(_CHUNK):
        counts[READ] += len(raw)
        yield clean(decoder.decode(raw), counts, INVALID)
    yield clean(decoder.decode(b"", final=True), counts, INVALID)


def _pieces(line: str, continues: bool, counts: Counter[str]) -> Iterator[tuple[str, bool]]:
    rest, continues = yield from _full_pieces(line, continues, counts)
    if not continues or rest.strip():  # the rest of a cut line is never a blank line
        yield rest, continues


def _full_pieces(
    line: str, continues: bool, counts: Counter[str]
) -> Generator[tuple[str, bool], None, tuple[str, bool]]:
    """Yield pieces until the rest is short enough; return the rest, and whether it continues a piece.

    A piece ends after the last space in its second half, else where it is full.
    """
    while len(line) > MAX_PARAGRAPH:
        counts["lines cut"] += not continues
        cut = line.rfind(" ", MAX_PARAGRAPH // 2, MAX_PARAGRAPH) + 1 or MAX_PARAGRAPH
        yield line[:cut], continues
        line, continues = line[cut:], True
    return line, continues


# ---------------------------------------------------------------- paragraphs and documents
def paragraphs_of(text: str, counts: Counter[str]) -> Iterator[str]:
    """Yield the paragraphs of a text in which a newline ends a paragraph (JSON, CSV, Parquet)."""
    for line in clean(text, counts).split("\n"):
        for piece, _ in _pieces(line, False, counts) if len(line) > MAX_PARAGRAPH else ((line, False),):
            if stripped := piece.strip():
                yield stripped


def blocks(text_lines: Iterable[str], join_all: bool, counts: Counter[str]) -> Iterator[str]:
    """Yield the paragraphs of lines in which a blank line ends a block.

    A block becomes one paragraph if `join_all`, or if it looks wrapped at a fixed width; otherwise each line is a paragraph.
    Lines are joined by a space, but without one after a hyphen or dash that ends a word.
    """
    block: list[str] = []
    size = 0
    for line in chain(text_lines, [""]):
        stripped = line.strip()
        if stripped and size + len(stripped) < MAX_PARAGRAPH:
            block.append(stripped)
            size += len(stripped) + 1
            continue
        if block:
            paragraphs = _joined(block, join_all)
            if stripped and len(paragraphs) < len(block):
                counts["paragraphs cut"] += 1
            yield from paragraphs
        block, size = ([stripped], len(stripped) + 1) if stripped else ([], 0)


def _joined(block: list[str], join_all: bool) -> list[str]:
    if not (join_all or is_wrapped(block)):
        return block
    joined = "\n".join(block)
    if "-\n" in joined or "—\n" in joined:  # the pattern alone takes longer
        joined = _BROKEN_AT_DASH.sub("", joined)
    return [joined.replace("\n", " ")]


def is_wrapped(block: list[str]) -> bool:
    """Return whether a block is wrapped at a width of 40 to 100: no first word of a line would fit on the line before."""
    width = max(map(len, block))
    if len(block) == 1 or not 40 <= width <= 100:
        return False
    return all(len(line) + 1 + len(following.split(None, 1)[0]) > width for line, following in pairwise(block))


def segment(paragraph: str) -> list[str]:
    """Return the sentences of one paragraph, in order, without surrounding space. Long texts are slow: give paragraphs."""
    return [stripped for sentence in sentencex.segment("en", paragraph) if (stripped := sentence.strip())]


def parts(paragraphs: Iterable[str]) -> Iterator[tuple[list[str], int, bool]]:
    """Yield (paragraphs, characters, whether more follow): a document in parts of at most MAX_DOCUMENT characters."""
    held: list[str] = []
    size = 0
    for paragraph in paragraphs:
        if held and size + len(paragraph) > MAX_DOCUMENT:
            yield held, size, True
            held, size = [], 0
        held.append(paragraph)
        size += len(paragraph)
    yield held, size, False
