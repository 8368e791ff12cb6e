"""The progress of the runs of a sweep, which may be other processes: a thread looks at the files that every run writes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from roberta_lab.config.formatting import elapsed
from roberta_lab.runs import results
from roberta_lab.runs.jobs import Job
from roberta_lab.training.rows import Row

TAIL = 4096  # bytes at the end of metrics.jsonl, which hold several rows
MOST_LINES = 12


def last_row(path: Path) -> dict[str, float]:
    """Return the newest values of each name in the last rows of a `metrics.jsonl`; empty without a whole row."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return {}
    found: dict[str, float] = {}
    for line in lines:
        with suppress(ValueError):  # a line that TAIL cut
            found |= Row.from_json(line) if line.endswith(b"\n") else {}
    return found


class Overview:
    """A view of runs: `with Overview(...)` shows them until the block ends, each finished one on a line of its own."""

    def __init__(self, title: str, runs: Sequence[Job], stream: TextIO, every: float | None = None) -> None:
        self.title, self.runs = title, list(runs)
        self.console = Console(file=stream, soft_wrap=True, markup=False, highlight=False)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.every = every if every is not None else 1.0 if self.console.is_terminal else 10.0
        self.done: set[Path] = {job.path for job in runs if job.is_complete}
        self.first_seen: dict[Path, tuple[float, float]] = {}  # when, and at which step
        self.start = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Overview:
        if self.console.is_terminal:
            self.live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.look(last=True)
        self.live.stop()

    def _watch(self) -> None:
        while not self._ended.wait(self.every):
            self.look()

    def look(self, last: bool = False) -> None:
        """Look once and show what is new; in a file, runs that stand still are not named again."""
        finished = [job for job in self.runs if job.path not in self.done and job.is_complete]
        self.done |= {job.path for job in finished}
        running = [job for job in self.runs if job.path not in self.done and (job.path / "owner.json").is_file()]
        for job in finished:
            result = results.read(job.path)
            assert result is not None
            self.console.print(f"{job.name}: {result.summary()}, {elapsed(result.seconds)}, {job.path}")
        lines = [f"{job.name}: {self._progress(job)}" for job in running][:MOST_LINES]
        counts = f"{len(self.done)} of {len(self.runs)} done, {len(running)} running"
        summary = f"{self.title}: {counts}, {elapsed(time.monotonic() - self.start)}"
        if self.live.is_started:
            block = Text("\n  ".join([summary, *lines]), no_wrap=True, overflow="ellipsis")
            self.live.update(block, refresh=True)
        elif running and not last:
            self.console.print(f"{summary}: {'; '.join(lines)}")

    def _progress(self, job: Job) -> str:
        """Return `1,200 of 2,000 steps, 12.0 steps/s, 1 min 7 s left, val/ppl 45.2`, as far as it is known."""
        row = last_row(job.path / "metrics.jsonl")
        if "step" not in row:
            return "starts"
        step, now = row["step"], time.monotonic()
        since, first = self.first_seen.setdefault(job.path, (now, step))
        if job.kind == "pretrain":
            steps = job.config.batch_size.steps
            parts, share = [f"{step:,} of {steps:,} steps"], step / steps
        else:
            epoch, epochs = row.get("epoch", 0.0), job.config.finetune.epochs
            parts, share = [f"epoch {epoch:.1f} of {epochs}"], epoch / epochs
        if step > first and 0 < share < 1:
            rate = (step - first) / (now - since)
            parts += [f"{rate:.1f} steps/s", f"{elapsed((step / share - step) / rate)} left"]
        name = "val/ppl" if job.kind == "pretrain" else f"dev/{job.config.task.metric}"
        return ", ".join([*parts, *([f"{name} {row[name]:.1f}"] if name in row else [])])
