"""What the runs of a sweep are doing, while they do it: a line per running job on a terminal, a line every ten seconds in a file.

The jobs may be other processes, on other machines even; so a thread looks at the files that every run writes.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from roberta_lab.config.formatting import elapsed
from roberta_lab.runs import results
from roberta_lab.runs.jobs import SweepRun

TAIL = 4096  # bytes at the end of metrics.jsonl, which hold several rows
MOST_LINES = 12


def last_row(path: Path) -> dict[str, Any]:
    """The newest values of each name in the last rows of a `metrics.jsonl`; empty without a whole row."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return {}
    found: dict[str, Any] = {}
    for line in lines:
        try:
            found |= json.loads(line) if line.endswith(b"\n") else {}
        except ValueError:
            continue  # cut by TAIL
    return found


class Overview:
    """`with Overview(...)`: shows the runs until the block ends, each finished one on a line of its own."""

    def __init__(self, title: str, runs: Sequence[SweepRun], stream: TextIO, every: float | None = None) -> None:
        self.title, self.runs, self.stream = title, list(runs), stream
        self.live = stream.isatty()
        self.every = every if every is not None else 1.0 if self.live else 10.0
        self.done: set[Path] = {one.path for one in runs if one.is_complete}
        self.first_seen: dict[Path, tuple[float, int]] = {}
        self.start, self.drawn = time.monotonic(), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Overview:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()
        self.look(last=True)

    def _watch(self) -> None:
        while not self._ended.wait(self.every):
            self.look()

    def look(self, last: bool = False) -> None:
        """Looks once and shows what is new; in a file nothing is said again of runs that stand still."""
        finished = [one for one in self.runs if one.path not in self.done and one.is_complete]
        self.done |= {one.path for one in finished}
        running = [one for one in self.runs if one.path not in self.done and (one.path / "owner.json").is_file()]
        lines = [f"  {one.name}: {self._progress(one)}" for one in running]
        text = "".join(f"{_finished(one)}\n" for one in finished)
        if self.live:
            text = (f"\x1b[{self.drawn}A\x1b[J" if self.drawn else "") + text
            block = [] if last else [self._summary(len(running)), *lines[:MOST_LINES]]
            width = shutil.get_terminal_size().columns - 1
            text += "".join(f"{line[:width]}\n" for line in block)
            self.drawn = len(block)
        elif not last and running:
            text += f"{self._summary(len(running))}: {'; '.join(line.strip() for line in lines[:MOST_LINES])}\n"
        self.stream.write(text)
        self.stream.flush()

    def _summary(self, running: int) -> str:
        seconds = time.monotonic() - self.start
        return f"{self.title}: {len(self.done)} of {len(self.runs)} done, {running} running, {elapsed(seconds)}"

    def _progress(self, one: SweepRun) -> str:
        """`1,200 of 2,000 steps, 12.0 steps/s, 1 min 7 s left, val/ppl 45.2`, as far as it is known."""
        row = last_row(one.path / "metrics.jsonl")
        if "step" not in row:
            return "starts"
        step, now = row["step"], time.monotonic()
        since, first = self.first_seen.setdefault(one.path, (now, step))
        if one.kind == "pretrain":
            steps = one.config.batch_size.steps
            said, share = f"{step:,} of {steps:,} steps", step / steps
        else:
            epochs = one.config.finetune.epochs
            said, share = f"epoch {row.get('epoch', 0):.1f} of {epochs}", row.get("epoch", 0) / epochs
        parts = [said]
        if step > first and 0 < share < 1:
            rate = (step - first) / (now - since)
            parts += [f"{rate:.1f} steps/s", f"{elapsed((step / share - step) / rate)} left"]
        name = "val/ppl" if one.kind == "pretrain" else f"dev/{one.config.task.metric}"
        return ", ".join([*parts, *([f"{name} {row[name]:.1f}"] if name in row else [])])


def _finished(one: SweepRun) -> str:
    """Return the line of a complete run."""
    result = results.read(one.path)
    assert result is not None
    return f"{one.name}: {result.summary()}, {elapsed(result.seconds)}, {one.path}"
