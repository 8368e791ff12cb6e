"""Processes that do one piece of work after another, and of which a lost one costs nothing but the work that it had.

joblib's give up all their work when one of them is killed, and leave helpers of their own behind. These end with their parent.
"""

import os
import pickle
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Protocol, Self, TypeAlias

from roberta_lab.config import ProcessDied, Stopped, one_line, stopping
from roberta_lab.config.processes import POLL_SECONDS, end_with

SAVE_SECONDS = 3.0  # that a process whose parent is gone has to save what it does
Work: TypeAlias = tuple[Callable[..., object], tuple[object, ...]]  # a function that a module has, and its arguments
# From its first moment a process ignores what may reach its whole group; it listens before it asks for work.
_MAIN = (
    "import signal as s, sys; listened = [int(n) for n in sys.argv[3:]]; [s.signal(n, s.SIG_IGN) for n in listened]; "
    "from roberta_lab.data import pool; pool.serve(int(sys.argv[1]), int(sys.argv[2]), listened)"
)


@dataclass(frozen=True)
class Outcome:
    """What came of a piece of work: a value, or an error. That is ProcessDied where its process ended, Stopped after a signal."""

    value: object = None
    error: BaseException | None = None


class Places(Protocol):
    """What work needs beside a process, such as a GPU: given before it begins, and taken back when it has ended."""

    def take(self, number: int) -> Mapping[str, str] | None:
        """Return the variables of the environment in which a piece of work may begin now; None while it must wait."""

    def free(self, number: int) -> None:
        """Take back what a piece of work had."""


class Anywhere:
    """No need of anything."""

    def take(self, number: int) -> Mapping[str, str]:
        return {}

    def free(self, number: int) -> None:
        pass


ANYWHERE = Anywhere()


class _Process:
    """One process and the connection to it."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables  # of its environment, beside those of this process
        self.connection, theirs = Pipe()
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)  # the same code, wherever this one found it
        words = [theirs.fileno(), os.getpid(), *stopping.numbers()]
        self.popen = subprocess.Popen(
            [sys.executable, "-c", _MAIN, *(str(int(word)) for word in words)],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": path, **variables},
        )
        theirs.close()
        self.is_ready = False  # it has started and listens to signals
        self.work: int | None = None  # the number of what it does
        self.promised: tuple[int, Work] | None = None  # what it gets when it is ready

    @property
    def is_busy(self) -> bool:
        """Return whether it has work, or will have some."""
        return self.work is not None or self.promised is not None

    def send(self, number: int, work: Work) -> None:
        """Give it work."""
        self.work = number
        with suppress(OSError):  # it has died, which is noticed later
            self.connection.send_bytes(pickle.dumps(work))

    def answer(self) -> Outcome | None:
        """Return what it has to say of its work, ProcessDied where it is gone; None while there is nothing."""
        ended = self.popen.poll()
        try:
            if self.connection.poll():
                found: Outcome = pickle.loads(self.connection.recv_bytes())
                return found
        except (EOFError, OSError):
            ended = self.popen.wait()
        if ended is None:
            return None
        how = f"was killed by signal {-ended}" if ended < 0 else f"ended with exit code {ended}"
        memory = ", by the machine perhaps for want of memory" if ended == -9 else ""
        return Outcome(error=ProcessDied(f"its process {how}{memory}"))

    def end(self) -> None:
        """End it; one that works is killed."""
        self.connection.close()  # which ends one that waits for work
        if self.work is not None or not self.is_ready:
            self.popen.kill()
        try:
            self.popen.wait(SAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class Pool:
    """At most so many processes, started when there is work and kept for the next."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.processes: list[_Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.connection.close()
        while self.processes:
            self.processes.pop().end()

    def outcomes(
        self, works: Sequence[Work], most: int | None = None, places: Places = ANYWHERE
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield the number of each piece of work and what came of it, as they end; `most` go side by side, as `places` lets them.

        While this process finishes first (`stopping.finishing`), a signal is passed on to those that work; what has not
        begun then is left out.
        """
        waiting, most, passed_on = deque(enumerate(works)), min(most or self.most, self.most), False
        try:
            while waiting or any(process.is_busy for process in self.processes):
                if (number := stopping.asked()) and not passed_on:
                    passed_on = True
                    waiting.clear()
                    self._pass_on(number, places)
                self._hand_out(waiting, most, places)
                ready: list[Connection] = [process.connection for process in self.processes]
                wait(ready, POLL_SECONDS)
                for number, found in self._answers():
                    places.free(number)
                    yield number, found
        finally:  # also where nobody wants the rest
            for process in [p for p in self.processes if p.is_busy]:
                self._drop(process)

    def _hand_out(self, waiting: deque[tuple[int, Work]], most: int, places: Places) -> None:
        """Give work, in its order, to processes that wait for some in its environment; start one where there is none."""
        for process in self.processes:
            if process.is_ready and process.promised is not None:
                promised, process.promised = process.promised, None
                process.send(*promised)
        while waiting and sum(process.is_busy for process in self.processes) < most:
            variables = places.take(waiting[0][0])
            if variables is None:
                return
            idle = [process for process in self.processes if not process.is_busy]
            fitting = [process for process in idle if process.variables == variables]
            if fitting and fitting[0].is_ready:
                fitting[0].send(*waiting.popleft())
                continue
            if not fitting:
                if len(self.processes) >= self.most and idle:
                    self._drop(idle[0])
                fitting = [_Process(variables)]
                self.processes += fitting
            fitting[0].promised = waiting.popleft()

    def _answers(self) -> Iterator[tuple[int, Outcome]]:
        for process in [*self.processes]:
            found = process.answer()
            if found is None:
                continue
            number, process.work = process.work, None
            lost = isinstance(found.error, ProcessDied | Stopped)
            if lost:  # of those that were stopped the next work would be, too
                self._drop(process)
            if number is not None:
                yield number, found
            elif lost and not process.is_ready:
                raise found.error or ProcessDied("")  # it cannot even start
            process.is_ready = True

    def _drop(self, process: _Process) -> None:
        self.processes.remove(process)
        process.end()

    def _pass_on(self, number: int, places: Places) -> None:
        for process in self.processes:
            if process.promised is not None:
                places.free(process.promised[0])
                process.promised = None
            if process.work is not None and process.popen.poll() is None:
                process.popen.send_signal(number)


def is_one() -> bool:
    """Return whether this process is one of a pool, beside others that have the cores too."""
    return _is_one


_is_one = False


def serve(file: int, parent: int, listened: Sequence[int]) -> None:
    """Do work that comes through a connection, until that ends: the main function of the processes of a pool."""
    global _is_one
    _is_one = True
    os.set_inheritable(file, False)
    connection = Connection(file)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the cores are taken by the other processes
    end_with(parent, _save)
    with suppress(KeyboardInterrupt, EOFError, OSError), stopping.listening(listened, ends_at_once=False):
        connection.send_bytes(pickle.dumps(Outcome()))  # ready
        while True:
            connection.send_bytes(_done(connection.recv_bytes()))


def _done(work: bytes) -> bytes:
    """Return what came of work, as bytes."""
    try:
        function, arguments = pickle.loads(work)
        found = Outcome(function(*arguments))
    except KeyboardInterrupt as error:
        found = Outcome(error=error if isinstance(error, Stopped) else Stopped(stopping.asked() or 2))
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        found = Outcome(error=error)
    sys.stdout.flush()
    try:
        return pickle.dumps(found)
    except Exception as error:
        said = one_line(found.error) if found.error is not None else f"no answer of {one_line(error)}"
        return pickle.dumps(Outcome(error=RuntimeError(said)))


def _save() -> None:
    """Ask the work at hand to save what it has, and give it a moment."""
    stopping.ask(15)
    time.sleep(SAVE_SECONDS)
