"""The first signal lets a block finish, the second ends at once, with the signal's code and without children."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import own_signals
import pytest

from roberta_lab.config import EXIT_CODES, Stopped, exit_code, stopping
from roberta_lab.config.errors import STOPPING
from roberta_lab.config.processes import stat
from roberta_lab.config.stopping import asked, finishing, listening, numbers

# A command that says when it is in its block, and then does what it is told.
COMMAND = """
import ctypes, hashlib, os, subprocess, sys, time
from roberta_lab.config import Stopped, exit_code, stopping
stopping.SAME_SECONDS, stopping.QUIET_SECONDS = 0.1, 0.05
def ready():
    print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid, flush=True)
try:
    with stopping.finishing():
        {}
except Stopped as error:
    sys.exit(exit_code(error))
"""
READS = "ready(); sys.stdin.readline()"
STUCK = "ready(); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # minutes, in which no handler of Python runs


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    own_signals.as_in_a_shell()
    before = {number: signal.getsignal(number) for number in STOPPING}
    yield
    after = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before and asked() == 0


def until_stopped() -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", STOPPING)
def test_a_block_finishes_and_then_says_what_stopped_it(number: int) -> None:
    passed = []
    with pytest.raises(Stopped) as caught, finishing():
        with finishing():
            os.kill(os.getpid(), number)
            passed.append(asked())
        passed.append(asked())  # the inner block is within one that finishes
    assert passed == [number, number] and caught.value.number == number
    assert exit_code(caught.value) == 128 + number and number in numbers()
    assert EXIT_CODES[128 + number].startswith(f"stopped by {signal.Signals(number).name}:")


def test_outside_of_such_blocks_it_is_raised_at_once_and_only_once() -> None:
    passed = []
    with listening():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            until_stopped()
        except Stopped:
            passed.append("stopped")
        with finishing():
            passed.append("saved")
    assert passed == ["stopped", "saved"]


def test_a_block_that_answers_is_asked_no_more() -> None:
    with pytest.raises(Stopped, match=r"^stopped by SIGHUP; half of it is lost\.$"), finishing():
        os.kill(os.getpid(), signal.SIGHUP)
        stopping.stop(asked(), "half of it is lost")


def test_what_python_drops_in_a_del_is_raised_again() -> None:
    class Dropping:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)

    with pytest.raises(Stopped), listening():
        Dropping()
        until_stopped()


def test_any_thread_can_ask() -> None:
    with pytest.raises(Stopped, match="SIGTERM"), listening():
        threading.Thread(target=stopping.ask, args=(signal.SIGTERM,)).start()
        until_stopped()


def test_one_that_is_ignored_from_the_start_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert numbers() == [number for number in STOPPING if number != signal.SIGHUP]
        with finishing():
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_stopped_goes_from_process_to_process_and_prints() -> None:
    there = pickle.loads(pickle.dumps(Stopped(signal.SIGTERM)))
    assert (there.number, there.said) == (signal.SIGTERM, "") and exit_code(there) == 143
    assert str(there) == "stopped by SIGTERM; the same command goes on from what is finished or saved."
    assert exit_code(KeyboardInterrupt()) == 130


# ---------------------------------------------------------------- in a process of its own
def start(does: str, *before: str) -> tuple["subprocess.Popen[str]", int]:
    """Start a command, and return it with the process that it started."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    process = subprocess.Popen(
        [*before, sys.executable, "-c", COMMAND.format(does)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def is_gone(process: int) -> bool:
    found = stat(process)
    return found is None or found.is_dead


@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGUSR2)])
def test_the_second_signal_ends_at_once_with_all_children_wherever_the_main_thread_is(first: int, second: int) -> None:
    process, child = start(STUCK)
    process.send_signal(first)
    time.sleep(0.3)
    assert process.poll() is None and not is_gone(child)
    process.send_signal(second)
    error = process.communicate(timeout=30)[1].splitlines()
    assert process.returncode == 128 + second
    assert error[0].endswith(f"{signal.Signals(first).name}: ending what is in progress; a second signal ends at once")
    assert len(error) == 2 and f"ended at once by {signal.Signals(second).name};" in error[1]
    time.sleep(0.05)
    assert is_gone(child)


def test_signals_so_near_each_other_are_one() -> None:
    process, child = start(READS)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.communicate("\n", timeout=30)
    os.kill(child, signal.SIGKILL)
    assert process.returncode in (143, 129)


@pytest.mark.skipif(shutil.which("nohup") is None, reason="there is no nohup")
def test_nohup_is_obeyed() -> None:
    process, child = start(READS, "nohup")
    process.send_signal(signal.SIGHUP)
    process.communicate("\n", timeout=30)
    os.kill(child, signal.SIGKILL)
    assert process.returncode == 0


def test_a_forked_process_leaves_signals_to_the_one_that_has_the_handlers() -> None:
    forked = "pid = os.fork(); os.kill(pid or os.getppid(), 15); "
    ends = "time.sleep(0.3); pid or os._exit(7 + stopping.asked()); os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    process, child = start(f"ready(); {forked}{ends}")
    process.communicate(timeout=30)
    os.kill(child, signal.SIGKILL)
    assert process.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_while_a_command_is_loaded_a_signal_is_one_line(number: int) -> None:
    loads = f"""
import os, sys
class Loads:
    def __getattr__(self, name): os.kill(os.getpid(), {int(number)}); raise SystemExit(9)
sys.modules["roberta_lab.cli.main"] = Loads()
from roberta_lab.__main__ import main
main()"""
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True)
    name = signal.Signals(number).name
    assert done.stderr == f"roberta-lab: stopped by {name}; nothing was in progress.\n"
    assert done.returncode == 128 + number


def test_an_error_that_follows_from_a_signal_is_the_signal_s() -> None:
    """A library's own clean-up may fail when it was interrupted; other errors are none of a signal's."""
    with pytest.raises(ValueError) as caught:
        try:
            try:
                raise Stopped(signal.SIGTERM)
            finally:
                raise AttributeError("half done")
        except AttributeError as error:
            raise ValueError("no config") from error
    found = stopping.behind(caught.value)
    assert found is not None and found.number == signal.SIGTERM
    assert stopping.behind(ValueError("no config")) is None
    interrupted = stopping.behind(KeyboardInterrupt())
    assert interrupted is not None and interrupted.number == signal.SIGINT
