"""A small world to break: a text, its prepared data, and one whole run with which every broken one is compared.

Children are forks of this process, which has imported everything: a command starts in a moment, and an injection takes a
second. What a child prints goes into a file.
"""

from __future__ import annotations

import atexit
import os
import pickle
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import small_run

from roberta_lab.cli.main import main
from roberta_lab.runs.wandb import environment

SAME = ("metrics.jsonl", "metrics.csv")  # files of a run that must be equal to the last byte
LONGEST_SECONDS = 120.0
TRACEBACK = "Traceback (most recent call last)"


class Row(NamedTuple):
    """One injection: what was done, whether nothing was lost and nothing false came out, the exit code, the last line said."""

    what: str
    survived: bool
    code: int | None
    message: str


@dataclass(frozen=True)
class Child:
    """A forked command."""

    pid: int
    said: Path

    def wait(self, seconds: float = LONGEST_SECONDS) -> int:
        """Return the exit code, negative for the signal that ended it. A child that hangs is killed: -9."""
        deadline = time.monotonic() + seconds
        while (found := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return -signal.SIGKILL
            time.sleep(0.005)
        return os.waitstatus_to_exitcode(found[1])

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def text(self) -> str:
        return self.said.read_text(errors="replace")

    @property
    def message(self) -> str:
        """Return the line of the refusal, else the last line."""
        lines = [line for line in re.split(r"[\r\n]+", self.text) if line.strip()]
        answered = [line for line in lines if line.startswith("roberta-lab: ")]
        return (answered or lines or [""])[-1]


def fork(words: Sequence[str], said: Path, before: Callable[[], object] = lambda: None) -> Child:
    """Run a command in a fork of this process; `before` is called in it first, to break something."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, said)
    code = 70  # of a traceback
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        environment.forget()
        atexit._clear()  # of this process
        before()
        code = main(list(words))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        with suppress(OSError):
            traceback.print_exc()
    finally:  # whatever happens: this process must not go on as the suite
        atexit._run_exitfuncs()
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def apart(inject: Callable[[], list[Row]]) -> list[Row]:
    """Return what an injection finds in a fork of this process, whose limits, folder and patches end with it."""
    return side_by_side([inject])


def side_by_side(injections: Sequence[Callable[[], list[Row]]]) -> list[Row]:
    """Return what injections find, each in a fork of this process, all at once."""
    started = [_started(inject) for inject in injections]
    rows: list[Row] = []
    for pid, reading in started:
        with os.fdopen(reading, "rb") as found:
            data = found.read()
        os.waitpid(pid, 0)
        assert data, "the injection itself failed: see above"
        rows += pickle.loads(data)
    return rows


def _started(inject: Callable[[], list[Row]]) -> tuple[int, int]:
    """Fork this process for an injection; return the fork's number and a file from which its rows can be read."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    os.close(reading)
    try:
        rows = pickle.dumps(inject())
        with os.fdopen(writing, "wb") as file:
            file.write(rows)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


class World:
    """A folder with a text, a cache of prepared data, and a reference run of 24 steps that nothing disturbed."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.draw, self.count = folder, random.Random(seed), 0
        folder.mkdir(parents=True, exist_ok=True)
        corpus = [*small_run.own_text(folder), f"paths.cache={folder / 'cache'}"]
        self.words = [*(w for w in small_run.SMALL if "progress" not in w), *corpus, "trainer.accelerator=cpu"]
        self.words += ["trainer.progress=false", "model.dropout=0.1"]
        self.run(["prepare", *self.words])
        start = time.monotonic()
        self.reference = self.outputs()
        code, _ = self.run(["pretrain", *self.words, f"paths.outputs={self.reference}"])
        assert code == 0, "the world is whole before anything is broken"
        self.seconds = time.monotonic() - start

    def outputs(self) -> Path:
        """Return a new folder for outputs."""
        self.count += 1
        return self.folder / f"outputs-{self.count}"

    def child(self, words: Sequence[str], before: Callable[[], object] = lambda: None) -> Child:
        """Start a command."""
        self.count += 1
        return fork(words, self.folder / f"said-{self.count}.txt", before)

    def run(self, words: Sequence[str], before: Callable[[], object] = lambda: None) -> tuple[int, Child]:
        """Run a command to its end; return its exit code, and the child with what it said."""
        child = self.child(words, before)
        return child.wait(), child

    def pretrain(self, outputs: Path, *more: str) -> list[str]:
        """Return the command of the reference run, in other outputs."""
        return ["pretrain", *self.words, f"paths.outputs={outputs}", *more]

    def is_same(self, outputs: Path, reference: Path | None = None) -> bool:
        """Return whether the runs in these outputs are the reference's, to the last bit of their rows and weights."""
        runs, whole = (sorted(one.glob("pretrain/[!.]*")) for one in (outputs, reference or self.reference))
        if [run.name for run in runs] != [run.name for run in whole]:
            return False
        return all(_is_same(*pair) for pair in zip(runs, whole, strict=True))

    def ends_whole(self, outputs: Path) -> bool:
        """Return whether the same command, typed again, ends with the reference's result and leaves nothing behind."""
        code, child = self.run(self.pretrain(outputs))
        return code == 0 and TRACEBACK not in child.text and self.is_same(outputs) and not left_over(outputs)

    def discard(self, outputs: Path) -> None:
        """Delete outputs that were looked at."""
        shutil.rmtree(outputs, ignore_errors=True)


def _is_same(run: Path, whole: Path) -> bool:
    last = sorted((whole / "checkpoints").glob("step-*.ckpt"))[-1]
    rows = all((run / name).read_bytes() == (whole / name).read_bytes() for name in SAME)
    return rows and weights(run / "checkpoints" / last.name) == weights(last)


def weights(path: Path) -> dict[str, bytes]:
    """Return the bytes of each tensor of a checkpoint's weights and of the averages of its optimizer."""
    from roberta_lab.model import checkpoint

    saved = checkpoint.load(path)
    found = {name: tensor.numpy().tobytes() for name, tensor in saved["state_dict"].items()}
    for number, state in saved["optimizer_states"][0]["state"].items():
        found |= {f"{number}.{name}": tensor.numpy().tobytes() for name, tensor in state.items()}
    return found


def left_over(outputs: Path) -> list[str]:
    """Return the files that a killed process left half-written and nobody swept."""
    return [str(file) for file in outputs.rglob(".*.[0-9]*") if file.name != ".lock"]


def is_one_line(child: Child) -> bool:
    """Return whether a command said what was wrong without a traceback."""
    return TRACEBACK not in child.text and child.message.startswith("roberta-lab: ")


def moments(number: int, seconds: float, draw: random.Random) -> Iterator[float]:
    """Yield so many moments within the seconds, one in each equal part of them."""
    for index in range(number):
        yield seconds * (index + draw.random()) / number
