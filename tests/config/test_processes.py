"""What is said of processes is so, and a process ends soon after the one that started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roberta_lab.config.processes import children_of, stat

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
PARENT = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]]).wait()"""
CHILD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from roberta_lab.config.processes import end_with
{}
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
print(os.getpid(), flush=True)
time.sleep(60)"""


def comes(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_gone(process: int) -> bool:
    found = stat(process)
    return found is None or found.is_dead


def test_states_of_processes() -> None:
    own = stat(os.getpid())
    assert own is not None and own.parent == os.getppid() and not own.is_stopped and not own.is_dead
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    later = stat(os.getpid())
    assert later is not None and 0.03 < later.cpu_seconds - own.cpu_seconds < 5
    process = subprocess.Popen(["sleep", "60"])
    process.send_signal(signal.SIGSTOP)
    assert comes(lambda: (found := stat(process.pid)) is not None and found.is_stopped)
    process.kill()
    assert comes(lambda: (found := stat(process.pid)) is not None and found.is_dead)
    process.wait()
    assert stat(process.pid) is None


def test_children_are_found_with_theirs_and_parents_come_first() -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    other = int(process.stdout.readline())
    assert children_of(process.pid) == [other]
    found = children_of(os.getpid())
    assert found.index(process.pid) < found.index(other)
    for one in (other, process.pid):
        os.kill(one, signal.SIGKILL)
    process.communicate()
    assert children_of(process.pid) == []


@pytest.mark.parametrize("last", [False, True])
def test_a_process_ends_with_its_parent_whatever_ended_that(tmp_path: Path, last: bool) -> None:
    """Also one that ignores signals; with something to do before, which what it started does not outlive."""
    ignores = "signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    ends = f"end_with(os.getppid(), Path({str(tmp_path / 'last')!r}).touch)" if last else "end_with(os.getppid())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    command = [sys.executable, "-c", PARENT, CHILD.format(ignores + ends)]
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    started, child = (int(parent.stdout.readline()) for _ in range(2))
    assert not is_gone(child)
    parent.kill()
    parent.wait()
    assert comes(lambda: is_gone(child)) and (tmp_path / "last").exists() == last
    if last:
        assert comes(lambda: is_gone(started), 1.0)
    else:  # Linux ends the process itself, which cannot end others; those of the program watch their own parent
        os.kill(started, signal.SIGKILL)
    parent.stdout.close()
