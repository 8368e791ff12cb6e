"""Work in pieces that do not depend on each other, on all cores, with a bar that says how long it will take."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable[..., None], items: dict[Any, int], workers: int | None, label: str, progress: bool, done: int = 0
) -> None:
    """Calls `function(item)` for all items, in no order that counts; what it returns is dropped.

    Args:
        items: item -> how many bytes it is worth on the bar.
        workers: processes; None for one a core. With one, with one item, or within a worker, everything happens here.
        done: bytes that an earlier attempt did.
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


def _sizes(function: Callable[..., None], items: dict[Any, int], workers: int) -> Iterable[int]:
    """The size of each item as it is finished."""
    if workers <= 1 or multiprocessing.current_process().name != "MainProcess":  # the runs of a sweep have the cores
        return (_call(function, item, size) for item, size in items.items())
    parallel = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
    return parallel(delayed(_call_in_worker)(os.getpid(), function, item, size) for item, size in items.items())


def _call(function: Callable[..., None], item: Any, size: int) -> int:
    function(item)
    return size


def _call_in_worker(parent: int, function: Callable[..., None], item: Any, size: int) -> int:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the cores are taken by the other processes
    _follow(parent)
    return _call(function, item, size)


@lru_cache  # once in each process
def _follow(parent: int) -> None:
    """A worker whose parent was killed has nobody to work for; Ctrl-C is for the parent, which then ends its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
