"""Nobody waits long for W&B's own process, and what one process of a command found of W&B the others know."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from wandb_server import Server

from roberta_lab.cli.launched import Task
from roberta_lab.config import Config, LoggerConfig
from roberta_lab.config.processes import stat
from roberta_lab.data.pool import Outcome
from roberta_lab.runs import process_launcher
from roberta_lab.runs.process_launcher import ProcessLauncher
from roberta_lab.runs.wandb import environment, mirror, service
from roberta_lab.runs.wandb.names import Keys

AUTO = Config(logger=LoggerConfig("offline"))
SLEEPS = "import time; open('/proc/self/comm', 'w').write('wandb-core'); print(flush=True); time.sleep(60)"
on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@pytest.fixture(autouse=True)
def new_command(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    environment.forget()
    monkeypatch.setattr(service, "GRACE_SECONDS", 0.2)
    yield
    environment.forget()


@pytest.fixture
def start() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """What starts a process of the name of W&B's, which does nothing."""
    started: list[subprocess.Popen[bytes]] = []

    def starts() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEPS], stdout=subprocess.PIPE))
        assert started[-1].stdout is not None and started[-1].stdout.readline()
        return started[-1]

    yield starts
    for process in started:
        process.kill()
        process.communicate()


# ---------------------------------------------------------------- W&B's process
@on_linux
def test_a_process_that_hangs_before_it_listens_is_killed_in_time(
    start: Callable[[], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B does not know it yet. A process of another name, started meanwhile, is left alone."""
    monkeypatch.setattr(service, "of_this_process", lambda: None)
    found: list[subprocess.Popen[bytes]] = []

    def hangs() -> None:
        found.append(start())
        found[0].send_signal(signal.SIGSTOP)
        raise RuntimeError(f"it ended with {found[0].wait()}")

    other = subprocess.Popen(["sleep", "60"])
    with pytest.raises(RuntimeError, match="it ended with -9"):
        service.in_time(0.3, hangs)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_what_hangs_without_a_process_of_wandbs_costs_its_time_and_what_does_not_returns() -> None:
    over, begin = threading.Event(), time.monotonic()
    with pytest.raises(TimeoutError):
        service.in_time(0.1, over.wait)
    assert 0.3 <= time.monotonic() - begin < 2
    over.set()
    assert service.in_time(5.0, lambda: "a run") == "a run"


@on_linux
@pytest.mark.parametrize("what", ["runs", "stopped", "dead"])
def test_a_process_that_is_stopped_or_dead_is_given_up_before_the_next_run(
    what: str, start: Callable[[], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, over = start(), threading.Event()
    monkeypatch.setattr(service, "of_this_process", lambda: process)
    monkeypatch.setattr("wandb.teardown", lambda _: over.wait(5))  # as W&B's own does, without a limit
    monkeypatch.setenv(service.ADDRESS, "its address")
    if what == "stopped":
        process.send_signal(signal.SIGSTOP)
        while (found := stat(process.pid)) is None or not found.is_stopped:
            time.sleep(0.005)
    if what == "dead":
        process.kill()
        process.wait()
    begin = time.monotonic()
    service.give_up_if_lost()
    assert time.monotonic() - begin < 2
    over.set()
    if what == "runs":
        assert process.poll() is None and service.ADDRESS in os.environ
    else:
        assert process.wait(5) == -signal.SIGKILL and service.ADDRESS not in os.environ


EXITS = """
import atexit, os, signal, subprocess, sys, types
from roberta_lab.runs.wandb import service

class Process:
    _process = subprocess.Popen(["sleep", "60"])
def fails(code):
    singleton._connection._proc._process.wait()
    raise ConnectionResetError("shown by atexit")
singleton = types.SimpleNamespace(_connection=types.SimpleNamespace(_proc=Process))
sys.modules["wandb"] = types.SimpleNamespace(teardown=fails)
sys.modules["wandb.sdk.wandb_setup"] = types.SimpleNamespace(_singleton=singleton)
service.GRACE_SECONDS = 0.2
os.environ["WANDB_SERVICE"] = "its address"
os.kill(Process._process.pid, signal.SIGSTOP)
service.own()
service.own()
print(Process._process.pid, "WANDB_SERVICE" in os.environ)
"""


def test_a_stopped_process_does_not_hold_a_command_at_its_exit() -> None:
    """It is killed; nothing is said of it; processes of jobs did not inherit its address."""
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", EXITS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env={**os.environ, "PYTHONPATH": path})
    process, inherited = done.stdout.split()
    assert done.returncode == 0 and done.stderr == "" and inherited == "False"
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_errors_of_wandbs_threads_are_not_shown_and_others_are() -> None:
    shown: list[str] = []
    hook = service._silent(lambda error: shown.append(str(error.exc_value)))
    for module in ("wandb.sdk.lib", "somewhere"):
        try:
            exec("raise ValueError(__name__)", {"__name__": module})
        except ValueError as error:
            hook(threading.ExceptHookArgs((ValueError, error, error.__traceback__, None)))
    assert shown == ["somewhere"]


# ---------------------------------------------------------------- the end of a run
class Ending:
    """A run of W&B that takes its time to end."""

    def __init__(self) -> None:
        self.asked, self.over = 0, threading.Event()

    def finish(self, exit_code: int) -> None:
        self.asked += 1
        self.over.wait(5)


@pytest.mark.parametrize(("took", "seconds"), [(0.0, 10.0), (300.0, 20.0), (6000.0, 30.0)])
def test_the_end_may_take_a_share_of_the_run(
    took: float, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifteenth, and between 10 and 30 seconds."""
    asked: list[float] = []
    monkeypatch.setattr(mirror.Mirror, "attempt", lambda self, work, seconds: asked.append(seconds))
    shown = mirror.Mirror(Ending(), tmp_path, Keys("pretrain/"))
    shown.begun -= took
    shown.finish()
    assert asked == [pytest.approx(seconds, abs=0.1)]


def test_an_end_that_hangs_costs_that_and_the_process_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given_up: list[bool] = []
    monkeypatch.setattr(service, "give_up", lambda: given_up.append(True))
    monkeypatch.setattr(mirror, "CALL_SECONDS", 0.1)
    run, begin = Ending(), time.monotonic()
    mirror.Mirror(run, tmp_path, Keys("pretrain/")).finish()
    assert 0.1 <= time.monotonic() - begin < 3 and given_up == [True]
    assert capsys.readouterr().err.startswith("W&B failed (TimeoutError: it does not answer); ")
    run.over.set()


def test_at_the_end_a_server_that_is_gone_is_not_waited_for_and_the_next_job_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(service, "give_up", lambda: None)
    with Server() as gone:
        pass
    run = Ending()
    run.over.set()
    os.environ[environment.VERDICT] = environment.AS_ASKED
    shown = mirror.Mirror(run, tmp_path, Keys("pretrain/"), url=gone.url)
    begin = time.monotonic()
    shown.finish()
    assert time.monotonic() - begin < 1 and run.asked == 1, "asked only to end its threads"
    assert f"W&B failed (ConnectionError: {gone.url} does not answer" in capsys.readouterr().err
    assert environment.VERDICT not in os.environ


# ---------------------------------------------------------------- one verdict for all jobs of a command
@pytest.mark.parametrize("found", ["offline", "off", None])
def test_processes_of_a_launcher_know_what_the_command_found(found: str | None) -> None:
    environment.learn(found)
    task = pickle.dumps(Task())
    environment.forget()  # as in a process that was started before it was found
    pickle.loads(task)
    assert environment.failed() == found


def test_what_a_job_found_is_known_to_later_jobs_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The works after it carry it, as they are pickled when they are sent."""
    known: list[str | None] = []

    class Jobs:
        def outcomes(self, works: list[Any], most: int = 2, places: object = None) -> Iterator[tuple[int, Outcome]]:
            for number, verdict in enumerate([None, "offline", None][: len(works)]):
                known.append(environment.failed())
                yield number, Outcome(("COMPLETED", number, verdict))

    monkeypatch.setattr(process_launcher, "_pool_of", lambda most: Jobs())
    launcher = ProcessLauncher(2)
    launcher.context = launcher.config = launcher.task = None  # type: ignore[assignment]
    done = launcher.launch([["seed=1"], ["seed=2"], ["seed=3"]], 0)
    assert known == [None, None, "offline"] and environment.failed() == "offline"
    assert [job._return_value for job in done] == [0, 1, 2]


# ---------------------------------------------------------------- the package
class Breaks:
    """A package that is there, and cannot be imported."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find_spec(self, name: str, *_: object) -> None:
        if name == "wandb":
            raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("libcore.so: wrong version"), "it cannot be imported (ImportError: libcore.so: wrong version)"),
        (OSError("no such device"), "it cannot be imported (OSError: no such device)"),
        (ModuleNotFoundError("No module named 'click'", name="click"), "it cannot be imported (ModuleNotFoundError: No module named 'click')"),
        (ModuleNotFoundError("No module named 'wandb'", name="wandb"), environment.NOT_INSTALLED),
    ],
)  # fmt: skip
def test_a_package_that_is_broken_costs_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Breaks(error), *sys.meta_path])
    assert [environment.ready(AUTO) for _ in range(2)] == ["off", "off"]
    err = capsys.readouterr().err
    assert err.startswith(f"W&B: {said}; ") and err.count("\n") == 1


def test_a_folder_of_that_name_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the one that W&B itself makes in outputs."""
    folder = ModuleType("wandb")
    folder.__file__ = None
    monkeypatch.setitem(sys.modules, "wandb", folder)
    assert environment.missing() == environment.NOT_INSTALLED
