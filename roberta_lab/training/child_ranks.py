"""Ranks of a run that its command starts on its own machine: it is rank 0, and hands the run's config to the others by a pipe.

Lightning's own launcher would run the whole command again in each process, which under multirun is the whole sweep, and a rank
that waits for a dead one would wait for ever. `torchrun` loses the same: it starts the command, ends all when one dies, and takes no
notice of one that hangs.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import torch.distributed as dist

from roberta_lab.axes.batch_size import Rank
from roberta_lab.config import RankDied, TrainerConfig, stopping
from roberta_lab.config.console import say, say_traceback
from roberta_lab.config.processes import end_with, kill_children, stat
from roberta_lab.data import loader_watch
from roberta_lab.training import liveness
from roberta_lab.training.devices import on_cuda
from roberta_lab.training.others import POLL_SECONDS, Others, join_group

HOST = "127.0.0.1"
# A Ctrl-C reaches all ranks. From their first moment the others ignore it, and in training they tell the others.
_FOLLOW = (
    "import signal as s, sys; [s.signal(int(n), s.SIG_IGN) for n in sys.argv[1:]]; "
    "from roberta_lab.training import child_ranks; child_ranks.follow()"
)


class _Meeting(NamedTuple):
    """The data that a process needs to join the others."""

    rank: Rank
    port: int
    parent: int  # process id of rank 0
    cuda: bool
    listened: tuple[int, ...]  # signals
    beats: int  # the file of `liveness.Beats`


class ChildRanks(Others):
    """The processes of the other ranks, started by this one."""

    def __init__(self, trainer: TrainerConfig, work: tuple[Callable[..., object], tuple[object, ...]]) -> None:
        super().__init__()
        self.store = dist.TCPStore(
            HOST, 0, is_master=True, wait_for_workers=False
        )  # port 0: a free one, held from here on
        self.beats = liveness.Beats(trainer.devices)
        shared = self.store.port, os.getpid(), on_cuda(trainer.accelerator), tuple(stopping.numbers()), self.beats.file
        self.own, *meetings = (_Meeting(Rank(i, trainer.devices), *shared) for i in range(trainer.devices))
        job = pickle.dumps(work)
        self.processes = {meeting.rank: self._start(meeting, job) for meeting in meetings}
        self.numbers = [os.getpid(), *(process.pid for process in self.processes.values())]
        self.judge = liveness.RankJudge([f"process {number}" for number in self.numbers])
        self.looked = time.monotonic()
        liveness.join(self.beats, 0)

    @staticmethod
    def _start(meeting: _Meeting, job: bytes) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)  # the same code, wherever this one found it
        process = subprocess.Popen(
            [sys.executable, "-c", _FOLLOW, *map(str, map(int, meeting.listened))],
            stdin=subprocess.PIPE,
            pass_fds=[meeting.beats],
            stdout=subprocess.DEVNULL,  # rank 0 prints for all
            env={**os.environ, "PYTHONPATH": path, "LOCAL_RANK": str(meeting.rank.number)},
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:  # `look` reports a process that died at once
            process.stdin.write(pickle.dumps(meeting) + job)
        return process

    def have_come(self) -> bool:
        return self.store.check([str(rank) for rank in self.processes])  # keys that they set

    def join(self) -> Rank:
        join_group(self.store, self.own.rank, self.own.rank.number, self.own.cuda)
        return self.own.rank

    def look(self) -> str | None:
        for rank, process in self.processes.items():
            if process.poll():
                return f"rank {rank.number} of {rank.world_size} ended with exit code {process.returncode}"
        if time.monotonic() - self.looked < loader_watch.LOOK_SECONDS:
            return None
        self.looked = time.monotonic()
        return self.judge.look(self.beats.read(), [stat(number) for number in self.numbers], loader_watch.LOOK_SECONDS)

    def have_left(self) -> bool:
        return all(process.poll() is not None for process in self.processes.values())

    def let_go(self) -> None:
        """Kill all ranks, and wait until they are gone."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()


def follow() -> None:
    """Run what comes through standard input: the main function of the ranks after the first.

    Rank 0 reports failures. Before a traceback this one waits a little: if another rank's death was the cause, rank 0
    ends this one meanwhile.
    """
    meeting: _Meeting = pickle.load(sys.stdin.buffer)
    end_with(meeting.parent)
    threading.Thread(target=_watch_first, args=(meeting,), daemon=True).start()
    liveness.join(liveness.Beats(meeting.rank.world_size, meeting.beats), meeting.rank.number)
    try:
        function, arguments = pickle.load(sys.stdin.buffer)
        store = dist.TCPStore(HOST, meeting.port, is_master=False)
        store.set(str(meeting.rank), "")
        join_group(store, meeting.rank, meeting.rank.number, meeting.cuda)
        with stopping.listening(meeting.listened, ends_at_once=False), stopping.finishing():
            function(meeting.rank, *arguments)
    except KeyboardInterrupt:
        pass
    except Exception as error:
        time.sleep(6 * POLL_SECONDS)
        if isinstance(error, RankDied):
            say(f"roberta-lab: rank {meeting.rank.number}: {error}")
        else:
            say_traceback(error)
        kill_children()
        os._exit(1)
    dist.destroy_process_group()


def _watch_first(meeting: _Meeting) -> None:
    """End the run when rank 0, which watches the others, was stopped and is not continued."""
    own = loader_watch.Watched()
    while own.stopped < loader_watch.HUNG_SECONDS:
        time.sleep(loader_watch.LOOK_SECONDS)
        own.look(stat(meeting.parent), loader_watch.LOOK_SECONDS)
    first = f"rank 0 of {meeting.rank.world_size} (process {meeting.parent}) was stopped and not continued"
    if meeting.rank.number == 1:
        say(f"roberta-lab: {RankDied(first)}")
    with suppress(OSError):
        os.kill(meeting.parent, signal.SIGKILL)
