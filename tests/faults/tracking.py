"""W&B that is not there, answers nonsense, or whose process is killed or stopped: the same rows and weights, and one line of it."""

from __future__ import annotations

import importlib.abc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb_server
from faults.processes import all_gone
from faults.world import TRACEBACK, Child, Row, World
from wandb_files import OfflineRun

from roberta_lab.config.processes import children_of, stat
from roberta_lab.runs import provenance
from roberta_lab.runs.tracking import Tracker
from roberta_lab.runs.wandb import environment, mirror, service

LATE_SECONDS = 30.0  # more than that, and a limit did not hold: those of `_impatient`, and what a command takes itself
WAYS = ("refuses", "hangs", "500", "HTML", "half", "slow", "closes", "no HTTP", "list", "loops")
TWO = ("-m", "seed=1,2", "hydra/launcher=basic")  # jobs of one command
TABLE = ("sweep=table1_masking", "sweep.seeds=[1]", "sweep.tasks=[]", "hydra/launcher=basic")


def _impatient() -> None:
    """In a child: the limits that would take minutes, in seconds."""
    for variable in [one for one in os.environ if one.startswith("WANDB_")]:
        del os.environ[variable]
    environment.ANSWER_SECONDS = mirror.PROBE_SECONDS = service.GRACE_SECONDS = 0.5
    mirror.INIT_SECONDS, mirror.OFFLINE_INIT_SECONDS, mirror.CALL_SECONDS = 2.0, 4.0, 2.5


def _tried(
    world: World, what: str, words: list[str], before: Callable[[], object], good: Callable[[Child, int], bool]
) -> Row:
    """Run a command in which something is broken, and return a row."""

    def broken() -> None:
        _impatient()
        before()

    start = time.monotonic()
    code, child = world.run(words, broken)
    took = time.monotonic() - start
    survived = good(child, code) and TRACEBACK not in child.text and took < LATE_SECONDS
    said = "; ".join(_said(child)) or child.message
    return Row(what, survived, code, said if survived else f"{took:.1f} s; {said}; {child.text[-1500:]!r}")


def _said(child: Child) -> list[str]:
    return [line for line in child.text.splitlines() if line.startswith("W&B")]


# ---------------------------------------------------------------- servers
class _Bad(wandb_server._Handler):
    """A server that answers as W&B's until so many questions were asked, and is bad in one way then."""

    way, after, asked, over = "", 0, 0, threading.Event()

    def _answer(self) -> None:
        _Bad.asked += 1
        if _Bad.asked <= _Bad.after:
            super()._answer()
            return
        self._body()
        self.close_connection = True
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
        if self.way == "hangs":
            _Bad.over.wait(30)
        elif self.way == "slow":
            self.wfile.write(head)
            while not _Bad.over.wait(0.1):
                self.wfile.write(b" ")
                self.wfile.flush()
        elif self.way in ("500", "loops"):
            self.send_response(500 if self.way == "500" else 302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            said = {"HTML": head.replace(b"500", b"20") + b"<html>welcome</html>", "half": head + b'{"data": {"vie'}
            said |= {"no HTTP": b"\x00" * 99, "list": head.replace(b"500", b"2") + b"[]"}
            self.wfile.write(said.get(self.way, b""))


@contextmanager
def _served(way: str, after: int) -> Iterator[Callable[[], object]]:
    """Serve what is bad in this way after so many questions; yield what makes a child ask it."""
    _Bad.way, _Bad.after, _Bad.asked = way, after, 0
    _Bad.over.clear()
    with wandb_server.Server() as server:
        server.RequestHandlerClass = _Bad
        if way == "refuses" and not after:
            server.die()
        yield lambda: os.environ.update({"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "k" * 40})
        _Bad.over.set()


def bad_servers(world: World, tries: int) -> list[Row]:
    """No server, or what is none, or only for the first question: two jobs of a command are offline, with one line for both."""
    rows, reference = [], world.outputs()
    assert world.run(world.pretrain(reference, *TWO))[0] == 0
    for number in range(tries):
        way, after, outputs = WAYS[number % len(WAYS)], number // len(WAYS) % 2, world.outputs()

        def good(child: Child, code: int, outputs: Path = outputs) -> bool:
            both = len(list((outputs / "wandb").glob("offline-run-*"))) == 2
            return code == 0 and both and world.is_same(outputs, reference) and len(_said(child)) == 1

        with _served(way, after) as asks:
            words = world.pretrain(outputs, "logger.wandb=online", *TWO)
            rows.append(_tried(world, "W&B's server is gone, hangs or answers nonsense", words, asks, good))
        world.discard(outputs)
    return rows


def servers_that_turn(world: World, tries: int) -> list[Row]:
    """A server that turns bad at some question: the run goes on, and W&B costs one line."""
    rows = []
    for number in range(tries):
        outputs = world.outputs()

        def good(child: Child, code: int, outputs: Path = outputs) -> bool:
            return code == 0 and world.is_same(outputs) and len(_said(child)) <= 1

        with _served(WAYS[number % len(WAYS)], world.draw.randint(1, 16)) as asks:
            words = world.pretrain(outputs, "logger.wandb=online")
            rows.append(_tried(world, "W&B's server turns bad", words, asks, good))
        world.discard(outputs)
    return rows


# ---------------------------------------------------------------- W&B's process
def _own_core() -> int | None:
    """Return W&B's process of this process, also while it starts."""
    return next((one for one in children_of(os.getpid()) if (s := stat(one)) and s.name == service.NAME), None)


def _signalling(number: int, moment: str, step: int, delay: float, note: Path) -> Callable[[], None]:
    """Return what, in a child, sends a signal to W&B's process at a moment: start, step, finish, exit; and notes that process."""

    def send() -> None:
        if not note.exists() and (process := _own_core()):
            note.write_text(str(process))
            os.kill(process, number)

    def at_start() -> None:
        while _own_core() is None:
            time.sleep(0.002)
        time.sleep(delay)
        send()

    def install() -> None:
        write, finish = Tracker.write, mirror.Mirror.finish

        def writing(log: Tracker, row: Any) -> None:
            if moment == "step" and row.step == step:
                send()
            write(log, row)

        def finishing(shown: mirror.Mirror, *given: Any, **named: Any) -> None:
            if moment == "finish":
                send()
            finish(shown, *given, **named)
            if moment == "exit":
                send()

        Tracker.write, mirror.Mirror.finish = writing, finishing  # type: ignore[method-assign]
        if moment == "start":
            threading.Thread(target=at_start, daemon=True).start()

    return install


def lost_processes(world: World, tries: int) -> list[Row]:
    """W&B's process killed, or stopped, at the start, at a step, before the end and after it: at most a line, and it is gone."""
    rows = []
    for number in range(tries):
        outputs, note, sent = (
            world.outputs(),
            world.folder / f"core-{number}",
            (signal.SIGSTOP, signal.SIGKILL)[number % 2],
        )
        moment = ("start", "step", "finish", "exit")[number // 2 % 4]

        def good(child: Child, code: int, outputs: Path = outputs, note: Path = note) -> bool:
            is_gone = note.exists() and all_gone([int(note.read_text())])
            return code == 0 and is_gone and world.is_same(outputs) and len(_said(child)) <= 1

        breaks = _signalling(sent, moment, world.draw.randint(1, 24), world.draw.uniform(0, 0.3), note)
        words = world.pretrain(outputs, "logger.wandb=offline")
        rows.append(_tried(world, f"W&B's process gets {sent.name} at its {moment}", words, breaks, good))
        note.unlink(missing_ok=True)
        world.discard(outputs)
    return rows


def ended_commands(world: World, tries: int) -> list[Row]:
    """A command that is stopped, which W&B shows as preempted, or killed: W&B's process ends in 5 s."""
    rows = []
    for number in range(tries):
        sent, step = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)[number % 3], world.draw.randint(2, 20)
        outputs, note = world.outputs(), world.folder / f"ended-core-{number}"

        def install(sent: int = sent, step: int = step, note: Path = note) -> None:
            write = Tracker.write

            def writing(log: Tracker, row: Any) -> None:
                write(log, row)
                if row.step == step:
                    note.write_text(str(_own_core()))
                    os.kill(os.getpid(), sent)

            Tracker.write = writing  # type: ignore[method-assign]

        def good(child: Child, code: int, outputs: Path = outputs, note: Path = note, sent: int = sent) -> bool:
            if code != (-sent if sent == signal.SIGKILL else 128 + sent) or not all_gone([int(note.read_text())]):
                return False
            [run] = (outputs / "pretrain").glob("[!.]*")
            return sent == signal.SIGKILL or OfflineRun(outputs, run.name).is_preempting

        words = world.pretrain(outputs, "logger.wandb=offline")
        rows.append(_tried(world, f"{signal.Signals(sent).name} to a command that logs to W&B", words, install, good))
        world.discard(outputs)
    return rows


# ---------------------------------------------------------------- no package
class _Blocked(importlib.abc.MetaPathFinder):
    """What finds no wandb, or one that is broken."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in ("wandb", "wandb_workspaces"):
            if self.error is ModuleNotFoundError:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            raise self.error("libwandb.so: wrong version")


def _without_package(error: type[Exception]) -> Callable[[], None]:
    """Return what takes wandb away, in a child: not installed, or broken in this way."""

    def install() -> None:
        for name in [one for one in sys.modules if one.partition(".")[0] in ("wandb", "wandb_workspaces")]:
            del sys.modules[name]
        sys.meta_path.insert(0, _Blocked(error))
        version = provenance.metadata.version

        def missing(name: str) -> str:
            if name == "wandb":
                raise provenance.metadata.PackageNotFoundError(name)
            return version(name)

        provenance.metadata.version = missing

    return install


def not_installed(world: World, tries: int) -> list[Row]:
    """Without the package, or with a broken one: a line per command, nothing with logger.wandb=off, one refusal of `sync`."""
    cases: list[tuple[tuple[str, ...], str]] = [
        (("pretrain",), "auto"), (("pretrain",), "off"), (("reproduce", *TABLE), "auto"), (("sync",), "auto"),
        (("reproduce", *TABLE), "off"), (("table", *TABLE[:3]), "offline"),
    ]  # fmt: skip
    rows = []
    for number in range(tries):
        (words, mode), error = cases[number % len(cases)], (ModuleNotFoundError, ImportError, OSError)[number // 6 % 3]
        outputs, lines = world.outputs(), int(mode != "off" and words[0] != "table")
        if words[0] == "sync":
            (outputs / "wandb" / "offline-run-1-x").mkdir(parents=True)
            (outputs / "wandb" / "offline-run-1-x" / "run-x.wandb").touch()
        reason = "it is not installed" if error is ModuleNotFoundError else "it cannot be imported"

        def good(
            child: Child,
            code: int,
            outputs: Path = outputs,
            words: tuple[str, ...] = words,
            said: tuple[str, int] = (reason, lines),
        ) -> bool:
            same = words[0] != "pretrain" or world.is_same(outputs)
            return same and code == (2 if words[0] == "sync" else 0) and child.text.count(said[0]) == said[1]

        command = [*words, *world.words, f"paths.outputs={outputs}", f"logger.wandb={mode}"]
        rows.append(_tried(world, "W&B is not installed, or broken", command, _without_package(error), good))
        world.discard(outputs)
    return rows
