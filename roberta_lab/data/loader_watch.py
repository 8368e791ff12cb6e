"""Which process that makes batches hangs: one that is stopped, that does nothing, or that works for far too long.

A process that was stopped (SIGSTOP, a debugger), or that has to give the next batch and has not used the processor, is noticed after
`HUNG_SECONDS`; one that uses it after ten times that, or ten times the longest wait so far: the plan of an epoch takes its time.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from roberta_lab.config import RankDied
from roberta_lab.config.processes import Stat, stat

HUNG_SECONDS = 60.0
LOOK_SECONDS = 1.0
PATIENCE = 10  # times as long as a piece of work took so far
IDLE = 0.05  # of a core: what waiting takes
_T = TypeVar("_T")


class Watched:
    """What is known of one process over time. Seconds are counted look by look: a machine that sleeps counts none."""

    def __init__(self) -> None:
        self.stopped = self.idle = self.stood = (
            0.0  # seconds: stopped, without using the processor, with the same count
        )
        self.count = 0
        self._cpu: float | None = None

    def look(self, found: Stat | None, seconds: float, count: int = 0) -> float | None:
        """Note what is so now. Return the seconds that the piece of work took which is done since; None if none is."""
        if found is not None:
            self.stopped = self.stopped + seconds if found.is_stopped else 0.0
            used = found.cpu_seconds - (found.cpu_seconds if self._cpu is None else self._cpu)
            self.idle = self.idle + seconds if used <= IDLE * seconds + 0.011 else 0.0  # it is known to a hundredth
            self._cpu = found.cpu_seconds
        if count == self.count:
            self.stood += seconds
            return None
        took, was = self.stood, self.count
        self.count, self.stood = count, 0.0
        if was == 0:  # which is set-up; what was done since the last look took no longer than that
            return seconds if count > 1 else None
        return took


class LoaderWatch:
    """A thread that looks at the processes which make batches, while the next batch is waited for."""

    def __init__(self, processes: Sequence[int], due: Callable[[], int | None], limit: float | None = None) -> None:
        """`due` returns the number of the process that has to give the next batch, None where that is not known."""
        self.processes, self.due, self.limit = processes, due, HUNG_SECONDS if limit is None else limit
        self.watched = [Watched() for _ in processes]
        self.waiting: float | None = None  # seconds; None: nothing is waited for
        self.longest = 0.0
        self.found: str | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def next(self, batches: Iterator[_T]) -> _T:
        """Return the next batch. Raises RankDied with the name of the process that hangs."""
        self.waiting = 0.0
        try:
            return next(batches)
        except RuntimeError as error:  # torch's, of a process that is gone
            if self.found is not None:
                raise RankDied(self.found) from error
            raise
        finally:
            self.longest = max(self.longest, self.waiting)
            self.waiting = None

    def look(self, states: Sequence[Stat | None], seconds: float) -> int | None:
        """Return the number of the process that hangs, or None."""
        for own, state in zip(self.watched, states, strict=True):
            own.look(state, seconds)
        if self.waiting is None:
            return None
        self.waiting += seconds
        stopped = [number for number, own in enumerate(self.watched) if own.stopped >= self.limit]
        if stopped:
            return stopped[0]
        number = self.due()
        if number is None or self.waiting < self.limit:
            return None
        is_idle = self.watched[number].idle >= self.limit
        return number if is_idle or self.waiting >= PATIENCE * max(self.limit, self.longest) else None

    def _watch(self) -> None:
        while self.found is None:
            time.sleep(LOOK_SECONDS)
            states = [stat(process) for process in self.processes]
            if all(state is None or state.is_dead for state in states):
                return
            number = self.look(states, LOOK_SECONDS)
            if number is not None:
                state = states[number]
                why = "was stopped and not continued" if state is not None and state.is_stopped else "gives no batch"
                name = f"loader worker {number + 1} of {len(self.processes)} (process {self.processes[number]})"
                self.found = f"{name} {why}, for {self.limit:.0f} seconds and more"
                with suppress(OSError):
                    os.kill(self.processes[number], signal.SIGKILL)


def watched_batches(batches: Any) -> Iterator[Any]:
    """Yield the batches of torch's iterator over several processes, and watch these.

    Its processes and whose turn it is are private; there is no public way to tell which of them hangs.
    """
    workers = [worker.pid for worker in getattr(batches, "_workers", [])]

    def due() -> int | None:
        try:
            return int(batches._task_info[batches._rcvd_idx][0])
        except (AttributeError, LookupError, TypeError):
            return None

    watch = LoaderWatch(workers, due)
    while True:
        try:
            batch = watch.next(batches)
        except StopIteration:
            return
        yield batch


class Timed:
    """A loader that knows how long its batches were waited for."""

    waited = 0.0  # seconds

    def timed(self, batches: Iterator[_T]) -> Iterator[_T]:
        """Yield the batches, and add up how long each was waited for."""
        start = time.perf_counter()
        for batch in batches:
            self.waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()
