"""Read rows from JSON lines, CSV and Parquet. A row is a dictionary, or a sentence that tells why it cannot be read."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from roberta_lab.config import ConfigError
from roberta_lab.data.corpus.sources import text
from roberta_lab.data.corpus.sources.extras import import_extra
from roberta_lab.data.corpus.sources.files import SourceFile
from roberta_lab.data.corpus.sources.remote import RemoteFile

if TYPE_CHECKING:
    import pyarrow

MAX_LINE = 1 << 25  # bytes of a JSON line, which is parsed as a whole; longer ones are malformed
MAX_FIELD = 1 << 24  # characters of a line and of a field of CSV, which keeps four bytes for each
_BATCH = 64  # rows of Parquet

Fields: TypeAlias = dict[str, Any]  # values by the names of a file's columns
Row: TypeAlias = tuple[int, Fields | str]  # position in the file, record


def expect_fields(fields: Iterable[str], file: SourceFile, wanted: Iterable[str | None]) -> None:
    """Raise ConfigError if a field that the config names is not in the file."""
    for name in wanted:
        if name is not None and name not in fields:
            raise ConfigError(f"{file.path} has no field {name!r}. It has: {', '.join(fields) or 'none'}.")


def expect_distinct(names: Iterable[str], where: object) -> None:
    """Raise ConfigError for columns of the same name, of which one would be read in silence; columns may lack a name."""
    twice = [name for name, number in Counter(filter(None, names)).items() if number > 1]
    if twice:
        raise ConfigError(f"{where}: the column {twice[0]!r} is there twice. Its columns: {', '.join(names)}.")


class Twice(Counter[str]):
    """The keys of a JSON object that has one of them twice, and how often each is there."""


def object_of(pairs: list[tuple[str, Any]]) -> Fields:
    """Return the object of these keys and values, for `json.loads` (`object_pairs_hook`); a `Twice` if a key is repeated."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else Twice(key for key, _ in pairs)


def json_rows(stream: BinaryIO, counts: Counter[str], file: SourceFile) -> Iterator[Row]:
    """Yield one object per line of `file` that has text; `stream` is its plain bytes. Positions are those in the whole file."""
    position = file.first_line - 1
    if file.start:
        stream.seek(file.start)
    while (file.end is None or stream.tell() < file.end) and (raw := stream.readline(MAX_LINE)):
        position += 1
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            while (more := stream.readline(MAX_LINE)) and not more.endswith(b"\n"):
                pass
            yield position, f"longer than {MAX_LINE} bytes"
            continue
        line = _without_mark(text.decode(raw, counts), counts)  # at any line: files are concatenated with it
        if not line.strip():
            continue
        try:
            # `text.clean` handles controls in strings
            found = json.loads(line, strict=False, object_pairs_hook=object_of)
        except (ValueError, RecursionError) as error:
            yield position, f"not JSON ({error})"
            continue
        if isinstance(found, Twice):
            expect_distinct([*found.elements()], f"{file.path}, record {position + 1}")
        yield position, found if isinstance(found, dict) else f"a JSON {type(found).__name__}, not an object"


def csv_rows(stream: BinaryIO, counts: Counter[str], file: SourceFile) -> Iterator[Row]:
    """Yield rows under the names of the first one (RFC 4180: commas, quotes doubled inside quotes, newlines inside quotes)."""
    csv.field_size_limit(MAX_FIELD)  # for the whole process; the default of 131,072 is too small for many documents
    names: list[str] | None = None
    position = -1
    with io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="") as plain:
        reader = csv.reader(_CsvLines(plain, counts), strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                position += 1
                yield position, str(error)
                continue
            if not row:
                continue
            if names is None:
                names = [text.one_line(name, counts) for name in row]
                expect_distinct(names, file.path)
                continue
            position += 1
            if len(row) == len(names):
                values = (text.clean(value, counts, text.INVALID) for value in row)
                yield position, dict(zip(names, values, strict=True))
            else:
                yield position, f"{len(row)} columns in place of {len(names)}"


class _CsvLines:
    """Lines with their ends. A line that is too long is skipped with an error; the next line can be read after it."""

    def __init__(self, plain: io.TextIOWrapper, counts: Counter[str]) -> None:
        self._plain, self._counts = plain, counts
        self._ahead = [_without_mark(plain.readline(MAX_FIELD), counts)]

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = self._ahead.pop() if self._ahead else self._plain.readline(MAX_FIELD)
        self._counts[text.READ] += len(line)
        if not line:
            raise StopIteration
        if len(line) < MAX_FIELD or line.endswith(("\r", "\n")):
            return line
        while (more := self._plain.readline(MAX_FIELD)) and not more.endswith(("\r", "\n")):
            pass
        raise csv.Error(f"a line longer than {MAX_FIELD} characters")


def _without_mark(line: str, counts: Counter[str]) -> str:
    if line.startswith("\ufeff"):
        counts["byte order marks removed"] += 1
    return line.removeprefix("\ufeff")


def parquet_rows(file: SourceFile, wanted: list[str], counts: Counter[str]) -> Iterator[Row]:
    """Yield rows of the wanted columns, a batch at a time, in the memory of a row group of these columns."""
    parquet, pyarrow = import_extra("pyarrow.parquet", file.path), import_extra("pyarrow", file.path)
    wanted, start = list(dict.fromkeys(wanted)), 0
    try:
        with ExitStack() as opened:
            source: object = file.path
            if isinstance(file.path, RemoteFile):  # pyarrow closes only what it has opened itself
                source = opened.enter_context(file.path.open(seekable=True))
            table = opened.enter_context(parquet.ParquetFile(source))
            expect_distinct(table.schema_arrow.names, file.path)
            expect_fields(table.schema_arrow.names, file, wanted)
            for batch in table.iter_batches(_BATCH, columns=wanted, use_threads=False):
                yield from batch_rows(batch, wanted, start, counts)
                start += batch.num_rows
    except ConfigError:
        raise
    except (pyarrow.ArrowException, ValueError, OverflowError, MemoryError) as error:  # also names that are not UTF-8
        raise ConfigError(f"{file.path} cannot be read as Parquet: {error}") from None


def batch_rows(batch: pyarrow.RecordBatch, names: list[str], start: int, counts: Counter[str]) -> Iterator[Row]:
    """Yield the rows of a batch, which begins at position `start`, with the columns of these names."""
    columns = [_values(batch.column(name), counts) for name in names]
    for position, values in enumerate(zip(*columns, strict=True), start):
        yield position, dict(zip(names, values, strict=True))


def _values(column: pyarrow.Array, counts: Counter[str]) -> list[object]:
    """Return the values of a column. Strings are decoded here, since pyarrow raises on bytes that are not UTF-8."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if str(column.type) in ("string", "large_string", "string_view"):
        column = column.cast(pyarrow.large_binary())
    return [text.decode(value, counts) if isinstance(value, bytes) else value for value in column.to_pylist()]
