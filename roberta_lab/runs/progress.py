"""How far the running jobs of a sweep are, and how long the missing ones will take.

Jobs may be other processes, so a thread looks at the files that every run writes.
"""

import dataclasses
import heapq
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from roberta_lab.config import Damaged
from roberta_lab.config.formatting import elapsed
from roberta_lab.data import claims, network_files, verified
from roberta_lab.runs import results, tracking, yaml_file
from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.jobs import Job

TAIL = 4096  # bytes at the end of metrics.jsonl, which hold several rows
MOST_LINES = 12
NEWEST = 300  # complete runs of each kind that are looked at
Size = tuple[object, ...]
Rates = dict[Size, list[float]]


def last_row(path: Path) -> dict[str, float]:
    """Return the newest values of each name in the last rows of a `metrics.jsonl`; empty without a whole row."""
    rows = tracking.complete_rows(network_files.tail(path, TAIL))
    return {name: value for _, row in rows for name, value in row.items()}


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

    def __enter__(self) -> Self:
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
            try:
                result = results.read(job.path)
                said = "removed" if result is None else f"{result.summary()}, {elapsed(result.seconds)}, {job.path}"
            except Damaged as damage:
                said = str(damage)
            self.console.print(f"{job.name}: {said}")
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
        if job.kind == "evaluate":
            return "scores"
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
        measured = [name for name in row if name.startswith("val/") and not name.endswith("_loss")]
        shown = measured[:1] if job.kind == "pretrain" else [f"dev/{job.config.task.metric}"]
        return ", ".join([*parts, *(f"{name} {row[name]:.1f}" for name in shown if name in row)])


@dataclass(frozen=True)
class Standing:
    """How far a run is, by its folder alone; None where that is not known."""

    step: int | None = None
    steps: int | None = None
    rate: float | None = None  # steps a second, since the process at hand began
    left: float | None = None  # seconds

    def __str__(self) -> str:
        if self.step is None:
            return ""
        parts = [f"step {self.step:,}" + (f" of {self.steps:,}" if self.steps is not None else "")]
        parts += [f"{self.rate:.3g} steps/s"] if self.rate is not None else []
        parts += [f"{elapsed(self.left)} left"] if self.left is not None else []
        return ", ".join(parts)


def standing(job: Job, is_running: bool) -> Standing:
    """Return how far a run is; of one that runs also how fast, from when its process claimed the folder."""
    log = job.path / "metrics.jsonl"
    row = last_row(log)
    if "step" not in row:
        return Standing()
    step = int(row["step"])
    if job.kind == "pretrain":
        steps: int | None = job.config.batch_size.steps
    else:
        epoch = row.get("epoch", 0.0)
        steps = round(step / epoch * job.config.finetune.epochs) if epoch else None
    owner = claims.owner(job.path / claims.NOTE) if is_running else None
    if owner is None or steps is None:
        return Standing(step, steps)
    rate = _rate(job.path, step, owner.since)
    return Standing(step, steps, rate, (steps - step) / rate if rate else None)


def _rate(run: Path, step: int, since: str) -> float | None:
    """Return the steps a second of the process that claimed a run's folder at a time; None where nothing tells it yet."""
    try:
        start = datetime.strptime(since, "%Y-%m-%dT%H:%M:%S%z").timestamp()
        files = [*(run / "checkpoints").glob("step-*.ckpt")]
        saved = sorted((path.stat().st_mtime, int(path.stem.removeprefix("step-"))) for path in files)
        now = (run / "metrics.jsonl").stat().st_mtime
    except (OSError, ValueError):
        return None
    before = max((number for at, number in saved if at < start), default=0)
    at, first = next(((at, number) for at, number in saved if at >= start and number < step), (start, before))
    return (step - first) / (now - at) if step > first and now > at else None


def size_of(kind: str, config: Mapping[str, Any]) -> tuple[Size, float]:
    """Return what runs of the same size share, and the work of one, to which its time is in proportion.

    Pretraining: model, length and precision; sequences. Finetuning: the same, task and its size; passes over the training set.
    Evaluation: the same, task and how it is scored.
    """
    shared = (
        kind,
        *config["model"].values(),
        config["precision"]["dtype"],
        config["trainer"]["devices"] * config["trainer"].get("nodes", 1),
    )
    if kind == "pretrain":
        batch = config["batch_size"]
        return (*shared, config["input_format"]["max_length"]), float(batch["steps"] * batch["sequences"])
    task, tune = config["task"], config["finetune"]
    if kind == "evaluate":
        return (*shared, task["name"], task["num_dev"], *config["evaluate"].values()), 1.0
    return (*shared, task["name"], task["num_train"], task["max_length"], tune["batch"]), float(tune["epochs"])


def measured(outputs: Path) -> Rates:
    """Return the seconds per unit of work of the newest complete runs, by their size."""
    rates: Rates = {}
    for kind in KINDS:
        found = sorted((outputs / kind).glob("*/result.json"), key=lambda p: p.stat().st_mtime)[-NEWEST:]
        for path in found:
            try:
                seconds = verified.read_json(path)["seconds"]
                key, work = size_of(kind, yaml_file.plain(verified.check(path.with_name("config.yaml"))))
                rates.setdefault(key, []).append(seconds / work)
            except (Damaged, OSError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError):
                continue  # of an older version, damaged, or not of this project
    return rates


def times(runs: Iterable[Job], rates: Rates) -> tuple[list[float], int]:
    """Return the seconds of each run, and how many are not known: no run of their size is complete."""
    found, unknown = [], 0
    for one in (run for run in runs if not run.is_trained):  # a run that only lacks a submission takes no time
        key, work = size_of(one.kind, dataclasses.asdict(one.config))
        if key in rates:
            found.append(median(rates[key]) * work)
        else:
            unknown += 1
    return found, unknown


def clock(durations: Iterable[float], side_by_side: int) -> float:
    """Return when the last one ends, if so many go side by side and each begins as soon as there is room, in this order."""
    ends = [0.0] * side_by_side
    for duration in durations:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)
