"""The metrics of a run: written to `metrics.jsonl` in its folder, and copied from there to `metrics.csv` and to W&B.

`metrics.jsonl` has one row per step, and no row twice after a resume. W&B writes to local files (offline) unless a key
is set, so it needs no account, asks no question and uses no network.
"""

import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.config.formatting import csv_cell
from roberta_lab.data.storage import write
from roberta_lab.runs import provenance, results
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.wandb import mirror
from roberta_lab.training.rows import Cut, Row


class MetricsFile:
    """A file of rows as JSON lines. Training flushes it before saving a checkpoint, so no saved step lacks its row."""

    def __init__(self, path: Path, up_to_step: int = 0) -> None:
        """Keep the rows of an earlier attempt up to `up_to_step`; drop later rows and a line that was cut short."""
        self.path = path
        kept = [line for line, row in complete_rows(_content(path)) if row.step <= up_to_step]
        write(path, b"".join(kept))
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (`close` ends it)

    def write(self, row: Row) -> None:
        """Append a row."""
        self._file.write(row.to_json() + "\n")

    def flush(self) -> None:
        """Wait until the disk has all rows."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file."""
        self.flush()
        self._file.close()


def complete_rows(text: bytes) -> Iterator[tuple[bytes, Row]]:
    """Yield each complete line of a metrics file, or of a part of it, with the row that it holds."""
    for line in text.splitlines(keepends=True):
        with suppress(ValueError):
            if line.endswith(b"\n"):
                yield line, Row.from_json(line)


def read(path: Path) -> list[Row]:
    """Return the rows of a `metrics.jsonl`; an empty list if the file does not exist."""
    return [row for _, row in complete_rows(_content(path))]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as a CSV table with a column per metric; a cell is empty where its row lacks the metric."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writerow({name: csv_cell(name) for name in names})
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)


def show_again(config: Config, directory: Path, kind: str, label: str, science: Mapping[str, object]) -> None:
    """Give W&B the rows and the result of a complete run once more: its agent has a new run for it, which nothing made."""
    result = results.read(directory)
    shown = mirror.start(config, directory, kind, label, science, 0)
    if shown is None or result is None:
        return
    shown.log_again(read(directory / "metrics.jsonl"))
    shown.summarize(shown.keys.summary(config, kind, result.to_json()))
    shown.finish()


class Tracker:
    """The metrics file of one run and its copy in W&B: the `RowLog` that training writes to. `close` ends both."""

    def __init__(self, config: Config, directory: Path, kind: str, label: str, science: Mapping[str, object]) -> None:
        self.config, self.directory, self.kind, self.label, self.science = config, directory, kind, label, science
        self.file: MetricsFile | None = None
        self.mirror: mirror.Mirror | None = None

    def resume(self, step: int) -> None:
        """Open the file, keep the rows of an earlier attempt up to `step`, and start W&B. Call it before `write`."""
        self.file = MetricsFile(self.directory / "metrics.jsonl", step)
        self.mirror = mirror.start(self.config, self.directory, self.kind, self.label, self.science, step)
        if self.mirror is not None:
            self.mirror.log_again(self.read())

    def write(self, row: Row) -> None:
        """Append a row to the file, and send it to W&B."""
        assert self.file is not None, "call resume first"
        self.file.write(row)
        if self.mirror is not None:
            self.mirror.log(row)

    def read(self) -> list[Row]:
        """Return all rows of the run, those of earlier attempts too."""
        return read(self.directory / "metrics.jsonl")

    def flush(self) -> None:
        """Wait until the disk has all rows."""
        assert self.file is not None, "call resume first"
        self.file.flush()

    def note_cut(self, cut: Cut) -> None:
        """Note how steps are cut, and on what device."""
        provenance.note_cut(self.directory, cut)
        self.note({"cut": asdict(cut), "device": cut.device})

    def note(self, settings: Mapping[str, object]) -> None:
        """Add settings to what W&B shows of the run."""
        if self.mirror is not None:
            self.mirror.note(settings)

    def note_chance(self, scores: Callable[[], Mapping[str, float]]) -> None:
        """Show in W&B beside each of these dev scores what a constant prediction gets."""
        if self.mirror is not None:
            self.mirror.chance |= {f"dev/{name}": value for name, value in scores().items()}

    def show(self, media: Callable[[], Mapping[str, object]]) -> None:
        """Show tables and plots in W&B, if there is one: else they are not made."""
        if self.mirror is not None:
            self.mirror.show(media)

    def close(self, result: RunResult | None = None) -> None:
        """Close the file and the W&B run. With a result (a complete run), write `metrics.csv` and W&B's summary too.

        Without one, W&B shows the run as what the exception at hand says: stopped, or failed.
        """
        if self.file is not None:
            self.file.close()
        if result is not None:
            write_csv(self.directory / "metrics.csv", self.read())
        if self.mirror is None:
            return
        if result is not None:
            self._summarize(self.mirror, result)
        error = None if result is not None else sys.exception() or RuntimeError("no result")
        self.mirror.finish(error)

    def _summarize(self, shown: mirror.Mirror, result: RunResult) -> None:
        values = result.to_json()
        shown.summarize(shown.keys.summary(self.config, self.kind, values))
        if made_from := result.pretrain_run_id:
            shown.log_input("pretrain", self.directory.parent.parent / "pretrain" / made_from)
        shown.log_output(self.kind, self.directory)
        if values.get("diverged"):
            shown.alert("diverged", f"{self.label}: the loss never fell")
