"""`--json`: what a command answers to programs, as one JSON document on standard output; all other text goes to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roberta_lab.data.storage import Json

FLAG = "--json"


@contextmanager
def alone_on_stdout() -> Iterator[None]:
    """Send what is printed in the block to standard error, also what the processes print that are started in it."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def write(answer: Json) -> None:
    """Print the document in one line. A reader that has gone is no error."""
    from roberta_lab.data.storage import finite

    try:
        print(json.dumps(finite(answer), allow_nan=False), flush=True)
    except BrokenPipeError:
        close_stdout()


def error(message: str, code: int, found: object = None) -> Json:
    """Return the answer of a command that failed: the first line of its message and the exit code, after what it found."""
    said: dict[str, Json] = {"error": message.partition("\n")[0], "exit": code}
    return {**found, **said} if isinstance(found, Mapping) else said


def close_stdout() -> None:
    """Send to nowhere what is still printed: the reader has read enough (`roberta-lab inspect | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
