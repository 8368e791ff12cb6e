"""W&B that is not there, answers nonsense, or whose process is killed: the same rows and weights, and at most one line of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from faults.world import TRACEBACK, Child, Row, World
from local_server import LocalServer

from roberta_lab.config.processes import children_of
from roberta_lab.runs.wandb import environment, mirror

KEY = "0" * 40
ANSWERS: dict[str, tuple[int, bytes]] = {
    "500": (500, b"{}"),
    "HTML": (200, b"<html>please log in</html>"),
    "half a JSON": (200, b'{"data": {"vie'),
    "another JSON": (200, b"[1, 2]"),
    "no bytes": (200, b""),
}


def _handler(status: int, body: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def _impatient() -> None:
    environment.ANSWER_SECONDS = 0.5
    mirror.INIT_SECONDS = mirror.FINISH_SECONDS = mirror.GRACE_SECONDS = 2.0


def _row(world: World, what: str, outputs: Any, code: int, child: Child) -> Row:
    said = [line for line in child.text.splitlines() if line.startswith("W&B: ")]
    good = code == 0 and len(said) <= 1 and TRACEBACK not in child.text and world.is_same(outputs)
    world.discard(outputs)
    return Row(what, good, code, said[0] if said else child.message)


def bad_servers(world: World, tries: int) -> list[Row]:
    """Ask a server that answers nonsense, or none: the run is offline, and the same."""
    rows = []
    for index in range(tries):
        kind, outputs = [*ANSWERS, "gone"][index % (len(ANSWERS) + 1)], world.outputs()
        with LocalServer(_handler(*ANSWERS.get(kind, (500, b"")))) as server:
            if kind == "gone":
                server.die()

            def before(url: str = server.url) -> None:
                _impatient()
                os.environ |= {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}

            code, child = world.run(world.pretrain(outputs, "logger.wandb=online"), before)
        rows.append(_row(world, "W&B's server is gone or answers nonsense", outputs, code, child))
    return rows


def killed_core(world: World, tries: int) -> list[Row]:
    """Kill or stop W&B's process as the run goes on."""
    rows = []
    for index in range(tries):
        outputs, number = world.outputs(), (signal.SIGKILL, signal.SIGSTOP)[index % 2]
        child = world.child(world.pretrain(outputs, "logger.wandb=offline"), _impatient)
        deadline = time.monotonic() + 20
        while not (found := _core_of(child.pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2 * world.draw.random())
        for core in found:
            os.kill(core, number)
        code = child.wait()
        for core in found if number == signal.SIGSTOP else ():
            os.kill(core, signal.SIGKILL)
        rows.append(_row(world, f"W&B's process gets {number.name}", outputs, code, child))
    return rows


def _core_of(process: int) -> list[int]:
    return [child for child in children_of(process) if b"wandb-core" in _command(child)]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def not_installed(world: World, tries: int) -> list[Row]:
    """Take the package away: one line, and none where W&B is off."""
    rows = []
    for index in range(tries):
        outputs, words = world.outputs(), ("logger.wandb=offline", "logger.wandb=off")[index % 2]
        code, child = world.run(world.pretrain(outputs, words), _without_wandb)
        row = _row(world, "W&B is not installed", outputs, code, child)
        good = row.survived and ("W&B: it is not installed" in child.text) == (index % 2 == 0)
        rows.append(row._replace(survived=good))
    return rows


def _without_wandb() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        del sys.modules[name]
    sys.modules["wandb"] = None  # type: ignore[assignment]  # which import takes for: not there
