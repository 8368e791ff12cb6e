"""Run independent pieces of work on all cores, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from joblib import Parallel, delayed
from tqdm import tqdm

_T = TypeVar("_T")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable[[_T], None],
    items: dict[_T, int],
    workers: int | None,
    label: str,
    progress: bool,
    done: int = 0,
) -> None:
    """Call `function(item)` for all items, in any order.

    Args:
        items: item -> its bytes, in which the bar counts.
        workers: processes; None for one per core. With one, with one item, or within a worker, this process does the work.
        done: bytes that an earlier attempt has finished.
    """
    workers = min(workers or cores(), len(items))
    by_bytes = sum(items.values()) > 0
    total = done + sum(items.values()) if by_bytes else len(items)
    unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if by_bytes else {"unit": "part"}
    with tqdm(
        total=total, initial=done if by_bytes else 0, desc=label, mininterval=0.5, disable=not progress, **unit
    ) as bar:
        for size in _sizes(function, items, workers):
            bar.update(size if by_bytes else 1)


def _sizes(function: Callable[[_T], None], items: dict[_T, int], workers: int) -> Iterable[int]:
    """Yield the size of each item as it is finished."""
    if workers <= 1 or multiprocessing.current_process().name != "MainProcess":  # the runs of a sweep have the cores
        return (_call(function, item, size) for item, size in items.items())
    parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
    calls = (delayed(_call_in_worker)(os.getpid(), function, item, size) for item, size in items.items())
    sizes: Iterable[int] = parallel(calls)
    return sizes


def _call(function: Callable[[_T], None], item: _T, size: int) -> int:
    function(item)
    return size


def _call_in_worker(parent: int, function: Callable[[_T], None], item: _T, size: int) -> int:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the cores are taken by the other processes
    _end_with(parent)
    return _call(function, item, size)


@lru_cache  # once in each process
def _end_with(parent: int) -> None:
    """End this worker when its parent was killed, and ignore Ctrl-C: it is for the parent, which ends its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
