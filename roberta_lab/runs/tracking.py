"""Where metrics go. `metrics.jsonl` in the run's directory is the source of truth, one row per step, none twice after a
resume; `metrics.csv` and W&B are made from the same rows.

W&B is offline unless a key is set: no account, no question, no wait for a network.
"""

from __future__ import annotations

import csv
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from roberta_lab.config import Config
from roberta_lab.data.storage import write
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.wandb import mirror
from roberta_lab.training.rows import Row


class MetricsFile:
    """Rows as JSON lines. `flush` makes them durable, so that a checkpoint is never ahead of its rows."""

    def __init__(self, path: Path, up_to_step: int = 0) -> None:
        """Keeps the rows of an earlier attempt up to the step it goes on from; a line that was cut short is dropped."""
        self.path = path
        kept = [line for line, row in _rows(path) if row.step <= up_to_step]
        write(path, b"".join(kept))
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (closed by close; whole rows for readers)

    def write(self, row: Row) -> None:
        self._file.write(row.to_json() + "\n")

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
                found.append((line, Row.from_json(line)))
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


class Tracker:
    """The metrics file of one run, and its mirror in W&B; `close` ends both, so that the next job starts its own."""

    def __init__(self, config: Config, directory: Path, kind: str, name: str, science: dict[str, Any]) -> None:
        self.directory, self.kind = directory, kind
        self.start_mirror = partial(mirror.start, config, directory, kind, name, science)
        self.file: MetricsFile | None = None
        self.mirror: mirror.Mirror | None = None

    def resume(self, step: int) -> None:
        """Keep the rows of an earlier attempt up to `step`; called once, before the first row."""
        self.file = MetricsFile(self.directory / "metrics.jsonl", step)
        self.mirror = self.start_mirror()

    def write(self, row: Row) -> None:
        assert self.file is not None, "resume comes first"
        self.file.write(row)
        if self.mirror is not None:
            self.mirror.log(row)

    def read(self) -> list[Row]:
        return read(self.directory / "metrics.jsonl")

    def flush(self) -> None:
        assert self.file is not None, "resume comes first"
        self.file.flush()

    def close(self, result: RunResult | None = None) -> None:
        """With a result, the run is complete: its numbers become W&B's summary, its rows the CSV file."""
        if self.file is not None:
            self.file.close()
        if result is not None:
            write_csv(self.directory / "metrics.csv", self.read())
        if self.mirror is None:
            return
        if result is not None:
            self.mirror.summarize(result.to_json())
            if made_from := result.pretrain_run_id:
                self.mirror.used("pretrain", self.directory.parent.parent / "pretrain" / made_from)
            self.mirror.made(self.kind, self.directory)
        self.mirror.finish(succeeded=result is not None)
