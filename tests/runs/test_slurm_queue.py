"""What SLURM's commands print is understood; what they cannot answer is one line."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_slurm import FakeSlurm
from fake_slurm import cluster as cluster

from roberta_lab.config import ConfigError, Damaged, SlurmError
from roberta_lab.runs.slurm import queue, record
from roberta_lab.runs.slurm.record import Submitted


def test_jobs_of_arrays_have_states_of_their_own(cluster: FakeSlurm) -> None:
    cluster.holds(("12_0", "RUNNING"), ("12_1", "PENDING"), restarts=2)
    found = queue.queued(["12", "11", "12"])
    assert (found["12_0"].is_running, found["12_1"].is_running, found["12_1"].restarts) == (True, False, 2)
    assert [call for [*_, call, _] in [call[-3:] for call in cluster.calls("squeue")]] == ["--jobs=11,12"]
    assert queue.queued([]) == {} and len(cluster.calls("squeue")) == 1


def test_arrays_that_never_had_a_node_are_told_apart_too(cluster: FakeSlurm) -> None:
    cluster.has_ended(("12_[0-2,5%2]", "CANCELLED by 1000"), ("12_3", "OUT_OF_MEMORY"), ("13_4", "COMPLETED"))
    found = queue.ended(["12", "13"])
    assert found == {**{f"12_{i}": "CANCELLED" for i in (0, 1, 2, 5)}, "12_3": "OUT_OF_MEMORY", "13_4": "COMPLETED"}


def test_without_accounting_nothing_is_known_of_what_ended(cluster: FakeSlurm) -> None:
    (cluster.folder / "no_account").touch()
    assert queue.ended(["12"]) == {}


def test_a_controller_that_is_down_is_one_line(cluster: FakeSlurm) -> None:
    (cluster.folder / "down").touch()
    with pytest.raises(SlurmError, match=r"^squeue failed with 1: squeue: error: no controller$"):
        queue.queued(["12"])


def test_jobs_that_slurm_has_forgotten_are_not_queued(cluster: FakeSlurm) -> None:
    (cluster.folder / "forgotten").touch()
    assert queue.queued(["12"]) == {}


def test_a_controller_that_does_not_answer_is_not_waited_for(
    cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cluster.folder / "slow").touch()
    monkeypatch.setattr(queue, "SECONDS", 0.1)
    with pytest.raises(SlurmError, match=r"^squeue did not answer in 0 s$"):
        queue.queued(["12"])


def test_without_slurm_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no command sbatch here"):
        queue.expect_slurm()
    with pytest.raises(SlurmError, match="no command squeue here"):
        queue.queued(["12"])


def test_a_record_that_was_changed_is_damaged(tmp_path: Path) -> None:
    folder = record.new_folder(tmp_path)
    job = Submitted(
        "12_0", "pretrain", "static seed 1", "pretrain/0a", "slurm/x/pretrain-12_0.log", ("table1_masking",)
    )
    record.write(folder, [job])
    assert record.every(tmp_path) == [job]
    file = folder / record.NAME
    file.write_text(file.read_text().replace("12_0", "13_0"))
    with pytest.raises(Damaged, match=r"submission.json is damaged"):
        record.every(tmp_path)


def test_the_last_submission_of_a_run_counts(tmp_path: Path) -> None:
    for number in ("9_0", "10_0"):
        record.write(record.new_folder(tmp_path), [Submitted(number, "pretrain", "a", "pretrain/0a", "log", ())])
    path = tmp_path / "pretrain" / "0a"
    run: Any = SimpleNamespace(path=path, folders=(path,))
    assert record.of_runs([run], record.every(tmp_path), tmp_path)[path].job == "10_0"
