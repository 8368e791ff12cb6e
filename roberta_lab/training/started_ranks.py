"""Ranks of runs that srun or torchrun has started, on any number of machines: the first reads the command, the others follow it.

All meet at a store of torch, which rank 0's command holds (or torchrun's agent). For each run, rank 0 writes what is to be called
into a file of the run's folder, which every machine sees, and the store says only where. So nobody who reaches the store's port can
make a rank call anything: a rank reads a file of its own user alone. Between two runs, and while rank 0 prepares, the others wait.

Each rank gives a sign of life every second, with the pieces of work that it has done (`liveness`). Rank 0 judges them here, and the
others watch rank 0 (`following`). A rank that is gone is noticed when a collective fails, or when it was silent for
`signs.SILENT_SECONDS`; one that hangs as in `liveness`, after as many seconds.
"""

import json
import os
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from roberta_lab.axes.batch_size import Rank
from roberta_lab.config import TrainerConfig, one_line, stopping
from roberta_lab.config.console import say
from roberta_lab.config.processes import Stat
from roberta_lab.config.starters import Place
from roberta_lab.data.storage import beside
from roberta_lab.training import liveness, signs
from roberta_lab.training.devices import on_cuda
from roberta_lab.training.others import END_SECONDS, GRACE_SECONDS, Others, join_group, poll
from roberta_lab.training.rows import HANDED
from roberta_lab.training.signs import END, SIGN_SECONDS, Signs, Silence, connect, has, of_rank

COME_SECONDS = 120.0  # for all processes to start: file systems are slow when a thousand read the same libraries
LOST_SECONDS = 6.0  # without a sign; then a rank is gone, once a collective has failed


def lead(place: Place, command: Callable[[], int]) -> int:
    """Run the command of rank 0, and return its exit code."""
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = place.host, str(place.port)  # also for its own processes
    try:
        held = None
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            held = dist.TCPStore(place.host, place.port, is_master=True, wait_for_workers=False)
        store, own = connect(place), Signs(place, of_rank(0))
    except RuntimeError as error:
        at = f"{place.host}:{place.port}, where the other processes of {place.tool} look for this one"
        say(f"roberta-lab: {at}: {one_line(error)}. MASTER_PORT=NUMBER is another port.")
        return 1
    code, begin, others = 1, time.monotonic(), [of_rank(rank) for rank in range(1, place.world_size)]
    try:
        code = command()
    finally:
        with suppress(RuntimeError):  # torchrun's store may be gone with torchrun
            store.set(END, str(code))
            poll(
                lambda: store.check(others), begin + COME_SECONDS - time.monotonic()
            )  # a short command: some start yet
            poll(lambda: store.add("left", 0) >= place.world_size - 1, END_SECONDS if code == 0 else GRACE_SECONDS)
        own.end()
        del held
    return code


class Work(NamedTuple):
    """What rank 0 writes for the others: what to call, and what they need to know before."""

    call: tuple[Callable[..., object], tuple[object, ...]]
    trainer: TrainerConfig
    listened: list[int]  # signals
    cuda: bool  # whether the group is one of GPUs
    folder: str  # in which paths that are not absolute begin


class StartedRanks(Others):
    """The other ranks as rank 0 knows them: by keys of the store that begin with the number of the run."""

    notice_seconds = 2 * LOST_SECONDS

    def __init__(
        self,
        place: Place,
        trainer: TrainerConfig,
        folder: Path,
        work: tuple[Callable[..., object], tuple[object, ...]],
    ) -> None:
        super().__init__()
        self.place = place
        self.store, self._looks = connect(place), connect(place)  # one for each thread
        self.others = range(1, place.world_size)
        self.begin = time.monotonic()
        self.cuda = on_cuda(trainer.accelerator)
        self._file = _hand_over(folder, Work(work, trainer, stopping.numbers(), self.cuda, os.getcwd()))
        self.run = self.store.add("runs", 1)  # from here on the others wait for this run
        liveness.join(liveness.Beats(1), 0)
        self.own = Signs(place, f"{self.run}/sign")
        self.own.run = self.run
        self.silence: Silence | None = None
        self.failing = False  # a collective has
        self.judge: liveness.RankJudge | None = None
        self.looked = time.monotonic()
        self.store.set(f"{self.run}/work", json.dumps(str(self._file)))

    def have_come(self) -> bool:
        return self.store.check(self._keys("come"))

    def join(self) -> Rank:
        self._file.unlink(missing_ok=True)  # all have read it
        rank = Rank(0, self.place.world_size)
        group = dist.PrefixStore(f"{self.run}/group", connect(self.place))
        join_group(group, rank, 0, self.cuda)
        return rank

    def look(self) -> str | None:
        try:
            return self._look()
        except RuntimeError as error:  # torchrun's agent is gone, or the command that started this process
            return f"the store of all ranks does not answer ({one_line(error)})"

    def _look(self) -> str | None:
        seconds = time.monotonic() - self.looked
        if seconds < SIGN_SECONDS:
            return None
        self.looked = time.monotonic()
        number = self.place.world_size
        if has(self._looks, END):  # of an earlier attempt at a run, by a process that gave up
            return "a rank was lost before"
        if self.silence is None:
            keys = [of_rank(rank) for rank in range(number)]
            if self._looks.check(keys):
                self.silence = Silence(keys)
            elif self.looked - self.begin > COME_SECONDS:
                absent = [rank for rank in self.others if not has(self._looks, of_rank(rank))]
                named = f"rank {', '.join(map(str, absent[:8]))}{' ...' if len(absent) > 8 else ''} of {number}"
                return f"{named} did not start within {COME_SECONDS:.0f} seconds"
            return None
        found, silent = self.silence.look(self._looks), self.silence.seconds()
        names = [sign.name for sign in found]
        self.judge = self.judge or liveness.RankJudge(names, signs.SILENT_SECONDS)
        limit = LOST_SECONDS if self._is_failing() else signs.SILENT_SECONDS
        lost = max(self.others, key=lambda rank: silent[rank])
        if silent[lost] >= limit:
            return f"rank {lost} of {number} ({names[lost]}) gave no sign for {silent[lost]:.0f} seconds"
        if has(self._looks, failed := f"{self.run}/failed"):
            return self._looks.get(failed).decode()
        counts = [(sign.pieces * (sign.run == self.run), sign.alone) for sign in found]
        counts[0] = liveness.beats.read()[0]
        states: list[Stat | None] = [Stat("R", 0, sign.cpu_seconds) for sign in found]
        states[0] = Stat("R", 0, time.process_time())
        return self.judge.look(counts, states, seconds)

    def _is_failing(self) -> bool:
        """Return whether a collective has failed, here or elsewhere."""
        return self.failing or has(self._looks, f"{self.run}/failing")

    def raise_if_dead(self, error: BaseException) -> None:
        self.failing = True
        super().raise_if_dead(error)

    def have_left(self) -> bool:
        try:
            return self.dead is not None or self.store.check(self._keys("left"))
        except RuntimeError:
            return True

    def give_up(self) -> None:
        with suppress(RuntimeError):
            self._looks.set(END, "1")

    def let_go(self) -> None:
        self._file.unlink(missing_ok=True)
        with suppress(RuntimeError):
            self.store.set(f"{self.run}/over", "")
        self.own.end()

    def _keys(self, what: str) -> list[str]:
        return [f"{self.run}/{what}/{rank}" for rank in self.others]


def _hand_over(folder: Path, work: Work) -> Path:
    """Write the work of a run into a file that only this user can read and write; return its path."""
    file = beside(Path(os.path.abspath(folder)) / HANDED)
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        pickle.dump(work, opened)
        opened.flush()
        os.fsync(opened.fileno())  # network file systems show it to others then
    return file
