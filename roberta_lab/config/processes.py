"""Processes of this machine: what state one is in, which ones another started, and how a child ends with its parent."""

import ctypes
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

POLL_SECONDS = 0.25
_PR_SET_PDEATHSIG = 1  # of Linux' prctl: the signal that this process gets when the thread that started it is gone


class Stat(NamedTuple):
    """What the system says of a process."""

    state: str  # a letter, as ps shows it: R runs, S sleeps, T stopped, Z dead
    parent: int
    cpu_seconds: float  # of all its threads since it started
    start: str = ""  # when it started, by the machine's own count
    name: str = ""  # of its program, its first 15 letters

    @property
    def is_stopped(self) -> bool:
        """Return whether it was stopped, as by SIGSTOP or a debugger."""
        return self.state in ("T", "t")

    @property
    def is_dead(self) -> bool:
        """Return whether it has ended and only waits to be noticed by its parent."""
        return self.state in ("Z", "X")


def stat(process: int) -> Stat | None:
    """Return the state of a process; None for one that is gone, and on systems without /proc."""
    try:
        known, _, rest = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")
    except OSError:
        return None
    fields = rest.split()
    ticks = int(fields[11]) + int(fields[12])
    return Stat(fields[0], int(fields[1]), ticks / os.sysconf("SC_CLK_TCK"), fields[19], known.partition("(")[2])


@cache
def this_machine() -> str:
    """Return 8 hex digits for the machine since it was started, and for this part of it whose processes see each other."""
    try:
        said = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        said = socket.gethostname()
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def start_of(pid: int) -> str | None:
    """Return when a process of this machine started, empty where that is not known; None for one that has ended."""
    if (found := stat(pid)) is not None:
        return None if found.is_dead else found.start
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:  # of another user
        pass
    return ""


def _parents() -> dict[int, int]:
    """Return the parent of every process of this machine."""
    if Path("/proc/self/stat").exists():
        found = ((int(name), stat(int(name))) for name in os.listdir("/proc") if name.isdigit())
        return {process: known.parent for process, known in found if known is not None and not known.is_dead}
    asked = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
    pairs = (line.split() for line in asked.stdout.splitlines())
    return {int(process): int(parent) for process, parent in pairs}


def children_of(process: int) -> list[int]:
    """Return the processes that a process started, those that they started, and so on; parents first."""
    parents, found = _parents(), [process]
    for one in found:  # which grows
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def kill_children() -> None:
    """Kill all that this process started, and what those started: twice, as a process may start another meanwhile."""
    for _ in range(2):
        for child in children_of(os.getpid()):
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)


def end_with(parent: int, last: Callable[[], object] | None = None) -> None:
    """End this process soon after its parent, whatever ended that.

    `last` is called before, in a thread, for what a process has to save; without it Linux itself kills the process. Call it
    in the main thread of a process that was started from the main thread of its parent.
    """
    if last is None and sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        if last is not None:
            last()
        kill_children()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
