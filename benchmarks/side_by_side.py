"""Times pieces of work against each other, and prints a Markdown table that says what was measured with what.

The pieces take turns, so that a machine that slows down slows down all of them; a ratio is the median of the ratios within
a turn. One thread, so that figures do not depend on who else uses the machine's other cores.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TOKENIZERS_PARALLELISM")
SHORTEST_TURN = 0.03  # seconds; quicker calls are repeated until a turn has lasted so long
FEWEST_TURNS = 5


@dataclass(frozen=True)
class Work:
    """Something to time: `amount` is how many units (tokens, examples) one call does."""

    name: str
    call: Callable[[], object]
    amount: float


@dataclass(frozen=True)
class Timed:
    """Units per second of a piece of work, turn by turn."""

    name: str
    rates: list[float]


def one_thread() -> None:
    """Asks libraries loaded from here on for one thread, and torch and Arrow also if they are loaded."""
    for name in THREADS:
        os.environ[name] = "false" if name.startswith("TOKENIZERS") else "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].set_cpu_count(1)


def alternate(works: Sequence[Work], seconds: float, fewest_turns: int = FEWEST_TURNS) -> list[Timed]:
    """Times each piece of work in turn, about `seconds` for each in all; a first call of each is not counted."""
    for work in works:
        work.call()
    rates: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds * len(works)
    while time.perf_counter() < end or len(rates[0]) < fewest_turns:
        for work, found in zip(works, rates, strict=True):
            found.append(_turn(work))
    return [Timed(work.name, found) for work, found in zip(works, rates, strict=True)]


def _turn(work: Work) -> float:
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SHORTEST_TURN or not calls:
        work.call()
        calls += 1
    return work.amount * calls / spent


def compared(unit: str, timed: Sequence[Timed]) -> str:
    """A table of rates, each also as a multiple of the first; the spread is from the slowest to the fastest turn."""
    lines = [f"| | {unit} per second, median | times the first | spread | turns |", "|---|---:|---:|---:|---:|"]
    for one in timed:
        ratio = median(a / b for a, b in zip(one.rates, timed[0].rates, strict=True))
        spread = f"{short(min(one.rates))} to {short(max(one.rates))}"
        lines.append(f"| {one.name} | {short(median(one.rates))} | {ratio:.2f} | {spread} | {len(one.rates)} |")
    return "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table of anything; numbers to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def short(number: float) -> str:
    """Three digits with K, M or G: 1234567 -> 1.23 M."""
    for factor, letter in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if abs(number) >= factor:
            return f"{number / factor:#.3g}".rstrip(".") + letter
    return f"{number:.3g}"


def setting(*packages: str) -> str:
    """One line: versions, GPU, processor, threads, load. A package that is not installed is named as such."""
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]
    cores = os.cpu_count()
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    return f"{', '.join(versions)}; {_gpu()}{_processor()}, {cores} cores, one thread used, {load} at the end."


def _gpu() -> str:
    """The GPU in use, if torch is loaded and sees one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return ""
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; "


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
