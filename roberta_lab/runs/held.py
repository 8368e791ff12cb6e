"""Runs that another process holds: they are waited for, and made here if it ends without them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn

from roberta_lab.config import RunInUse
from roberta_lab.config.console import say
from roberta_lab.data.claims import NOTE, WAIT, is_held, owner

if TYPE_CHECKING:
    from roberta_lab.runs.jobs import Job


def launched(launch: Callable[[list[Job]], Sequence[Any]], jobs: Sequence[Job]) -> list[JobReturn]:
    """Return what `launch` returns for the jobs. Those that another process holds are launched again when it has ended."""
    found = list(launch([*jobs]))
    is_said = False
    while waiting := [i for i, one in enumerate(found) if isinstance(one._return_value, RunInUse)]:
        if not is_said:
            first = _held_folder(jobs[waiting[0]]) or jobs[waiting[0]].path
            say(
                f"waiting for {len(waiting)} of {len(jobs)} runs that other processes make: {first} by {owner(first / NOTE)}"
            )
            is_said = True
        time.sleep(WAIT)
        free = [i for i in waiting if _held_folder(jobs[i]) is None]
        for i, one in zip(free, launch([jobs[i] for i in free]) if free else (), strict=True):
            found[i] = one
    return found


def _held_folder(job: Job) -> Path | None:
    """Return the folder of a job that another process holds: one that leaves steps out may have gone on in another than its first."""
    return next(filter(is_held, job.folders), None)
