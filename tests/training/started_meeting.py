"""What processes do that a tool has started, in tests of how they meet and end: `started_meeting.py FOLDER WHAT ...`, a run each."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from roberta_lab.axes.batch_size import Rank
from roberta_lab.config import ANSWERED, TrainerConfig, starters, stopping
from roberta_lab.training import following, liveness, others, ranks, signs, started_ranks
from roberta_lab.training.following import follow
from roberta_lab.training.started_ranks import lead


def meet(rank: Rank, what: str) -> None:
    """Exchange something with the others, after which the last rank may end badly; then exchange something once more."""
    total = torch.tensor([float(rank.number)])
    for _ in range(3):
        liveness.beat()
        dist.all_reduce(total)
        time.sleep(3 * signs.SIGN_SECONDS)
    is_last = rank.number == rank.world_size - 1
    if what == "first raises":
        if rank.number == 0:
            raise ArithmeticError("on rank 0")
        time.sleep(100)
    if is_last and what == "raise":
        raise ValueError("something is wrong here")
    if what == "all raise":
        raise ArithmeticError("on all ranks")
    if (is_last and what == "be killed") or (rank.number == 0 and what == "first is killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if is_last and what == "be stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    if is_last and what == "sleep":
        time.sleep(100)
    liveness.beat()
    if what == "work alone" and rank.number == 0:
        with liveness.alone():
            time.sleep(2 * signs.SILENT_SECONDS)
    if what == "look at a file":
        assert Path("note").is_file()
    if what == "be asked":
        os.kill(os.getpid(), signal.SIGUSR1)
        stopping.stop(stopping.asked())
    dist.all_reduce(total)
    if rank.number == 0:
        print(f"{what}: {total.item():g} by {rank.world_size}", flush=True)


def command(folder: Path, whats: list[str], trainer: TrainerConfig) -> int:
    """One run after the other, as the jobs of a sweep."""
    for what in whats:
        try:
            with (
                ranks.start(trainer, folder / ("absent" if what == "not handed over" else ""), meet, what) as rank,
                stopping.finishing(),
            ):
                meet(rank, what)
        except (ArithmeticError, OSError) as error:
            print(f"all: {error}", flush=True)
        except KeyboardInterrupt:
            return 138
        except ANSWERED as error:
            print(f"roberta-lab: {error}", file=sys.stderr)
            return 1
    return 0


def main(folder: str, *whats: str) -> int:
    signs.SILENT_SECONDS, signs.SIGN_SECONDS = 3.0, 0.2
    started_ranks.SIGN_SECONDS = following.SIGN_SECONDS = 0.2
    started_ranks.LOST_SECONDS = following.LOST_SECONDS = 1.0
    started_ranks.StartedRanks.notice_seconds = 2.0
    following.SEEN_SECONDS = 1.0
    others.GRACE_SECONDS = following.GRACE_SECONDS = started_ranks.GRACE_SECONDS = 1.0
    if whats[0] == "first is late":
        signs.connect.__defaults__ = (1.0,)  # in which a store answers
    place = starters.place()
    assert place is not None
    if place.rank:
        return follow(place)
    trainer = TrainerConfig("cpu", devices=place.world_size // place.nodes, nodes=place.nodes)
    return lead(place, lambda: command(Path(folder), [*whats], trainer))


if __name__ == "__main__":
    from started_meeting import main as start  # by a name that the other ranks can find

    sys.exit(start(*sys.argv[1:]))
