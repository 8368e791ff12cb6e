"""Signals that end a command: after the first it finishes and saves what is in progress, after the second it ends at once.

Python runs a handler in the main thread alone, and only between two of its own steps: a main thread that waits in a library
for another process never gets there. So a thread here reads the numbers that Python's part in C writes for each signal.
"""

import _thread
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from roberta_lab.config.errors import STOPPING, Stopped
from roberta_lab.config.processes import kill_children

SAME_SECONDS = (
    0.25  # signals so near each other are one request: a terminal or `timeout` signals the process and its group
)
_AGAIN = b"\xff"  # beside the numbers of signals: raise Stopped again
_AGAIN_SECONDS = 0.01  # in which the main thread has left what dropped it
QUIET_SECONDS = 1.0  # after that a line says that the command has not forgotten


def numbers() -> list[int]:
    """Return the signals that end a command here, without those that are ignored from the start, as `nohup` asks for."""
    return [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]


class _Listener:
    """The handlers of a process, while they are set, and the thread that counts what comes."""

    def __init__(self, listened: Sequence[int], ends_at_once: bool) -> None:
        self.first = 0  # the number of the first signal
        self.finishing = 0  # blocks of `finishing` that the main thread is in
        self.has_raised = False
        self.ends_at_once = ends_at_once
        self.process = os.getpid()
        self._not_sent = 0  # signals of this class itself, which the thread does not count
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, self._handle) for number in listened}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give everything back as it was."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook
        os.write(self._write, b"\0")
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def leave(self) -> None:
        """Ignore the signals in a process that was forked off: they are for the one that has the handlers."""
        signal.set_wakeup_fd(-1)
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or number
        self.raise_if_due()

    def raise_if_due(self) -> None:
        """Raise Stopped once, outside of all blocks that finish first."""
        if self.first and not self.finishing and not self.has_raised:
            self.has_raised = True
            raise Stopped(self.first)

    def _unraisable(self, lost: "sys.UnraisableHookArgs") -> None:
        """Raise Stopped again where Python dropped it, as in a `__del__`; show all else as before."""
        if not isinstance(lost.exc_value, Stopped):
            self._hook(lost)
        elif self.has_raised:
            self.has_raised = False
            os.write(self._write, _AGAIN)  # not here: what is raised within this function is dropped, too

    def _count(self) -> None:
        begin, has_said = 0.0, False
        while True:
            wait = QUIET_SECONDS if begin and not has_said else None
            ready = select.select([self._read], [], [], wait)[0]
            if not ready:
                has_said = True
                _say(f"{signal.Signals(self.first).name}: ending what is in progress; a second signal ends at once")
                continue
            for number in os.read(self._read, 64):
                if not number:
                    return
                if number == _AGAIN[0]:
                    time.sleep(_AGAIN_SECONDS)
                    self._not_sent += 1
                    _thread.interrupt_main(signal.Signals(self.first))
                    continue
                if number not in self._before:
                    continue
                if self._not_sent:
                    self._not_sent -= 1
                elif not begin:
                    begin, self.first = time.monotonic(), self.first or number
                    has_said = not self.ends_at_once
                elif self.ends_at_once and time.monotonic() - begin > SAME_SECONDS:
                    end_at_once(number)


_listener: _Listener | None = None


def _after_fork() -> None:
    global _listener
    if _listener is not None:
        with suppress(ValueError):  # not the main thread
            _listener.leave()
        _listener = None


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def listening(listened: Sequence[int] | None = None, ends_at_once: bool = True) -> Iterator[None]:
    """Take signals in the block as this file says; within such a block, and in other threads, nothing changes.

    `listened` are those that are taken; None: `numbers()`. Of a process that has a parent in the program, the second signal is
    left to the parent (`ends_at_once=False`): a terminal signals both.
    """
    global _listener
    if _listener is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    mine = _listener = _Listener(numbers() if listened is None else listened, ends_at_once)
    try:
        yield
    finally:
        if _listener is mine:  # else this is a forked process
            _listener = None
            mine.close()


@contextmanager
def finishing() -> Iterator[None]:
    """Let the first signal in the block only be noted, for `asked`; raise Stopped at its end, if that was not done otherwise."""
    with listening():
        mine = _listener if threading.current_thread() is threading.main_thread() else None
        if mine is not None:
            mine.finishing += 1
        try:
            yield
        finally:
            if mine is not None:
                mine.finishing -= 1
        if mine is not None:
            mine.raise_if_due()


def asked() -> int:
    """Return the number of the signal that asked to stop; 0 while none did."""
    return _listener.first if _listener is not None else 0


def stop(number: int, said: str = "") -> NoReturn:
    """Raise Stopped with the number: the request is answered."""
    if _listener is not None:
        _listener.has_raised = True
    raise Stopped(number, said)


def behind(error: BaseException) -> Stopped | None:
    """Return the Stopped that an error is or follows from: what a library was in the midst of may fail once that is raised."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        found = found.__cause__ or found.__context__
    if found is None or isinstance(found, Stopped):
        return found
    return Stopped(asked() or signal.SIGINT)


def ask(number: int) -> None:
    """Do in any thread as if this process had got the signal."""
    if _listener is not None:
        _thread.interrupt_main(signal.Signals(number))


def end_at_once(number: int) -> None:
    """End this process and all that it started, with the exit code of a signal."""
    _say(f"ended at once by {signal.Signals(number).name}; the same command goes on from what is finished or saved.")
    kill_children()
    os._exit(128 + number)


def _say(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"roberta-lab: {line}\n".encode())
