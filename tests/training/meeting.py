"""What ranks do in tests of how they end: it needs nothing but torch, and so starts soon."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from roberta_lab.axes.batch_size import Rank
from roberta_lab.config import TrainerConfig
from roberta_lab.training import others, ranks


def meet(rank: Rank, then: str) -> None:
    """One exchange with the others; then one more, before which some rank may end badly."""
    dist.all_reduce(torch.ones(1))
    print(f"rank {rank.number} met")
    if rank.number == 1 and then == "raise":
        raise ValueError("something is wrong here")
    if rank.number == 1 and then == "be killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "wait":
        time.sleep(100)
    dist.all_reduce(torch.ones(1))


def main(first: str, second: str) -> None:
    """Two ranks, each with something to do after the first exchange; rank 0 has a second of grace."""
    others.GRACE_SECONDS = 1.0
    with ranks.start(TrainerConfig("cpu", devices=2), Path(), meet, second) as rank:
        meet(rank, first)


if __name__ == "__main__":
    from meeting import main as start  # by a name that the other rank can find

    start(*sys.argv[1:])
