"""Read documents from the files of a source, one after the other, in memory that does not grow with a file.

Files are ordered by path. A document is named by its file, without the ending of a compression, and its position there
(`part/a.jsonl:17`, dropped records count too), or by its `id_field`; later parts of one that is cut end in `#2`, `#3` ...
A record that cannot be read is dropped and counted. It is an error if more than 10 and 1% of the records of a file (or
of a range of a large file), or all of them, cannot be read.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, dropwhile, groupby, islice
from pathlib import Path, PurePosixPath
from typing import cast

from roberta_lab.config import ConfigError, SourceConfig
from roberta_lab.data.corpus.sources import files, gutenberg, hub, text, wikiextractor
from roberta_lab.data.corpus.sources.compressed import BROKEN
from roberta_lab.data.corpus.sources.files import SourceFile
from roberta_lab.data.corpus.sources.rows import Fields, Row, csv_rows, expect_fields, json_rows, parquet_rows

ALLOWED_BAD, ALLOWED_SHARE = 10, 0.01  # malformed records in a file
FIRST_ROWS = 100  # among which one has each field that the config names
_EARLY = 1 << 22  # characters
_WITH_FIELDS = ("jsonl", "csv", "parquet")


@dataclass
class _Record:
    """A document before it is filtered. Its paragraphs are read before the next record."""

    id: str
    title: str
    paragraphs: Iterable[str]


def documents(
    source: SourceConfig, counts: Counter[str], name: str, part: Iterable[SourceFile]
) -> Iterator[text.Document]:
    """Yield the documents of some files of a source. Their `package` is `name`, the name of the source."""
    together, damaged = Counter[str](), ""
    for file in part:
        counts["files"] += file.start == 0
        before = counts[text.INVALID]
        try:
            for record in _READERS[source.kind](file, source, counts):
                yield from _kept(record, source, counts, name)
                if counts[text.READ] > _EARLY:  # so that a large file in another encoding is refused soon
                    text.expect_decodable(file.path, counts, counts[text.INVALID] - before)
            file.expect_unchanged()
        except BROKEN as error:
            raise ConfigError(f"{file.path} cannot be read: {error}") from None
        replaced = counts[text.INVALID] - before
        text.expect_decodable(file.path, counts, replaced)
        damaged = damaged or (str(file.path) if replaced else "")
        together += Counter({key: counts.pop(key, 0) for key in (text.READ, text.NULS)} | {text.INVALID: replaced})
    text.expect_decodable(f"{damaged} and other files", together, together[text.INVALID])  # of few characters each


def look(source: SourceConfig, file: SourceFile) -> None:
    """Read the first record of a file. Raise ConfigError if it cannot be read, or lacks a field that the config names."""
    try:
        for record in _READERS[source.kind](file, source, Counter()):
            next(iter(record.paragraphs), None)
            return
    except BROKEN as error:
        raise ConfigError(f"{file.path} cannot be read: {error}") from None


def hub_documents(source: SourceConfig, counts: Counter[str], name: str, shard: int) -> Iterator[text.Document]:
    """Yield the documents of one file of a hub dataset, named by its number and their position, or by `hub.id_field`."""
    assert source.hub is not None
    counts["files"] += 1
    fields = replace(source, **{key: getattr(source.hub, key) for key in ("text_field", "id_field", "title_field")})
    file = SourceFile(str(shard), Path(source.hub.path))
    for record in _records(file, fields, hub.rows(source.hub, shard, counts), counts):
        yield from _kept(record, fields, counts, name)
    text.expect_decodable(f"{source.hub.path}, file {shard}", counts, counts[text.INVALID])
    for key in (text.READ, text.NULS):
        counts.pop(key, None)


def check(source: SourceConfig) -> None:
    """Raise ConfigError for keys that the kind of the source does not read, and for impossible values."""
    usual = SourceConfig("")
    for key, kinds in {
        "text_field": _WITH_FIELDS,
        "id_field": (*_WITH_FIELDS, "wikiextractor"),
        "title_field": (*_WITH_FIELDS, "hub"),  # of a mix that can be read from both places
        "document_separator": ("text",),
        "min_characters": (*_READERS, "hub"),
        "max_characters": (*_READERS, "hub"),
    }.items():
        if getattr(source, key) != getattr(usual, key) and source.kind not in kinds:
            where = source.path or "this source"
            own = f" It has hub.{key}." if source.kind == "hub" and hasattr(source.hub, key) else ""
            raise ConfigError(f"{key} is read by sources of kind {', '.join(kinds)}; {where} is {source.kind}.{own}")
    if source.kind == "wikiextractor" and source.id_field not in (None, *wikiextractor.FIELDS):
        allowed = f"allowed are {', '.join(wikiextractor.FIELDS)} and null"
        raise ConfigError(f"id_field={source.id_field!r} of {source.path}: {allowed}.")
    for key in ("min_characters", "max_characters"):
        value = getattr(source, key)
        if value is not None and not 0 < value <= text.MAX_DOCUMENT:
            allowed = f"allowed are 1 to {text.MAX_DOCUMENT}, where documents are cut"
            raise ConfigError(f"{key}={value} of {source.path}: {allowed}.")


def _kept(record: _Record, source: SourceConfig, counts: Counter[str], name: str) -> Iterator[text.Document]:
    """Yield the document, in parts if it is long, unless a filter drops it."""
    too_long = False
    for number, (paragraphs, characters, more) in enumerate(text.parts(record.paragraphs), start=1):
        if number == 1:
            too_long = source.max_characters is not None and (more or characters > source.max_characters)
            too_short = not more and characters < (source.min_characters or 0)
            if reason := "empty" if not characters else "too long" if too_long else "too short" if too_short else "":
                counts[f"documents {reason}"] += 1
            elif more:
                counts["documents cut"] += 1
            if not characters or too_short:
                return
        if not too_long:
            counts["documents"] += 1
            counts["paragraphs"] += len(paragraphs)
            counts["characters"] += characters
            part = record.id if number == 1 else f"{record.id}#{number}"
            yield text.Document(part, record.title, name, paragraphs, whole=record.id)


# ---------------------------------------------------------------- kinds without fields
def _text(file: SourceFile, source: SourceConfig, counts: Counter[str]) -> Iterator[_Record]:
    title = PurePosixPath(file.name).stem
    with files.open_plain(file.path) as stream:
        if source.document_separator is None:
            whole = text.blocks((line for line, _ in text.lines(stream, counts)), False, counts)
            yield _Record(f"{file.name}:0", title, whole)
            return
        groups = _groups(text.lines(stream, counts), source.document_separator)
        for position, lines in enumerate(groups):
            yield _Record(f"{file.name}:{position}", title, text.blocks(lines, False, counts))


def _groups(lines: Iterator[tuple[str, bool]], separator: str) -> Iterator[Iterator[str]]:
    """Yield the lines of each document. A place between two separators that has no text is no document."""
    between = {"blank_line": "", "line": None}.get(separator, separator)
    number = 0

    def document(piece: tuple[str, bool]) -> int:
        nonlocal number
        line, continues = piece
        number += not continues and (separator == "line" or line.strip() == between)
        return number

    for _, pieces in groupby(lines, document):
        from_text = dropwhile(lambda line: line.strip() in ("", between), (line for line, _ in pieces))
        if first := next(from_text, ""):
            yield chain([first], from_text)


def _gutenberg(file: SourceFile, source: SourceConfig, counts: Counter[str]) -> Iterator[_Record]:
    with files.open_plain(file.path) as stream:
        title, author, paragraphs = gutenberg.read_book((line for line, _ in text.lines(stream, counts)), counts)
        names = filter(None, (title or PurePosixPath(file.name).stem, author))
        yield _Record(f"{file.name}:0", ", by ".join(names), paragraphs)


def _wikiextractor(file: SourceFile, source: SourceConfig, counts: Counter[str]) -> Iterator[_Record]:
    with files.open_plain(file.path) as stream:
        start = cast(io.BufferedReader, stream).peek(1 << 12)
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            for number, row in _rows(file, "text", [source.id_field], json_rows(stream, counts, file), counts):
                title = wikiextractor.unescape(text.one_line(str(row.get("title") or ""), counts), counts)
                paragraphs = wikiextractor.paragraphs_of(row["text"] or "", title, counts)
                yield _Record(_id(row, source, file, number, counts), title, paragraphs)
            return
        outside, position = counts[wikiextractor.OUTSIDE], -1
        articles = wikiextractor.articles(text.lines(stream, counts), counts)
        for position, (fields, inside) in enumerate(articles):
            yield _Record(_id(fields, source, file, position, counts), fields.get("title", ""), inside)
        if position < 0 and counts[wikiextractor.OUTSIDE] > outside:
            raise ConfigError(f"{file.path} holds no line <doc ...>, with which WikiExtractor opens an article.")


# ---------------------------------------------------------------- kinds with fields
def _fields(file: SourceFile, source: SourceConfig, counts: Counter[str]) -> Iterator[_Record]:
    """Yield a record per row of JSON lines, CSV or Parquet; a newline in the text ends a paragraph."""
    wanted = [name for name in (source.text_field, source.id_field, source.title_field) if name is not None]
    if source.kind == "parquet":
        yield from _records(file, source, parquet_rows(file, wanted, counts), counts)
        return
    with files.open_plain(file.path) as stream:
        rows = csv_rows(stream, counts, file) if source.kind == "csv" else json_rows(stream, counts, file)
        yield from _records(file, source, rows, counts)


def _records(file: SourceFile, source: SourceConfig, rows: Iterator[Row], counts: Counter[str]) -> Iterator[_Record]:
    for position, row in _rows(file, source.text_field, (source.id_field, source.title_field), rows, counts):
        title = row.get(source.title_field) if source.title_field else None
        title = "" if title is None else text.one_line(str(title), counts)
        name = _id(row, source, file, position, counts)
        yield _Record(name, title, text.paragraphs_of(row[source.text_field] or "", counts))


def _rows(
    file: SourceFile, text_field: str, others: Iterable[str | None], rows: Iterator[Row], counts: Counter[str]
) -> Iterator[tuple[int, Fields]]:
    """Yield the rows that can be read. Raise ConfigError where they have no such fields (`_with_wanted`), or many cannot be read."""
    good, bad, too_many, first_reason = 0, 0, False, ""
    for position, row in _with_wanted(rows, file, text_field, others):
        if reason := _reason(row, text_field):
            bad += 1
            first_reason = first_reason or f"the first is record {position + 1}: {reason}"
            counts["records malformed"] += 1
            if too_many := bad > ALLOWED_BAD + ALLOWED_SHARE * (good + bad):
                break
        else:
            good += 1
            yield position, cast(Fields, row)
    hopeless = not good and file.end is None  # the bad lines of a large file may all be in this range
    if too_many or (bad and hopeless):
        raise ConfigError(f"{file.path}: {bad} of the first {good + bad} records are malformed; {first_reason}.")


def _with_wanted(rows: Iterator[Row], file: SourceFile, text_field: str, others: Iterable[str | None]) -> Iterator[Row]:
    """Yield the rows. The first object must have the text, and one of the first ones each other field that is wanted.

    Records of JSON may leave out what they do not have.
    """
    for position, row in rows:
        if not isinstance(row, dict):
            yield position, row
            continue
        expect_fields(row, file, (text_field,))
        ahead = [] if {*others} - {None} <= row.keys() else [*islice(rows, FIRST_ROWS)]
        fields = (one for one in (row, *(other for _, other in ahead)) if isinstance(one, dict))
        expect_fields(dict.fromkeys(chain.from_iterable(fields)), file, others)
        yield from ((position, row), *ahead)
        break
    yield from rows


def _reason(row: Fields | str, text_field: str) -> str:
    """Return why a row cannot be read, or nothing. A text that is None is an empty document."""
    if isinstance(row, str):
        return row
    if text_field not in row:
        return f"no field {text_field!r}"
    if isinstance(row[text_field], str | None):
        return ""
    return f"field {text_field!r} holds {type(row[text_field]).__name__}, not text"


def _id(row: Fields, source: SourceConfig, file: SourceFile, position: int, counts: Counter[str]) -> str:
    value = None if source.id_field is None else row.get(source.id_field)
    if value not in (None, ""):
        return text.one_line(str(value), counts)
    if source.id_field is not None:
        counts["records without id"] += 1
    return f"{file.name}:{position}"


_READERS: dict[str, Callable[[SourceFile, SourceConfig, Counter[str]], Iterator[_Record]]] = {
    "text": _text,
    "gutenberg": _gutenberg,
    "wikiextractor": _wikiextractor,
    **dict.fromkeys(_WITH_FIELDS, _fields),
}
