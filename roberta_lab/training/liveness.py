"""Which rank of a run hangs: one that the others wait for. For processes that make batches see `data/loader_watch.py`.

What proves life is work, not a thread that still runs: each rank counts the pieces of its work (a forward pass, a backward pass,
an exchange) in memory that all ranks share, and the system says which processes are stopped or use the processor. Noticed are
- a process that is stopped (SIGSTOP, a debugger), after `HUNG_SECONDS`;
- a rank for which others wait, after `HUNG_SECONDS`, and ten times as long as any piece of work took so far: a step that takes
  ten minutes takes them on every rank. Until the first piece is done there is no measure, so set-up may take any time;
- ranks that all wait for one another: none has used the processor for so long.
Not noticed are a run on one device that hangs in itself (nobody waits for it; a second signal ends it), what rank 0 does alone
(a checkpoint, a row, a task's score: the disk may be slow), and a GPU that hangs, for which NCCL has a limit of its own. Without
/proc (macOS) only the second is noticed.
"""

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from roberta_lab.config.processes import Stat
from roberta_lab.data import loader_watch
from roberta_lab.data.loader_watch import PATIENCE, Watched


class Beats:
    """A count for each rank of the pieces of work that it has done, in a file without a name that their processes share."""

    def __init__(self, world_size: int, file: int | None = None) -> None:
        self.world_size = world_size
        if file is None:
            with tempfile.TemporaryFile() as made:
                made.truncate(16 * world_size)
                file = os.dup(made.fileno())
        self.file = file
        weakref.finalize(self, os.close, file)  # else a sweep of many runs keeps the files of all
        self._numbers = memoryview(mmap.mmap(file, 16 * world_size)).cast("q")  # of each rank: its count; 1 while alone

    def beat(self, rank: int) -> None:
        """Count a piece of work."""
        self._numbers[2 * rank] += 1

    @contextmanager
    def alone(self, rank: int) -> Iterator[None]:
        """Mark the block as work that only this rank has, and the others wait for."""
        self._numbers[2 * rank + 1] = 1
        yield  # after an error nobody goes on
        self._numbers[2 * rank + 1] = 0

    def read(self) -> list[tuple[int, bool]]:
        """Return the count of each rank, and whether it does what only it has."""
        numbers = self._numbers.tolist()
        return [(count, bool(alone)) for count, alone in zip(numbers[::2], numbers[1::2], strict=True)]


beats = Beats(1)  # of this process; with several ranks the shared ones
_rank = 0


def join(shared: Beats, rank: int) -> None:
    """Count in the memory of all ranks from here on."""
    global beats, _rank
    beats, _rank = shared, rank


def beat() -> None:
    """Count a piece of this rank's work: before it waits for others, and as its own goes on."""
    beats.beat(_rank)


@contextmanager
def alone() -> Iterator[None]:
    """Mark the block as work of this rank alone."""
    with beats.alone(_rank):
        yield


class RankJudge:
    """The judgement which rank hangs, from the counts of all and the states of their processes."""

    def __init__(self, processes: Sequence[str], limit: float | None = None) -> None:
        """`processes` are those of the ranks, in words; `limit` is in seconds, None for `HUNG_SECONDS`."""
        self.limit = loader_watch.HUNG_SECONDS if limit is None else limit
        self.ranks = [Watched() for _ in processes]
        self.names = [f"rank {rank} of {len(processes)} ({name})" for rank, name in enumerate(processes)]
        self.longest: float | None = None  # seconds of a piece of work

    def look(self, counts: Sequence[tuple[int, bool]], states: Sequence[Stat | None], seconds: float) -> str | None:
        """Return what is wrong with which rank, or None."""
        for own, (count, _), state in zip(self.ranks, counts, states, strict=True):
            took = own.look(state, seconds, count)
            if took is not None:
                self.longest = max(took, self.longest or 0.0)
        number = len(self.ranks)
        for rank, own in enumerate(self.ranks):
            if own.stopped >= self.limit:
                return f"{self.names[rank]} was stopped and not continued"
        if self.longest is None or any(is_alone for _, is_alone in counts):
            return None
        least = min(own.count for own in self.ranks)
        limit = max(self.limit, PATIENCE * self.longest)
        behind = [rank for rank, own in enumerate(self.ranks) if own.count == least]
        if any(self.ranks[rank].stood < limit for rank in behind):
            return None
        if len(behind) == number:  # those that use the processor have not come to the exchange
            behind = [rank for rank in behind if self.ranks[rank].idle < self.limit]
        if not behind:
            return f"the {number} ranks wait for one another: none has done anything for {limit:.0f} seconds"
        if len(behind) == number:
            return None
        named = " and ".join(self.names[rank] for rank in behind)
        return f"{named} hangs: the others wait for it, for {limit:.0f} seconds and more"
