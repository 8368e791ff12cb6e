"""W&B's own process, `wandb-core`, one beside each process that logs: it may die, be stopped or hang, and nobody waits for it long.

A stopped one would never end by itself, and W&B waits for it without a limit: at its start, at the end of a run, at exit.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from roberta_lab.config.processes import children_of, stat
from roberta_lab.runs.wandb.environment import run_within

Made = TypeVar("Made")
NAME = "wandb-core"  # of its program
GRACE_SECONDS = 1.0  # for it to end
ADDRESS = "WANDB_SERVICE"  # a variable of W&B's in which child processes would find it, and share what becomes of it


def of_this_process() -> subprocess.Popen[bytes] | None:
    """Return it, or None where there is none. Private: W&B has no other name for it."""
    with suppress(AttributeError, KeyError):
        found: subprocess.Popen[bytes] = sys.modules["wandb.sdk.wandb_setup"]._singleton._connection._proc._process
        return found
    return None


def own() -> None:
    """Keep it to this process, and let that wait for it a limited time at exit. Call it after it was started."""
    os.environ.pop(ADDRESS, None)
    process = of_this_process()
    if process is None or process in _watched:
        return
    if not _watched:
        threading.excepthook = _silent(threading.excepthook)
    _watched.append(process)
    exiting = threading.Event()  # a thread waits for it beforehand: at exit none can be started

    def watch() -> None:
        exiting.wait()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        process.kill()

    def end() -> None:
        import wandb

        exiting.set()
        with suppress(Exception, SystemExit):
            wandb.teardown(1)

    threading.Thread(target=watch, daemon=True).start()
    atexit.register(end)  # called before W&B's own, which waits, and shows what fails


_watched: list[subprocess.Popen[bytes]] = []


def _silent(before: Callable[[threading.ExceptHookArgs], object]) -> Callable[[threading.ExceptHookArgs], object]:
    """Return what shows errors of threads, but not of W&B's: each of those would print a traceback when its process is gone."""

    def show(error: threading.ExceptHookArgs) -> None:
        frames = traceback.walk_tb(error.exc_traceback)
        if not any(str(frame.f_globals.get("__name__")).startswith("wandb.") for frame, _ in frames):
            before(error)

    return show


def in_time(seconds: float, start: Callable[[], Made]) -> Made:
    """Return what `start` makes with its help. If that takes longer, kill it, so that what waits for it fails.

    The limits of W&B's own do not cover a process that hangs before it listens.
    """
    found: list[Made] = []
    timer = threading.Timer(seconds, _kill)
    timer.daemon = True
    timer.start()
    error = run_within(seconds + GRACE_SECONDS, lambda: found.append(start()))
    timer.cancel()
    if error is not None:
        raise error
    return found[0]


def give_up() -> None:
    """End it, whatever it does, so that the next run starts a new one."""
    import wandb

    process = of_this_process()
    os.environ.pop(ADDRESS, None)
    run_within(GRACE_SECONDS, lambda: wandb.teardown(1))
    _kill(process)


def _kill(process: subprocess.Popen[bytes] | None = None) -> None:
    """Kill it, and one that W&B does not know yet because it hangs while it starts."""
    if known := process or of_this_process():
        known.kill()
    for child in children_of(os.getpid()):
        found = stat(child)
        if found is not None and found.parent == os.getpid() and found.name == NAME:
            os.kill(child, signal.SIGKILL)


def give_up_if_lost() -> None:
    """Do so if it is dead or stopped."""
    process = of_this_process()
    if process is None:
        return
    found = stat(process.pid)
    if process.poll() is not None or (found is not None and found.is_stopped):
        process.kill()
        give_up()
