"""Read the texts that `predict` is given in blocks of lines, and write its results as JSON lines or `.npy`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np

from roberta_lab.config import ConfigError, PredictConfig
from roberta_lab.data.storage import replacing

BLOCK = 1024  # texts in memory at the same time
TRUNCATED = "truncated"  # a key of the record of a text that was cut; its value is true

Record: TypeAlias = dict[str, Any]  # a prediction; its keys are those of the task


def blocks(config: PredictConfig) -> Iterator[list[str]]:
    """Yield the texts of `predict.text` or the lines of `predict.file` in order, in blocks of BLOCK.

    Raise ConfigError if there is no text, or when one is not UTF-8: a terminal gives lone surrogates then.
    """
    texts = iter([config.text] if isinstance(config.text, str) else config.text or [])
    if config.file:
        texts = _lines(config.file)
    is_empty = True
    while block := list(islice(texts, BLOCK)):
        is_empty = False
        if any("\ud800" <= c <= "\udfff" for text in block for c in text):
            raise ConfigError("predict.text is not UTF-8.")
        yield block
    if is_empty:
        raise ConfigError(f"predict.file={config.file} is empty." if config.file else "predict.text is empty.")


def check_input(config: PredictConfig) -> None:
    """Raise ConfigError unless there is something to read, which is not the file that will be written."""
    if not config.file and not config.text:
        raise ConfigError("predict.text or predict.file is missing; predict.file=- reads standard input.")
    if not config.file or config.file == "-":
        return
    if not Path(config.file).is_file() and not Path(config.file).is_fifo():
        raise ConfigError(f"predict.file={config.file} is no file. Allowed: a text file, or - for standard input.")
    if config.output and Path(config.output).exists() and Path(config.output).samefile(config.file):
        raise ConfigError(f"predict.output={config.output} is the file that is read.")


def check_output(config: PredictConfig) -> None:
    """Raise ConfigError when the output would take the place of a folder."""
    if Path(config.output).is_dir() and config.output:
        raise ConfigError(f"predict.output={config.output} is a folder.")


def _lines(name: str) -> Iterator[str]:
    """Yield the lines of a file without their ends. They end at \\n only: a text may hold any other character."""
    with nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ConfigError(f"predict.file={name}: line {number} is not UTF-8 ({error.reason}).") from None
            yield text.removesuffix("\n").removesuffix("\r")


class Writer(Protocol):
    """The place where the results of a block are written."""

    def write(self, records: list[Record]) -> None: ...


class Jsonl:
    """JSON lines: one record per line, arrays as lists."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def write(self, records: list[Record]) -> None:
        for record in records:
            self.file.write(json.dumps(record, ensure_ascii=False, default=np.ndarray.tolist).encode() + b"\n")


class Npy:
    """An array with the `vector` of each record as a row. Its header tells their number and has room for it to grow."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.num_rows = file, 0

    def write(self, records: list[Record]) -> None:
        rows = np.stack([record["vector"] for record in records]).astype("<f4")
        self.num_rows += len(rows)
        self.file.seek(0)
        shape = (self.num_rows, rows.shape[1])
        np.lib.format.write_array_header_1_0(self.file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        self.file.seek(0, os.SEEK_END)
        self.file.write(rows.tobytes())


class Nowhere:
    """No place: the results are only printed."""

    def write(self, records: list[Record]) -> None:
        pass


@contextmanager
def writer(output: str) -> Iterator[Writer]:
    """Yield a writer to a new file, which takes the place of `output` at the end; after an error nothing has changed."""
    if not output:
        yield Nowhere()
        return
    path = Path(output).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as file:
        yield Npy(file) if path.suffix == ".npy" else Jsonl(file)
