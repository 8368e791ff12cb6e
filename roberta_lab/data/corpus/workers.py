"""Run independent pieces of work on all cores, with a progress bar."""

import os
from collections.abc import Callable, Set
from typing import TypeVar

from tqdm import tqdm

from roberta_lab.config import ProcessDied
from roberta_lab.data import pool

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
    Raises the first error of an item; ProcessDied when a process was killed, after which the same call goes on.
    """
    missing = [item for item in sizes if item not in finished]
    number = 1 if pool.is_one() else max(1, min(workers or cores(), len(missing)))
    by_bytes = any(sizes[item] for item in missing)
    unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if by_bytes else {"unit": "part"}
    total = sum(sizes.values()) if by_bytes else len(sizes)
    done = sum(sizes[item] for item in finished) if by_bytes else len(finished)
    with tqdm(total=total, initial=done, desc=name, mininterval=0.5, disable=not progress, **unit) as bar:
        if number == 1:
            for item in missing:
                function(item)
                bar.update(sizes[item] if by_bytes else 1)
            return
        with pool.Pool(number) as processes:
            for i, outcome in processes.outcomes([(function, (item,)) for item in missing]):
                if isinstance(outcome.error, ProcessDied):
                    way_out = "what is finished stays; the same command goes on, prepare.workers=1 takes less memory"
                    raise ProcessDied(f"{name}: {outcome.error}; {way_out}.")
                if outcome.error is not None:
                    raise outcome.error
                bar.update(sizes[missing[i]] if by_bytes else 1)
