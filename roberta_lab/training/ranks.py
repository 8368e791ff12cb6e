"""One run on several processes, of one machine or of many: rank 0 writes and watches, and ends when another one dies.

Who starts them: the command itself, on its own machine (`child_ranks`), or srun or torchrun, on any number of machines
(`started_ranks`). Neither way does another process read the command: under multirun that would be the whole sweep, once more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from roberta_lab.axes.batch_size import ALONE, Rank
from roberta_lab.config import TrainerConfig, starters
from roberta_lab.training import liveness
from roberta_lab.training.child_ranks import ChildRanks
from roberta_lab.training.devices import on_cuda
from roberta_lab.training.others import END_SECONDS, Others, leave_group
from roberta_lab.training.started_ranks import StartedRanks


@contextmanager
def start(trainer: TrainerConfig, folder: Path, function: Callable[..., object], *arguments: object) -> Iterator[Rank]:
    """Let the other ranks call `function(Rank, *arguments)`; in the block this process is rank 0.

    All are joined as one process group. On one device nothing is done. What ranks of other machines need to know is written into
    `folder` for a moment.

    Raises: RankDied when one of them ended with an error, also while this one waits for it in a collective; ConfigError when the
    processes that srun or torchrun started are not those that the run asks for.
    """
    starters.check(trainer)
    place, work = starters.place(), (function, arguments)
    if place is None and trainer.world_size == 1:
        yield ALONE
        return
    others: Others = ChildRanks(trainer, work) if place is None else StartedRanks(place, trainer, folder, work)
    try:
        others.watch()
        others.wait_for(others.have_come)
        yield others.join()
        dist.destroy_process_group()  # together with the others: NCCL waits for all
        others.end(END_SECONDS)
    except RuntimeError as error:  # what a collective raises when a rank does not answer
        others.raise_if_dead(error)
        raise
    finally:
        others.end(0.0)
        leave_group(on_cuda(trainer.accelerator))
        liveness.join(liveness.Beats(1), 0)


def threads_of(trainer: TrainerConfig) -> int:
    """Return the CPU threads of torch for each rank: of what the machine has its share, of what srun has given to it all."""
    place, given = starters.place(), starters.cpus_given()
    if place is not None and place.tool == "srun" and given:
        return max(1, min(torch.get_num_threads(), given))
    return max(1, torch.get_num_threads() // trainer.devices)
