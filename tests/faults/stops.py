"""Runs that end before their time: killed or stopped at random moments, killed within a checkpoint, out of disk, in the way of another."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.world import Child, Row, World, is_one_line, moments

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def kills(world: World, tries: int) -> list[Row]:
    """Kill pretraining at random moments; the same command goes on and ends like a run that was left alone."""
    rows = []
    for moment in moments(tries, world.seconds, world.draw):
        outputs = world.outputs()
        child = world.child(world.pretrain(outputs))
        time.sleep(moment)
        child.kill(signal.SIGKILL)
        code = child.wait()
        rows.append(Row("kill -9 of pretraining", world.ends_whole(outputs), code, "the same command goes on"))
        world.discard(outputs)
    return rows


def signals(world: World, tries: int) -> list[Row]:
    """Stop pretraining by each signal at random moments: one line, the signal's code, and the same command goes on."""
    rows = []
    for index, moment in enumerate(moments(tries, world.seconds, world.draw)):
        number, outputs = STOPPING[index % len(STOPPING)], world.outputs()
        child = world.child(world.pretrain(outputs))
        time.sleep(0.1 + moment)
        child.kill(number)
        code = child.wait()
        right = (code == 128 + number and is_one_line(child)) or code == 0  # it may have been done
        rows.append(Row(f"{number.name} to pretraining", right and world.ends_whole(outputs), code, child.message))
        world.discard(outputs)
    return rows


# ---------------------------------------------------------------- at one of the calls by which files are written
def at_call(number: int, act: Callable[[str], Any]) -> Callable[[], None]:
    """Return what counts, in a child, the calls that change a disk in the run's folder, and acts in place of one of them."""

    def install() -> None:
        count = 0

        def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                if any("/pretrain/" in str(argument) for argument in arguments) or name == "fsync":
                    count += 1
                    if count == number:
                        act("" if name == "fsync" else str(arguments[0]))
                return real(*arguments, **options)

            return call

        for name in ("replace", "fsync", "unlink", "mkdir", "rename", "link"):
            setattr(os, name, counted(name, getattr(os, name)))
        opened = counted("open", open)

        def opening(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            return (
                opened(file, mode, *arguments, **options)
                if set(mode) & set("wax+")
                else open_(file, mode, *arguments, **options)
            )

        import builtins

        open_ = builtins.open
        builtins.open = io.open = opening  # type: ignore[assignment]

    return install


def checkpoint_kills(world: World, tries: int) -> list[Row]:
    """Kill pretraining at each of the calls by which it writes, in turn: no state of the disk between two of them loses anything."""
    rows = []
    for index in range(tries):
        outputs = world.outputs()
        code, _ = world.run(
            world.pretrain(outputs), at_call(index * 5 + 1, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        )
        if code == 0:  # fewer calls than that
            break
        rows.append(Row("kill -9 within a write", world.ends_whole(outputs), code, "the same command goes on"))
        world.discard(outputs)
    return rows


def _full(path: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([path] if path else []))  # of a descriptor it names none


def full_disks(world: World, tries: int) -> list[Row]:
    """Let the disk be full at one of the calls that write: one line that names the path; with room again the command goes on."""
    rows = []
    for index in range(tries):
        outputs = world.outputs()
        code, child = world.run(world.pretrain(outputs), at_call(index * 4 + 1, _full))
        right = code == 1 and is_one_line(child) and str(outputs) in child.message
        right |= code == 0 and world.is_same(outputs)  # a file that the run can do without
        rows.append(Row("disk full", right and world.ends_whole(outputs), code, child.message))
        world.discard(outputs)
    return rows


def small_files(world: World, tries: int) -> list[Row]:
    """Let no file be longer than a limit (EFBIG): one line that names the path; without the limit the command goes on."""
    import resource

    rows = []
    for index in range(tries):
        limit, outputs = 3000 * 2**index, world.outputs()
        code, child = world.run(
            world.pretrain(outputs), lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        )
        if code == 0:
            break
        right = code == 1 and is_one_line(child)
        rows.append(Row("file too large", right and world.ends_whole(outputs), code, child.message))
        world.discard(outputs)
    return rows


# ---------------------------------------------------------------- two in one folder
def _no_flock() -> None:
    fcntl.flock = lambda *_: None  # type: ignore[assignment]  # as on a network disk without locks


def no_flock(world: World, tries: int) -> list[Row]:
    """Start a run twice at once where flock does nothing: one makes it whole, the other says who has it."""
    rows = []
    for delay in moments(tries, world.seconds / 2, world.draw):
        outputs = world.outputs()
        first = world.child(world.pretrain(outputs), _no_flock)
        time.sleep(delay)
        second = world.child(world.pretrain(outputs), _no_flock)
        codes = sorted([first.wait(), second.wait()])
        refused: list[Child] = [child for child in (first, second) if "is in use by" in child.text]
        complete = [child for child in (first, second) if ": complete, " in child.text]  # it came after the end
        right = (codes == [0, 1] and len(refused) == 1) or (codes == [0, 0] and len(complete) == 1)
        said = refused[0].message if refused else first.message
        rows.append(Row("two at once, no flock", right and world.is_same(outputs), codes[-1], said))
        world.discard(outputs)
    return rows


def deleted_folder(world: World, tries: int) -> list[Row]:
    """Delete the folder of a run as it trains: one line soon, exit 1, and nothing half-written is left."""
    import shutil

    rows = []
    for moment in moments(tries, 1.0, world.draw):
        outputs = world.outputs()
        child = world.child(world.pretrain(outputs, "batch_size.steps=2000", "trainer.checkpoint_every_steps=20"))
        while not [*outputs.rglob("step-*.ckpt")]:
            time.sleep(0.01)
        time.sleep(moment)
        for run in Path(outputs / "pretrain").glob("[!.]*"):
            shutil.rmtree(run, ignore_errors=True)
        code = child.wait(30)
        for run in Path(outputs / "pretrain").glob("[!.]*"):  # what was written as it was removed
            shutil.rmtree(run)
        right = code == 1 and is_one_line(child)
        rows.append(Row("run folder deleted", right and world.ends_whole(outputs), code, child.message))
        world.discard(outputs)
    return rows
