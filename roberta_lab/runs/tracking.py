"""The metrics of a run: written to `metrics.jsonl` in its folder, and copied from there to `metrics.csv` and to W&B.

`metrics.jsonl` has one row per step, and no row twice after a resume. W&B writes to local files (offline) unless a key
is set, so it needs no account, asks no question and uses no network.
"""

import csv
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from roberta_lab.config import Config, Damaged, naming
from roberta_lab.config.formatting import csv_cell
from roberta_lab.data import claims
from roberta_lab.data.foreign import NO_JSON
from roberta_lab.data.storage import replacing, write
from roberta_lab.runs import perf, provenance, results
from roberta_lab.runs.perf import PerfFile
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.wandb import mirror
from roberta_lab.training.rows import METRICS, Cut, Row


class MetricsFile:
    """A file of rows as JSON lines. Training flushes it before saving a checkpoint, so no saved step lacks its row."""

    def __init__(self, path: Path, up_to_step: int = 0, saved: bytes | None = None) -> None:
        """Keep the rows of an earlier attempt up to `up_to_step`: `saved`, or where that is None those in the file.

        A new file takes the place of the earlier one, so that a process which had that open writes nothing here.
        Raises Damaged, before anything is changed, when the rows are not whole.
        """
        self.path = path
        kept = _rows_up_to(path, up_to_step) if saved is None else saved
        if saved and not _content(path).startswith(saved):
            print(f"{path} was damaged; its rows are taken from the checkpoint of step {up_to_step:,}", flush=True)
        with replacing(path, size=len(kept)) as file:
            file.write(kept)
        self._written = hashlib.sha256(kept)
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (`close` ends it)

    def write(self, row: Row) -> None:
        """Append a row."""
        line = row.to_json() + "\n"
        with naming(self.path, len(line)):
            self._file.write(line)
        self._written.update(line.encode())

    def flush(self) -> None:
        """Wait until the disk has all rows."""
        with naming(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def saved(self) -> bytes:
        """Return all that was written. Raises Damaged when the file holds anything else."""
        found = _content(self.path)
        if hashlib.sha256(found).digest() != self._written.digest():
            what = "was changed while the run was going on"
            raise Damaged.at(self.path, what, "the same command goes on from the last checkpoint")
        return found

    def close(self) -> None:
        """Flush and close the file."""
        with closing(self._file):
            self.flush()


def _rows_up_to(path: Path, step: int) -> bytes:
    """Return the lines of a file up to a step. Raises Damaged unless each step has its row, in order and each once."""
    content = _content(path)
    kept = [(line, row) for line, row in complete_rows(content) if row.step <= step]
    steps, trained = [row.step for _, row in kept], [row.step for _, row in kept if "lr" in row]
    lines = b"".join(line for line, _ in kept)
    each_once = steps == sorted(steps) and len(trained) == len({*trained}) and {*steps} >= {*range(1, step + 1)}
    if step > 0 and not (each_once and content.startswith(lines)):
        raise Damaged.at(path, f"has not one row for each of the steps 1 to {step:,}", "they are lost")
    return lines


def complete_rows(text: bytes) -> Iterator[tuple[bytes, Row]]:
    """Yield each complete line of a metrics file, or of a part of it, with the row that it holds."""
    for line in text.splitlines(keepends=True):
        with suppress(*NO_JSON):
            if line.endswith(b"\n"):
                yield line, Row.from_json(line)


def read(path: Path) -> list[Row]:
    """Return the rows of a `metrics.jsonl`; an empty list if the file does not exist."""
    return [row for _, row in complete_rows(_content(path))]


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def with_speed(rows: Sequence[Row], speed: Sequence[Row]) -> list[Row]:
    """Return rows of metrics and of speed in the order of their steps, as they were written."""
    return sorted([*rows, *speed], key=lambda row: row.step)


def write_csv(path: Path, rows: list[Row]) -> None:
    """Write rows as a CSV table with a column per metric; a cell is empty where its row lacks the metric."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, names)
    writer.writerow({name: csv_cell(name) for name in names})
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    write(path, written.getvalue())


def show_again(config: Config, directory: Path, kind: str, label: str, science: Mapping[str, object]) -> None:
    """Give W&B the rows and the result of a complete run once more: its agent has a new run for it, which nothing made."""
    result = results.read(directory)
    shown = mirror.start(config, directory, kind, label, science, 0)
    if shown is None or result is None:
        return
    shown.log_again(with_speed(read(directory / METRICS), perf.read(directory)))
    shown.summarize(shown.keys.summary(config, kind, result.to_json()))
    shown.finish(seconds=mirror.FINISH_SECONDS)


class Tracker:
    """The metrics file of one run and its copy in W&B: the `RowLog` that training writes to. `close` ends both."""

    def __init__(self, config: Config, directory: Path, kind: str, label: str, science: Mapping[str, object]) -> None:
        self.config, self.directory, self.kind, self.label, self.science = config, directory, kind, label, science
        self.file: MetricsFile | None = None
        self.speed = PerfFile(directory, self._send)  # of pretraining
        self.mirror: mirror.Mirror | None = None

    def resume(self, step: int, saved: bytes | None = None) -> None:
        """Open the file, keep the rows of an earlier attempt up to `step`, and start W&B. Call it before `write`."""
        self.file = MetricsFile(self.directory / METRICS, step, saved)
        self.mirror = mirror.start(self.config, self.directory, self.kind, self.label, self.science, step)
        if self.kind == "pretrain":
            self.speed.resume(step)
        if self.mirror is not None:
            self.mirror.log_again(with_speed(self.read(), self.speed.rows()))

    def write(self, row: Row) -> None:
        """Append a row to the file, and send it to W&B."""
        assert self.file is not None, "call resume first"
        self.file.write(row)
        self._send(row)

    def _send(self, row: Row) -> None:
        if self.mirror is not None:
            self.mirror.log(row)

    def read(self) -> list[Row]:
        """Return all rows of the run, those of earlier attempts too."""
        return read(self.directory / METRICS)

    def flush(self) -> None:
        """Wait until the disk has all rows."""
        assert self.file is not None, "call resume first"
        claims.check(self.directory)
        self.file.flush()
        self.speed.flush()

    def saved(self) -> bytes:
        """Return all rows as they stand in the file."""
        assert self.file is not None, "call resume first"
        return self.file.saved()

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
        self.speed.close()
        if result is not None and self.file is not None:
            claims.check(self.directory)
            self.file.saved()
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
