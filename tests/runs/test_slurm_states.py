"""In which state a run is, told from its folder and from SLURM; of several submissions, the last one's preparation and tables."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_slurm import FakeSlurm
from fake_slurm import cluster as cluster

from roberta_lab.runs import progress
from roberta_lab.runs.slurm import record, states
from roberta_lab.runs.slurm.queue import Queued
from roberta_lab.runs.slurm.record import Submitted


def run_of(path: Path, is_complete: bool = False) -> Any:
    return SimpleNamespace(path=path, folders=(path,), is_complete=is_complete)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A folder that another process of this machine holds."""
    code = (
        "import sys, pathlib; from roberta_lab.data import claims\n"
        "with claims.claim(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command, path = (
        [sys.executable, "-c", code, str(tmp_path / "held")],
        os.pathsep.join(p or os.getcwd() for p in sys.path),
    )
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield tmp_path / "held"
        process.communicate()


def test_a_state_is_of_the_folder_first(tmp_path: Path, held: Path) -> None:
    waits, again = Queued("PENDING", 0, "9:00", "Priority"), Queued("PENDING", 2, "9:00", "Priority")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "metrics.jsonl").touch()
    own = run_of(tmp_path / "none")
    for run, number, queued, ended, is_blind, state in (
        (run_of(held, True), "12_0", waits, "", False, "done"),
        (own, "12_0", waits, "", False, "queued"),
        (own, "12_0", again, "", False, "preempted"),
        (own, "12_0", Queued("COMPLETING", 0, "9:00", "None"), "", False, "running"),
        (run_of(held), "", None, "", False, "running"),
        (run_of(held), "12_0", None, "FAILED", False, "running"),
        (own, "12_0", None, "", True, "submitted"),
        (own, "12_0", None, "CANCELLED", False, "cancelled"),
        (own, "12_0", None, "PREEMPTED", False, "cancelled"),
        (own, "12_0", None, "TIMEOUT", False, "failed"),
        (run_of(tmp_path / "begun"), "", None, "", True, "interrupted"),
        (own, "", None, "", False, "missing"),
    ):
        assert states._state(run, number, queued, ended, is_blind)[0] == state, (number, queued, ended)


def test_names_of_submissions_sort_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a nanosecond later, and here a second ends."""
    clock = iter(range(10**18 + 999_999_998, 10**18 + 1_000_000_100))
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    monkeypatch.setattr("time.time", lambda: next(clock) / 1e9)
    names = [record.new_folder(tmp_path).name for _ in range(10)]
    assert names == sorted(names) and len({name[:15] for name in names}) == 2


def test_of_what_was_submitted_beside_runs_the_last_counts(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "standing", lambda run, is_running: None)
    for number, run in ((7, "pretrain/0a"), (9, "pretrain/0b")):
        folder = record.new_folder(tmp_path)
        logs = f"slurm/{folder.name}/x.log"
        jobs = [("table", "", f"{number}_0"), ("pretrain", run, f"{number + 1}_0")]
        record.write(folder, [Submitted(job, kind, kind, own, logs, ()) for kind, own, job in jobs])
    cluster.has_ended(("7_0", "FAILED"), ("9_0", "FAILED"))
    looked = states.look([run_of(tmp_path / "pretrain" / name) for name in ("0a", "0b")], tmp_path)
    assert [one.job.job for one in looked.beside] == ["9_0"] and looked.counts == "2 failed"


def test_without_an_account_the_log_of_a_preparation_tells(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runs that SLURM took out of the queue have none."""
    monkeypatch.setattr(progress, "standing", lambda run, is_running: None)
    (cluster.folder / "no_account").touch()
    folder = record.new_folder(tmp_path)
    jobs = [("prepare", "", "7_0"), ("prepare", "", "8_0"), ("pretrain", "pretrain/a", "9_0")]
    logs = {job: f"slurm/{folder.name}/{job}.log" for _, _, job in jobs}
    record.write(folder, [Submitted(job, kind, kind, run, logs[job], ()) for kind, run, job in jobs])
    (tmp_path / logs["7_0"]).write_text("prepared corpus: 0 errors\n")
    (tmp_path / logs["8_0"]).write_text("roberta-lab: there is no folder text\n")
    looked = states.look([run_of(tmp_path / "pretrain" / "a")], tmp_path)
    assert [(one.job.job, one.state, one.said) for one in looked.beside] == [
        ("8_0", "failed", "roberta-lab: there is no folder text")
    ]


def test_the_job_of_a_run_that_left_a_step_out_is_known(tmp_path: Path) -> None:
    """It was submitted when the run still had the folder of one that leaves none out."""
    before, now = tmp_path / "pretrain" / "a", tmp_path / "pretrain" / "b"
    run = SimpleNamespace(path=now, folders=(before, now))
    first, other = (Submitted(f"{i}_0", "pretrain", "", f"pretrain/{name}", "", ()) for i, name in ((7, "a"), (8, "c")))
    assert record.of_runs([run], [first, other], tmp_path) == {now: first}  # type: ignore[list-item]
    again = Submitted("9_0", "pretrain", "", "pretrain/b", "", ())
    assert record.of_runs([run], [first, again], tmp_path) == {now: again}  # type: ignore[list-item]


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("ValueError: long ago\n" + "a step\n" * states.TAIL + "bye\n")
    assert states.last_error(log) == "bye"
    with open(log, "a") as file:
        file.write("OSError: no space\nbye\nroberta-lab: asks SLURM for another turn\n")
    assert states.last_error(log) == "OSError: no space"
    assert states.last_error(tmp_path / "none") == ""
