"""What rank 0 knows of the other ranks of a run, whoever has started them: it waits for them, watches them, and ends with them."""

import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.distributed as dist

from roberta_lab.axes.batch_size import Rank
from roberta_lab.config import RankDied
from roberta_lab.config.console import say
from roberta_lab.config.processes import kill_children

POLL_SECONDS = 0.25
GRACE_SECONDS = 10.0  # for a collective to notice that a rank is dead; with NCCL it may wait for ever
END_SECONDS = 30.0  # for the other ranks to leave after a run that went well


class Others(ABC):
    """The ranks after the first, and a thread that watches them. `watch` starts it, once they can be looked at."""

    notice_seconds = 8 * POLL_SECONDS  # from the death of a rank, by which a collective fails, until it is known

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.dead: str | None = None  # the first rank that ended with an error or hangs, in words
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @abstractmethod
    def have_come(self) -> bool:
        """Return whether all of them are there, to be joined as one group."""

    @abstractmethod
    def join(self) -> Rank:
        """Join all ranks as one process group; return this one."""

    @abstractmethod
    def look(self) -> str | None:
        """Return which rank has ended with an error or hangs, and how; None while all is well. Called some times a second."""

    @abstractmethod
    def have_left(self) -> bool:
        """Return whether all of them have ended this run."""

    @abstractmethod
    def let_go(self) -> None:
        """End this run for those that have not left."""

    def give_up(self) -> None:
        """End the other ranks, one of which is dead, before this process ends too."""
        self.let_go()

    def watch(self) -> None:
        """Start to watch them."""
        self._thread.start()

    def _watch(self) -> None:
        """Note the first rank that ends with an error or hangs, end the others, and this process if it does not notice."""
        while not self.ended.wait(POLL_SECONDS):
            self.dead = self.look()
            if self.dead is None:
                continue
            self.give_up()
            if not self.ended.wait(GRACE_SECONDS):
                say(f"roberta-lab: {RankDied(self.dead)}")
                kill_children()
                os._exit(1)
            return

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds. Raises RankDied when a rank ends before."""
        poll(lambda: self.dead is not None or condition())
        if self.dead:
            raise RankDied(self.dead)

    def raise_if_dead(self, error: BaseException) -> None:
        """Raise RankDied from the error if a rank died. Its connection breaks first, so wait a moment for its end."""
        poll(lambda: self.dead is not None, self.notice_seconds)
        if self.dead is not None and not isinstance(error, RankDied):
            raise RankDied(self.dead) from error

    def end(self, seconds: float) -> None:
        """Wait so long for the ranks to leave, then end this run for those that are left."""
        self.ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        poll(self.have_left, seconds)
        self.let_go()


def join_group(store: dist.Store, rank: Rank, local_rank: int, cuda: bool) -> None:
    """Join the process group: NCCL with a GPU for each rank, Gloo on CPUs. `local_rank` is the number among those of this machine."""
    device = None
    if cuda:
        device = torch.device("cuda", local_rank if torch.cuda.device_count() > 1 else 0)
        torch.cuda.set_device(device)
    backend = "nccl" if cuda else "gloo"
    dist.init_process_group(backend, store=store, rank=rank.number, world_size=rank.world_size, device_id=device)


def leave_group(cuda: bool) -> None:
    """Leave the process group after an error, without waiting for the others; where it was left, do nothing."""
    if dist.is_initialized() and cuda:
        # `destroy_process_group` would wait for the others. There is no public function that aborts all of a group's
        # communicators at once (pytorch/pytorch, pull 132291 and issue 119797).
        dist.distributed_c10d._abort_process_group()
    elif dist.is_initialized():
        dist.destroy_process_group()


def poll(condition: Callable[[], bool], seconds: float = math.inf, every: float = POLL_SECONDS / 5) -> bool:
    """Wait until the condition holds, but no longer than so many seconds. Return whether it does."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return found
