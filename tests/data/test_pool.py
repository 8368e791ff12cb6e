"""Work in processes of a pool: one that dies costs its own work alone, one that is stopped saves, none outlives its parent."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.config import ProcessDied, Stopped
from roberta_lab.config.processes import stat
from roberta_lab.config.stopping import finishing
from roberta_lab.data.pool import Pool, Work

DIES: Work = (os._exit, (3,))
ROOT: Work = (math.sqrt, (4.0,))


def runs(code: str) -> Work:
    return exec, (f"import os, pathlib, signal, sys, time\n{code}", {})


def outcomes(pool: Pool, *works: Work) -> dict[int, Any]:
    return {number: found.error or found.value for number, found in pool.outcomes(works)}


def is_gone(process: int) -> bool:
    found = stat(process)
    return found is None or found.is_dead


def test_a_process_that_dies_is_an_outcome_and_the_next_work_has_another() -> None:
    with Pool(1) as pool:
        found = outcomes(pool, DIES, ROOT, runs("os.kill(os.getpid(), 9)"))
    assert isinstance(found[0], ProcessDied) and str(found[0]) == "its process ended with exit code 3"
    assert found[1] == 2.0
    assert isinstance(found[2], ProcessDied)
    assert str(found[2]) == "its process was killed by signal 9, by the machine perhaps for want of memory"


def test_work_beside_one_that_dies_is_done_and_processes_are_kept_and_ended() -> None:
    with Pool(2) as pool:
        beside = runs("time.sleep(0.5)"), DIES
        found = outcomes(pool, *beside, ROOT)
        assert found[0] is None and isinstance(found[1], ProcessDied) and found[2] == 2.0
        kept = {process.popen.pid for process in pool.processes}
        assert outcomes(pool, (os.getpid, ()))[0] in kept
    assert all(map(is_gone, kept)) and not pool.processes


def test_errors_come_with_where_they_were_and_answers_that_cannot_travel_are_said() -> None:
    with Pool(1) as pool:
        found = outcomes(pool, (math.sqrt, (-1.0,)), (threading.Lock, ()), (os.getpid, ()), (os.getpid, ()))
    assert isinstance(found[0], ValueError) and "Traceback" in found[0].__notes__[0]
    assert isinstance(found[1], RuntimeError) and "pickle" in str(found[1])
    assert found[2] == found[3] != os.getpid(), "an error costs no process"


def test_a_signal_is_passed_on_and_what_has_not_begun_is_left_out() -> None:
    begin, found = time.monotonic(), dict[int, Any]()
    asks = "os.kill(os.getppid(), signal.SIGUSR1)\nfor _ in range(3000): time.sleep(0.01)"
    with Pool(1) as pool, pytest.raises(Stopped, match="SIGUSR1"), finishing():
        found = outcomes(pool, runs(asks), ROOT)
    assert isinstance(found[0], Stopped) and found[0].number == signal.SIGUSR1 and list(found) == [0]
    assert time.monotonic() - begin < 10


def test_work_that_nobody_waits_for_is_ended() -> None:
    with Pool(2) as pool:
        rest = pool.outcomes([ROOT, runs("time.sleep(60)")])
        assert next(rest)[1].value == 2.0
        busy = [process.popen.pid for process in pool.processes if process.work == 1]
        rest.close()
        assert all(map(is_gone, busy)) and all(process.work is None for process in pool.processes)


def test_one_whose_parent_is_killed_saves_and_ends_in_five_seconds(tmp_path: Path) -> None:
    there, saved = tmp_path / "there", tmp_path / "saved"
    work = (
        f"pathlib.Path({str(there)!r}).write_text(str(os.getpid()) + '.')\n"
        "try:\n  while True: time.sleep(0.01)\n"
        f"except KeyboardInterrupt: pathlib.Path({str(saved)!r}).touch()"
    )
    code = f"from roberta_lab.data.pool import Pool; list(Pool(1).outcomes([{runs(work)!r}]))"
    code = code.replace("<built-in function exec>", "exec")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 20
    while not there.exists() or not there.read_text().endswith("."):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while not is_gone(int(there.read_text()[:-1])):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert saved.exists()
