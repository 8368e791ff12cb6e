"""A rank after the first, of those that srun or torchrun has started: it takes part in one run after the other (`started_ranks`)."""

import json
import os
import pickle
import signal
import socket
import threading
import time
from pathlib import Path
from typing import NoReturn

import torch.distributed as dist

from roberta_lab.axes.batch_size import Rank
from roberta_lab.config import ConfigError, RankDied, one_line, stopping
from roberta_lab.config.console import say, say_traceback
from roberta_lab.config.errors import STOPPING
from roberta_lab.config.processes import kill_children
from roberta_lab.config.starters import Place
from roberta_lab.training import liveness, signs
from roberta_lab.training.devices import on_cuda
from roberta_lab.training.others import GRACE_SECONDS, join_group, leave_group, poll
from roberta_lab.training.rows import HANDED
from roberta_lab.training.signs import END, SIGN_SECONDS, Signs, Silence, connect, has, of_rank
from roberta_lab.training.started_ranks import COME_SECONDS, LOST_SECONDS, Work

SEEN_SECONDS = 30.0  # for a new file to be seen by another machine
WAIT_SECONDS = 0.5  # between two looks for work


def follow(place: Place) -> int:
    """Take part in the runs of rank 0's command until that ends. Return 0, or 1 where the command has failed or is gone.

    The code of a signal or of a user's mistake is returned by rank 0 alone.
    """
    for number in STOPPING:  # which rank 0 answers; in training this one tells the others
        signal.signal(number, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # rank 0 prints for all
    try:
        follower = _Follower(place)
    except RuntimeError:
        said = f"rank 0 was not reached at {place.host}:{place.port} for {COME_SECONDS:.0f} seconds"
        say(f"roberta-lab: rank {place.rank} of {place.world_size}: {said}")
        return 1
    try:
        return follower.follow()
    except dist.DistError:  # the store is gone; other errors are ours
        follower.end("rank 0 is gone")


class _Follower:
    """One rank: its connection to the others, its signs of life, and a thread that watches rank 0."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.store = connect(place, COME_SECONDS)
        self.signs = Signs(place, of_rank(place.rank))
        self.has_left = threading.Event()
        self.run = 0  # the number of the run that it is in the midst of; 0 between two
        self.ended: float | None = None  # since when rank 0's command has ended
        self._ends = threading.Lock()
        threading.Thread(target=self._watch, args=(connect(place),), daemon=True).start()

    @property
    def name(self) -> str:
        return f"rank {self.place.rank} of {self.place.world_size} (process {os.getpid()} on {socket.gethostname()})"

    def follow(self) -> int:
        """Take part in one run after the other; return 1 where rank 0's command has failed, else 0."""
        run = 1
        while self._has_work(run):
            self._take_part(run)
            run += 1
        code = int(self.store.get(END))
        self.has_left.set()
        self.signs.end()
        self.store.add("left", 1)
        return 1 if code == 1 else 0  # srun ends all at the first code of an error: that must be rank 0's

    def _has_work(self, run: int) -> bool:
        """Wait for a run; return whether there is one, rather than the end."""
        poll(lambda: has(self.store, END, f"{run}/work"), every=WAIT_SECONDS)
        return not has(self.store, END)

    def _take_part(self, run: int) -> None:
        try:
            work = _read(Path(json.loads(self.store.get(f"{run}/work"))))
            self.place.check(work.trainer)
            _check_device(work)
            os.chdir(work.folder)
        except Exception as error:  # also of a machine with other code, which cannot read it
            if not isinstance(error, OSError | ConfigError):
                say_traceback(error)
            self._fail(run, one_line(error))
        function, arguments = work.call
        rank = Rank(self.place.rank, self.place.world_size)
        liveness.join(liveness.Beats(1), 0)
        self.run = self.signs.run = run
        self.store.set(f"{run}/come/{rank.number}", "")
        try:
            group = dist.PrefixStore(f"{run}/group", connect(self.place))
            join_group(group, rank, self.place.local_rank, work.cuda)
            with stopping.listening(work.listened, ends_at_once=False), stopping.finishing():
                function(rank, *arguments)
            dist.destroy_process_group()
        except KeyboardInterrupt:  # all stop at the same step
            pass
        except Exception as error:
            self._expect_end(run, error)
        leave_group(work.cuda)
        self.run = 0
        self.store.set(f"{run}/left/{rank.number}", "")

    def _expect_end(self, run: int, error: Exception) -> None:
        """Wait for rank 0 to end the run after an error, which it may have had too; else end this process and say so.

        Where a collective failed, another rank is the cause. Rank 0 names that one, if it has the time.
        """
        is_others = isinstance(error, RuntimeError) and not isinstance(error, RankDied)
        if is_others:
            self.store.set(f"{run}/failing", "")
        if poll(lambda: has(self.store, f"{run}/over", END), (4 if is_others else 1) * LOST_SECONDS):
            return
        if not isinstance(error, RankDied):
            say_traceback(error)
        self._fail(run, one_line(error))

    def _fail(self, run: int, why: str) -> NoReturn:
        """Tell rank 0 why this rank ends, and end when it has heard that."""
        self.store.set(f"{run}/failed", f"{self.name} ended: {why}")
        poll(lambda: has(self.store, END), GRACE_SECONDS + 5 * SIGN_SECONDS)
        kill_children()
        os._exit(1)

    def end(self, why: str) -> NoReturn:
        """End this process, whatever its main thread waits for. The first of the ranks says why, unless rank 0 has said so."""
        self._ends.acquire()  # of two threads that notice it one is enough
        if self.place.rank == 1 and self.ended is None:
            say(f"roberta-lab: {RankDied(why)}")
        kill_children()
        os._exit(1)

    def _expect_first_sign(self, store: dist.Store) -> None:
        """Wait for rank 0, which may start long after torchrun's store; end this process where it does not."""
        why = f"rank 0 of {self.place.world_size} did not start within {COME_SECONDS:.0f} seconds"
        try:
            if poll(lambda: self.has_left.is_set() or has(store, of_rank(0)), COME_SECONDS, SIGN_SECONDS):
                return
        except RuntimeError:
            why = "rank 0 is gone"
        if not self.has_left.is_set():
            self.end(why)

    def _watch(self, store: dist.Store) -> None:
        """End this process when rank 0 gives no sign any more, or when its command or run has ended and this one hangs."""
        self._expect_first_sign(store)
        command, run, code, over = Silence([of_rank(0)]), Silence([]), 0, (0, 0.0)
        while not self.has_left.wait(SIGN_SECONDS):
            try:
                if run.keys != (keys := [f"{self.signs.run}/sign"] * (self.signs.run > 0)):
                    run = Silence(keys)
                if self.ended is None and has(store, END):
                    self.ended, code = time.monotonic(), int(store.get(END))
                is_over = has(store, f"{self.signs.run}/over")
                watched = [command] if is_over else [command, run]
                for one in watched:
                    one.look(store)
            except RuntimeError:
                if not self.has_left.is_set():
                    self.end("rank 0 is gone")
                return
            silent = max(seconds for one in watched for seconds in one.seconds())
            if silent >= signs.SILENT_SECONDS:
                self.end(f"rank 0 of {self.place.world_size} gave no sign for {silent:.0f} seconds")
            if self.ended is not None and time.monotonic() - self.ended > 2 * GRACE_SECONDS:
                kill_children()
                os._exit(code or 1)
            if not is_over or over[0] != self.run:
                over = self.run, time.monotonic()
            elif self.run and time.monotonic() - over[1] > 2 * GRACE_SECONDS:
                self._fail(self.run + 1, "it hung in a run that rank 0 had ended")


def _check_device(work: Work) -> None:
    """Raise ConfigError where this machine has no GPU and rank 0's has one, or the other way round: they could never meet."""
    if on_cuda(accelerator := work.trainer.accelerator) != work.cuda:
        has = "has a GPU, and this machine none" if work.cuda else "has no GPU, and this machine one"
        raise ConfigError(
            f"trainer.accelerator={accelerator}: rank 0 {has} that torch can use. Allowed: the same on all."
        )


def _read(file: Path) -> Work:
    """Return what rank 0 has written. Raises ConfigError where this machine does not see it, or another user has written it."""
    if not poll(file.exists, SEEN_SECONDS):
        shared = "paths.outputs must lie on a file system that all machines of a run share"
        raise ConfigError(f"{file.parent} is not seen from this machine: {shared}.")
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
        found = os.fstat(opened.fileno())
        if found.st_uid != os.geteuid() or found.st_mode & 0o077 or not file.name.startswith(f".{HANDED}."):
            raise ConfigError(f"{file} is not a file that only this user can read and write.")
        work: Work = pickle.load(opened)
        return work
