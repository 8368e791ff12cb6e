"""What `cancel` ends: runs of the tables, and what was submitted for these tables alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_slurm import FakeSlurm
from fake_slurm import cluster as cluster

from roberta_lab.cli import cancel
from roberta_lab.runs.slurm import record
from roberta_lab.runs.slurm.record import Submitted


def test_what_other_tables_wait_for_is_left_alone(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        ("12_0", "prepare", "", ("one",)),
        ("13_0", "prepare", "", ("one", "two")),
        ("14_0", "pretrain", "pretrain/a", ("two",)),  # which table one shows too
        ("14_1", "pretrain", "pretrain/b", ("two",)),
        ("15_0", "table", "", ("one",)),
    ]
    noted = [Submitted(job, kind, kind, run, "log", sweeps) for job, kind, run, sweeps in jobs]
    record.write(record.new_folder(tmp_path), noted)
    table: Any = SimpleNamespace(name="one", runs=[SimpleNamespace(path=tmp_path / "pretrain" / "a")])
    monkeypatch.setattr(cancel, "sweeps_of", lambda config, overrides: [table])
    cluster.holds(*((job, "PENDING") for job, *_ in jobs[:-2]), ("15_0", "COMPLETING"))
    config = SimpleNamespace(paths=SimpleNamespace(outputs=str(tmp_path)))
    found = cancel.main(SimpleNamespace(config=config, overrides=[]))  # type: ignore[arg-type]
    assert found == {"cancelled": ["12_0", "14_0", "15_0"], "running": 1}
    assert cluster.calls("scancel") == [["--quiet", "12_0", "14_0", "15_0"]]
