"""Load micro-batches by their position, in processes that leave signals to the run and end with it."""

import atexit
import os
import signal
from typing import TYPE_CHECKING, Any
from weakref import ref

from torch.utils.data import DataLoader

from roberta_lab.config import STOPPING
from roberta_lab.config.processes import end_with
from roberta_lab.data.batch import Batch
from roberta_lab.data.loader_watch import Timed, watched_batches

if TYPE_CHECKING:
    from roberta_lab.data.datamodule import MicroBatches


def leave_signals_to_the_run(worker: int) -> None:
    """Ignore signals in a worker: Ctrl-C reaches all processes, and the step in progress still needs its batches.

    It ends with the run, whatever ends that.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    end_with(os.getppid())


def end_workers(left: ref[Any]) -> None:
    """End the workers of batches that are left when this process ends: it would ask them by a signal, which they ignore, and
    wait for ever. The method is private: PyTorch calls it when nothing refers to the batches any more."""
    if (batches := left()) is not None:
        batches._shutdown_workers()


class PositionLoader(DataLoader[Batch], Timed):
    """A loader without a state: its position is derived from the step. Its length is that of the whole run."""

    dataset: "MicroBatches"

    def __len__(self) -> int:  # Lightning counts the steps of the run in it
        return len(self.dataset)

    def __iter__(self) -> Any:  # of processes, a process that hangs is named
        batches = super().__iter__()
        if not self.num_workers:
            return self.timed(batches)
        atexit.register(end_workers, ref(batches))
        return self.timed(watched_batches(batches))

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        assert not state
