"""Read the texts that `predict` is given in blocks of lines, and write its results as JSON lines or `.npy`."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from roberta_lab.config import ConfigError, PredictConfig
from roberta_lab.config.paths import user_path
from roberta_lab.data.growing_array import GrowingArray
from roberta_lab.data.storage import replacing

BLOCK = 1024  # texts in memory at the same time
TRUNCATED = "truncated"  # a key of the record of a text that was cut; its value is true

Record: TypeAlias = dict[str, Any]  # a prediction; its keys are those of the task


def blocks(config: PredictConfig) -> Iterator[list[str]]:
    """Yield the texts of `predict.text` or the lines of `predict.file` in order, in blocks of BLOCK.

    Raise ConfigError for an empty file, or when a text is not UTF-8: a terminal gives lone surrogates then.
    """
    texts = _lines(config.file) if config.file else iter([config.text] if isinstance(config.text, str) else config.text)
    while block := list(islice(texts, BLOCK)):
        if any("\ud800" <= c <= "\udfff" for text in block for c in text):
            raise ConfigError("predict.text is not UTF-8.")
        yield block


def check(config: PredictConfig) -> None:
    """Raise ConfigError unless there is something to read, and the output is neither a folder nor the file that is read."""
    if not config.file and not config.text:
        raise ConfigError("predict.text or predict.file is missing; predict.file=- reads standard input.")
    file, output = user_path(config.file), user_path(config.output)
    if config.file not in ("", "-"):
        if not file.is_file() and not file.is_fifo():
            raise ConfigError(f"predict.file={config.file} is no file. Allowed: a text file, or - for standard input.")
        if config.output and output.exists() and output.samefile(file):
            raise ConfigError(f"predict.output={config.output} is the file that is read.")
    for key, name in (("output", config.output), ("figure", config.figure)):
        if name and user_path(name).is_dir():
            raise ConfigError(f"predict.{key}={name} is a folder.")


def _lines(name: str) -> Iterator[str]:
    """Yield the lines of a file without their ends. They end at \\n only: a text may hold any other character."""
    with nullcontext(sys.stdin.buffer) if name == "-" else open(user_path(name), "rb") as file:
        number = 0
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ConfigError(f"predict.file={name}: line {number} is not UTF-8 ({error.reason}).") from None
            yield text.removesuffix("\n").removesuffix("\r")
        if not number:
            raise ConfigError(f"predict.file={name} is empty.")


@contextmanager
def writer(output: str) -> Iterator[Callable[[list[Record]], None]]:
    """Yield a function that writes records to a new file, which takes the place of `output` at the end.

    It writes JSON lines, arrays as lists; to `.npy`, the `vector` of each record as a row; nothing without `output`. After
    an error nothing has changed.
    """
    if not output:
        yield lambda records: None
        return
    path = user_path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as file:
        if path.suffix == ".npy":
            vectors = GrowingArray(file, np.dtype("<f4"))
            yield lambda records: vectors.append(np.stack([record["vector"] for record in records]))
        else:
            yield lambda records: file.writelines(_json(record) for record in records)


def _json(record: Record) -> bytes:
    return json.dumps(record, ensure_ascii=False, default=np.ndarray.tolist).encode() + b"\n"
