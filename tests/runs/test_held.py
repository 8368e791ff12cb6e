"""Runs that another process makes are waited for, and made here when it ends without them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra.core.utils import JobReturn, JobStatus

from roberta_lab.config import RunInUse
from roberta_lab.data import claims
from roberta_lab.runs import held

HOLDS = "import sys; from pathlib import Path; from roberta_lab.data import claims\nwith claims.claim(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


class Job(NamedTuple):
    path: Path
    later: tuple[Path, ...] = ()  # where it may have gone on

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.path, *self.later)


@contextmanager
def another(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds a folder until its input ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    command = [sys.executable, "-c", HOLDS, str(folder)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_folder_is_held_while_its_process_lives(tmp_path: Path, is_killed: bool) -> None:
    assert not claims.is_held(tmp_path)
    with another(tmp_path) as process:
        assert claims.is_held(tmp_path)
        if is_killed:
            process.kill()
        process.communicate(timeout=10)
        assert not claims.is_held(tmp_path) and (tmp_path / claims.NOTE).exists() == is_killed
    with claims.claim(tmp_path):
        assert not claims.is_held(tmp_path), "no other process"


def test_only_what_is_held_is_launched_again_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job(tmp_path / name) for name in ("a", "b", "c")]
    launched: list[list[Path]] = []

    def launch(some: Sequence[Any]) -> list[JobReturn]:
        launched.append([job.path for job in some])
        inner = [RunInUse("held") if claims.is_held(job.path) else job.path for job in some]
        done = [JobStatus.FAILED if isinstance(one, RunInUse) else JobStatus.COMPLETED for one in inner]
        return [JobReturn(_return_value=one, status=status) for one, status in zip(inner, done, strict=True)]

    with another(jobs[1].path) as first, another(jobs[2].path) as second:
        ends = iter([first, None, second])

        def sleep(seconds: float) -> None:
            assert seconds == held.WAIT
            if (process := next(ends)) is not None:
                process.kill()
                process.wait()

        monkeypatch.setattr(held.time, "sleep", sleep)
        found = held.launched(launch, jobs)  # type: ignore[arg-type]
    assert [one.return_value for one in found] == [job.path for job in jobs]
    assert launched == [[job.path for job in jobs], [jobs[1].path], [jobs[2].path]]
    said = capsys.readouterr().err
    assert said.startswith(
        f"waiting for 2 of 3 runs that other processes make: {jobs[1].path} by process {first.pid} on "
    )
    assert said.count("\n") == 1


def test_a_run_that_goes_on_in_another_folder_is_waited_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has left a step out (`trainer.on_nonfinite=skip`): the folder that it began in is free, and has no result."""
    job, launches = Job(tmp_path / "stopped", (tmp_path / "goes_on",)), list[bool]()

    def launch(_: Sequence[Any]) -> list[JobReturn]:
        launches.append(claims.is_held(job.later[0]))
        value = RunInUse("held") if launches[-1] else None
        return [JobReturn(_return_value=value, status=JobStatus.COMPLETED)]

    with another(job.later[0]) as process:
        ends = iter([None, None, process])
        monkeypatch.setattr(held.time, "sleep", lambda _: (one := next(ends)) and (one.kill(), one.wait()))
        held.launched(launch, [job])  # type: ignore[list-item]
        assert launches == [True, False]
        assert f"runs that other processes make: {job.later[0]} by process {process.pid} on " in capsys.readouterr().err


def test_nothing_is_waited_for_when_nothing_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held.time, "sleep", lambda _: pytest.fail("it waits"))
    failed = JobReturn(_return_value=ValueError("no"), status=JobStatus.FAILED)
    assert held.launched(lambda jobs: [failed for _ in jobs], [Job(tmp_path)]) == [failed]  # type: ignore[list-item]
    assert not claims.wait_until_free(tmp_path, lambda _: pytest.fail("it says something"))


def test_one_line_says_what_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with another(tmp_path) as process:
        assert claims.wait_until_free(tmp_path, said.append, 0.0), "no longer than it may"
        monkeypatch.setattr(claims.time, "sleep", lambda _: (process.kill(), process.wait()))
        assert claims.wait_until_free(tmp_path, said.append)
    assert len(said) == 2 and said[0].startswith(f"waiting for process {process.pid} on ")
