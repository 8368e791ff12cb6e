"""Where metrics go. `metrics.jsonl` in the run's directory is the source of truth, one row per step, none twice after a
resume; `metrics.csv` and W&B are made from the same rows.

W&B is offline unless a key is set: no account, no question, no wait for a network.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from roberta_lab import wandb_mirror
from roberta_lab.config import Config

Row = dict[str, Any]


class MetricsFile:
    """Rows as JSON lines. `flush` makes them durable, so that a checkpoint is never ahead of its rows."""

    def __init__(self, path: Path, up_to_step: int = 0) -> None:
        """Keeps the rows of an earlier attempt up to the step it goes on from; a line that was cut short is dropped."""
        self.path = path
        kept = [line for line, row in _rows(path) if row["step"] <= up_to_step]
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(b"".join(kept))
        os.replace(temporary, path)
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (closed by close; whole rows for readers)

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.flush()
        self._file.close()


def _rows(path: Path) -> list[tuple[bytes, Row]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines(keepends=True):
        with suppress(ValueError):
            if line.endswith(b"\n"):
                found.append((line, json.loads(line)))
    return found


def read(path: Path) -> list[Row]:
    """The rows of a `metrics.jsonl`; none if it does not exist."""
    return [row for _, row in _rows(path)]


def write_csv(path: Path, rows: list[Row]) -> None:
    """The same rows as one table: a column per name, empty where a row has none."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


class NoRows:
    """For the ranks that write none."""

    def write(self, row: Row) -> None:
        pass

    def flush(self) -> None:
        pass


class Tracker:
    """The metrics file of one run, and its mirror in W&B; `close` ends both, so that the next job starts its own."""

    def __init__(
        self, config: Config, directory: Path, kind: str, name: str, science: Row, up_to_step: int = 0
    ) -> None:
        self.directory, self.kind = directory, kind
        self.file = MetricsFile(directory / "metrics.jsonl", up_to_step)
        self.mirror = wandb_mirror.start(config, directory, kind, name, science)
        self.observers: list[Callable[[Row], None]] = []

    def write(self, row: Row) -> None:
        self.file.write(row)
        if self.mirror is not None:
            self.mirror.log(row)
        for observe in self.observers:
            observe(row)

    def flush(self) -> None:
        self.file.flush()

    def close(self, result: Row | None = None) -> None:
        """With a result, the run is complete: its numbers become W&B's summary, its rows the CSV file."""
        self.file.close()
        if result is not None:
            write_csv(self.directory / "metrics.csv", read(self.file.path))
        if self.mirror is None:
            return
        if result is not None:
            self.mirror.summarize(result)
            if made_from := result.get("pretrain_run_id"):
                self.mirror.used("pretrain", self.directory.parent.parent / "pretrain" / made_from)
            self.mirror.made(self.kind, self.directory)
        self.mirror.finish(succeeded=result is not None)
