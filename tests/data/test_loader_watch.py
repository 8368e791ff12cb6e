"""Of the processes that make batches the one that hangs is named and killed, and none that only takes its time."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest
from torch.utils.data import DataLoader

from roberta_lab.config import RankDied
from roberta_lab.config.processes import Stat
from roberta_lab.data import loader_watch
from roberta_lab.data.loader_watch import LoaderWatch, watched_batches

NOBODY = (1 << 22) + 7, (1 << 22) + 8  # numbers that no process has


def watch_of(due: int | None, limit: float = 5.0) -> LoaderWatch:
    """A watch of two processes that were never there, while a batch is waited for."""
    watch = LoaderWatch(NOBODY, lambda: due, limit)
    watch.waiting = 0.0
    return watch


def found_after(watch: LoaderWatch, states: str, cpu: tuple[float, float], most: int) -> tuple[int, int] | None:
    """Look each second at processes in these states, which use so much of a core; return the second and what is found then."""
    for second in range(1, most + 1):
        now: Sequence[Stat] = [Stat(state, 1, used * second) for state, used in zip(states, cpu, strict=True)]
        if (number := watch.look(now, 1.0)) is not None:
            return second, number
    return None


def test_one_that_is_stopped_is_found_though_it_is_not_its_turn() -> None:
    assert found_after(watch_of(0), "RT", (1.0, 0.0), 9) == (5, 1)
    assert found_after(watch_of(None), "RT", (1.0, 0.0), 9) == (5, 1)
    watch = watch_of(None)
    assert found_after(watch, "TR", (0.0, 1.0), 4) is None
    assert found_after(watch, "RR", (1.0, 1.0), 1) is None, "it was continued"
    assert found_after(watch, "TR", (0.0, 1.0), 4) is None, "and is stopped anew"


def test_one_that_does_nothing_is_found_when_it_is_its_turn() -> None:
    assert found_after(watch_of(1), "SS", (0.0, 0.0), 9) == (5, 1)
    assert found_after(watch_of(0), "SS", (0.0, 0.0), 9) == (5, 0)
    assert found_after(watch_of(None), "SS", (0.0, 0.0), 99) is None
    idle = watch_of(1)
    idle.waiting = None
    assert found_after(idle, "SS", (0.0, 0.0), 99) is None, "nobody waits"


def test_one_that_works_is_given_ten_times_as_long_as_that_or_as_the_longest_wait() -> None:
    assert found_after(watch_of(0), "RS", (0.9, 0.0), 99) == (50, 0)
    slow = watch_of(0)
    slow.longest = 8.0
    assert found_after(slow, "RS", (0.9, 0.0), 99) == (80, 0)


def test_one_that_is_stopped_is_killed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_watch, "LOOK_SECONDS", 0.02)
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        watch = LoaderWatch([process.pid], lambda: None, 0.06)

        def batches() -> Iterator[int]:
            process.wait(10)
            raise RuntimeError("a worker is gone")
            yield 0

        said = (
            rf"loader worker 1 of 1 \(process {process.pid}\) was stopped and not continued, for 0 seconds and more; "
        )
        with pytest.raises(RankDied, match=said):
            watch.next(batches())
    assert process.returncode == -signal.SIGKILL


def test_other_errors_stay_and_the_longest_wait_is_kept() -> None:
    watch = watch_of(None)

    def batches() -> Iterator[int]:
        watch.look([None, None], 3.0)
        yield 1
        raise RuntimeError("something else")

    own = batches()
    assert watch.next(own) == 1 and (watch.longest, watch.waiting) == (3.0, None)
    with pytest.raises(RuntimeError, match="something else"):
        watch.next(own)


def test_torch_still_says_whose_turn_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is private: without it, one that hangs would not be noticed."""
    made: list[LoaderWatch] = []

    class Kept(LoaderWatch):
        def next(self, batches: Iterator[object]) -> object:
            made.append(self)
            turns.append(self.due())
            return super().next(batches)

    turns: list[int | None] = []
    monkeypatch.setattr(loader_watch, "LoaderWatch", Kept)
    loader = DataLoader([10, 11, 12, 13], batch_size=None, num_workers=2)
    assert [int(batch) for batch in watched_batches(iter(loader))] == [10, 11, 12, 13]
    assert turns[:4] == [0, 1, 0, 1] and len(made[0].processes) == 2


def test_workers_that_are_left_do_not_hold_up_the_end() -> None:
    """Their iterator is referred to until the interpreter ends, as by the traceback of an error that is kept."""
    code = (
        "import builtins, gc\n"
        "from small_pretraining import Store, VOCABULARY, make\n"
        "from roberta_lab.data.datamodule import PretrainingData\n"
        "from roberta_lab.data.position_loader import PositionLoader, leave_signals_to_the_run\n"
        "batches = PretrainingData(make(), Store(), Store(), VOCABULARY).micro_batches\n"
        "options = dict(worker_init_fn=leave_signals_to_the_run, persistent_workers=True)\n"
        "loader = PositionLoader(batches, batch_size=None, sampler=range(9), num_workers=1, **options)\n"
        "builtins.kept = iter(loader)\n"
        "next(builtins.kept)\n"
        "gc.freeze()\n"
    )
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, stderr=subprocess.PIPE, check=True)
    assert done.stderr == b""
