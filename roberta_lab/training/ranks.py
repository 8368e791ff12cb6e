"""One run on several processes of a machine: the command is rank 0; it starts and watches the others, and ends when one dies.

A pipe hands this run's config to the others. Lightning's own launcher would run the whole command again in each process,
which under multirun is the whole sweep, and a rank that waits for a dead one would wait for ever.
"""

import math
import os
import pickle
import platform
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from roberta_lab.axes.batch_size import ALONE, Rank
from roberta_lab.config import ConfigError, RankDied, TrainerConfig, stopping
from roberta_lab.config.processes import end_with, kill_children, stat
from roberta_lab.data import loader_watch
from roberta_lab.training import liveness

HOST = "127.0.0.1"
POLL_SECONDS = 0.25
GRACE_SECONDS = 10.0  # for a collective to notice that a rank is dead; with NCCL it may wait for ever
END_SECONDS = 30.0  # for the other ranks to leave after a run that went well
# A Ctrl-C reaches all ranks. From their first moment the others ignore it, and in training they tell the others.
_FOLLOW = (
    "import signal as s, sys; [s.signal(int(n), s.SIG_IGN) for n in sys.argv[1:]]; "
    "from roberta_lab.training import ranks; ranks.follow()"
)


class _Meeting(NamedTuple):
    """The data that a process needs to join the others."""

    rank: Rank
    port: int
    parent: int  # process id of rank 0
    cuda: bool
    listened: tuple[int, ...]  # signals
    beats: int  # the file of `liveness.Beats`


def on_cuda(accelerator: str) -> bool:
    """Return whether `trainer.accelerator` means CUDA on this machine."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def device_of(accelerator: str) -> str:
    """Return torch's name of the device that `trainer.accelerator` means here. Raises ConfigError if there is none."""
    if on_cuda(accelerator):
        return "cuda"
    mps = torch.backends.mps.is_available()
    if accelerator in ("auto", "gpu", "mps") and mps:
        return "mps"
    if accelerator in ("auto", "cpu"):
        return "cpu"
    allowed = ["auto", *["cuda"] * torch.cuda.is_available(), *["mps"] * mps, "cpu"]
    raise ConfigError(f"trainer.accelerator={accelerator} is not there. Allowed: {', '.join(allowed)}.")


def device_name(accelerator: str) -> str:
    """Return the model of the device that `trainer.accelerator` means here: of a GPU, or of the CPU as far as it is known."""
    device = device_of(accelerator)
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    with suppress(OSError):  # Linux has it here
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if device == "cpu" else []:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or device


def check_devices(trainer: TrainerConfig) -> None:
    """Raise ConfigError when the machine has fewer accelerators than the run asks for."""
    if on_cuda(trainer.accelerator) and trainer.devices > (number := torch.cuda.device_count()):
        raise ConfigError(f"trainer.devices={trainer.devices}: this machine has {number}; allowed is up to that.")


@contextmanager
def start(trainer: TrainerConfig, function: Callable[..., object], *arguments: object) -> Iterator[Rank]:
    """Start the other ranks, each of which calls `function(Rank, *arguments)`; in the block this process is rank 0.

    All are joined as one process group. With one device nothing is started.

    Raises: RankDied when one of them ended with an error, also while this one waits for it in a collective.
    """
    if trainer.devices == 1:
        yield ALONE
        return
    store = dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # port 0: a free one, held from here on
    cuda = on_cuda(trainer.accelerator)
    beats = liveness.Beats(trainer.devices)
    shared = store.port, os.getpid(), cuda, tuple(stopping.numbers()), beats.file
    meetings = [_Meeting(Rank(i, trainer.devices), *shared) for i in range(trainer.devices)]
    followers = Followers(meetings[1:], pickle.dumps((function, arguments)), beats)
    liveness.join(beats, 0)
    try:
        followers.wait_for(lambda: store.check([str(m.rank) for m in meetings[1:]]))  # keys that they set
        _join(store, meetings[0])
        yield meetings[0].rank
        dist.destroy_process_group()  # together with the others: NCCL waits for all
        followers.end(END_SECONDS)
        liveness.join(liveness.Beats(1), 0)
    except RuntimeError as error:  # what a collective raises when a rank does not answer
        followers.raise_if_dead(error)
        raise
    finally:
        followers.end(0.0)
        if dist.is_initialized() and cuda:
            # `destroy_process_group` would wait for the others. There is no public function that aborts all of a group's
            # communicators at once (pytorch/pytorch, pull 132291 and issue 119797).
            dist.distributed_c10d._abort_process_group()
        elif dist.is_initialized():
            dist.destroy_process_group()


def _join(store: dist.TCPStore, meeting: _Meeting) -> None:
    """Join the process group: NCCL with a GPU for each rank, Gloo on CPUs."""
    number, world_size = meeting.rank
    backend, device = ("nccl", torch.device("cuda", number)) if meeting.cuda else ("gloo", None)
    if device is not None:
        torch.cuda.set_device(device)
    dist.init_process_group(backend, store=store, rank=number, world_size=world_size, device_id=device)


class Followers:
    """The processes of the other ranks, and a thread that watches them."""

    def __init__(self, meetings: list[_Meeting], job: bytes, beats: liveness.Beats) -> None:
        self.processes = {m.rank: self._start(m, job) for m in meetings}
        self.beats = beats
        self.judge = liveness.RankJudge([os.getpid(), *(process.pid for process in self.processes.values())])
        self.ended = threading.Event()
        self.dead: str | None = None
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()

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
        with suppress(BrokenPipeError), process.stdin:  # the thread reports a process that died at once
            process.stdin.write(pickle.dumps(meeting) + job)
        return process

    def _watch(self) -> None:
        """Note the first rank that ends with an error or hangs, kill the others, and end this process if it does not notice."""
        looked = time.monotonic()
        while not self.ended.wait(POLL_SECONDS):
            self.dead = self._dead()
            if self.dead is None and time.monotonic() - looked >= loader_watch.LOOK_SECONDS:
                looked = time.monotonic()
                states = [stat(process) for process in self.judge.processes]
                self.dead = self.judge.look(self.beats.read(), states, loader_watch.LOOK_SECONDS)
            if self.dead is None:
                continue
            self._kill()
            if not self.ended.wait(GRACE_SECONDS):
                print(f"roberta-lab: {RankDied(self.dead)}", file=sys.stderr, flush=True)
                kill_children()
                os._exit(1)
            return

    def _dead(self) -> str | None:
        """Return which rank has ended with an error, and how."""
        for rank, process in self.processes.items():
            if process.poll():
                return f"rank {rank.number} of {rank.world_size} ended with exit code {process.returncode}"
        return None

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds. Raises RankDied when a rank ends before."""
        _poll(lambda: self.dead is not None or condition())
        if self.dead:
            raise RankDied(self.dead)

    def raise_if_dead(self, error: BaseException) -> None:
        """Raise RankDied from the error if a rank died. Its connection breaks first, so wait a moment for its end."""
        _poll(lambda: self.dead is not None, 8 * POLL_SECONDS)
        if self.dead is not None and not isinstance(error, RankDied):
            raise RankDied(self.dead) from error

    def end(self, seconds: float) -> None:
        """Wait so long for the ranks to leave, then kill those that are left."""
        self.ended.set()
        self.watch.join()
        _poll(lambda: all(process.poll() is not None for process in self.processes.values()), seconds)
        self._kill()

    def _kill(self) -> None:
        """Kill all ranks, and wait until they are gone."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()


def _poll(condition: Callable[[], bool], seconds: float = math.inf) -> None:
    """Wait until the condition holds, but no longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 5)


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
        _join(store, meeting)
        with stopping.listening(meeting.listened, ends_at_once=False), stopping.finishing():
            function(meeting.rank, *arguments)
    except KeyboardInterrupt:
        pass
    except Exception as error:
        time.sleep(6 * POLL_SECONDS)
        if isinstance(error, RankDied):
            print(f"roberta-lab: rank {meeting.rank.number}: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
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
        print(f"roberta-lab: {RankDied(first)}", file=sys.stderr, flush=True)
    with suppress(OSError):
        os.kill(meeting.parent, signal.SIGKILL)
