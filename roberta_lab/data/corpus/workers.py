"""Run independent pieces of work on all cores, with a progress bar."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Set
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
    sizes: dict[_T, int],
    finished: Set[_T],
    workers: int | None,
    name: str,
    progress: bool,
) -> None:
    """Call `function(item)` for all items of `sizes` that are not `finished`, in any order. The bar counts their bytes.

    `workers` processes do the work, None for one per core; with one, with one item, or within a worker, this process does.
    """
    missing = {item: size for item, size in sizes.items() if item not in finished}
    is_alone = multiprocessing.current_process().name != "MainProcess"  # the runs of a sweep have the cores
    n_jobs = 1 if is_alone else max(1, min(workers or cores(), len(missing)))
    parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs")
    by_bytes = any(missing.values())
    unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if by_bytes else {"unit": "part"}
    total = sum(sizes.values()) if by_bytes else len(missing)
    done = sum(sizes[item] for item in finished) if by_bytes else 0
    with tqdm(total=total, initial=done, desc=name, mininterval=0.5, disable=not progress, **unit) as bar:
        for item in parallel(delayed(_called)(os.getpid(), function, item) for item in missing):
            bar.update(missing[item] if by_bytes else 1)


def _called(parent: int, function: Callable[[_T], None], item: _T) -> _T:
    if os.getpid() != parent:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the cores are taken by the other processes
        _end_with(parent)
    function(item)
    return item


@lru_cache  # once in each process
def _end_with(parent: int) -> None:
    """End this worker when its parent was killed, and ignore Ctrl-C: it is for the parent, which ends its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
