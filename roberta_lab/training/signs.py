"""Where ranks that srun or torchrun has started meet: a store of torch, and the signs of life that each gives there."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist

from roberta_lab.config.starters import Place
from roberta_lab.training import liveness

SIGN_SECONDS = 1.0
SILENT_SECONDS = 45.0  # without a sign; then a rank is gone, or as good as gone
ANSWER_SECONDS = 30.0  # for the store to answer
END = "end"  # key: the exit code of rank 0's command
# tool -> the variables that differ between two starts of processes
_STARTS = {
    "torchrun": ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
    "srun": ("SLURM_JOB_ID", "SLURM_STEP_ID"),
}


def of_rank(rank: int) -> str:
    """Return the key of a rank's signs."""
    return f"sign/{rank}"


def has(store: dist.Store, *keys: str) -> bool:
    """Return whether the store has one of the keys."""
    return any(store.check([key]) for key in keys)


def connect(place: Place, seconds: float = ANSWER_SECONDS) -> dist.Store:
    """Return a connection of this process to the store of all ranks: its keys of this start of a tool's processes.

    Who reaches the store of others, as where two jobs on a machine have one MASTER_PORT, finds nothing there.
    """
    store = dist.TCPStore(place.host, place.port, is_master=False, timeout=timedelta(seconds=seconds))
    names = _STARTS[place.tool]
    return dist.PrefixStore(" ".join(["roberta-lab", *(os.environ.get(name, "") for name in names)]), store)


class Sign(NamedTuple):
    """A sign of life of a rank."""

    number: int  # it grows
    run: int  # the number of the run that it takes part in
    pieces: int  # of work, done in it
    alone: bool
    cpu_seconds: float
    name: str  # of the process, for people

    def to_json(self) -> str:
        return json.dumps(self)


class Signs:
    """A thread with a connection of its own, in which a process gives signs under a key."""

    def __init__(self, place: Place, key: str) -> None:
        self.run = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._give, args=(connect(place), key), daemon=True)
        self._thread.start()

    def _give(self, store: dist.Store, key: str) -> None:
        number, name = 0, f"process {os.getpid()} on {socket.gethostname()}"
        with suppress(RuntimeError):  # the store is gone: whoever waits for it says so
            while True:
                number += 1
                [(count, alone)] = liveness.beats.read()[:1]
                store.set(key, Sign(number, self.run, count, alone, time.process_time(), name).to_json())
                if self._ended.wait(SIGN_SECONDS):
                    return

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


class Silence:
    """Since when those who give signs were silent."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = [*keys]
        now = time.monotonic()
        self._last = [(0, now) for _ in self.keys]

    def look(self, store: dist.Store) -> list[Sign]:
        """Return the newest sign of each. Raises RuntimeError where the store is gone."""
        found, now = store.multi_get(self.keys) if self.keys else [], time.monotonic()
        signs = [Sign(*json.loads(sign)) for sign in found]
        self._last = [
            last if sign.number == last[0] else (sign.number, now) for sign, last in zip(signs, self._last, strict=True)
        ]
        return signs

    def seconds(self) -> list[float]:
        """Return for how long each was silent."""
        now = time.monotonic()
        return [now - since for _, since in self._last]
