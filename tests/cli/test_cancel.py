"""What `cancel` ends: runs of the tables, what they start from, and what was submitted for these tables alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_slurm import FakeSlurm
from fake_slurm import cluster as cluster

from roberta_lab.cli import cancel
from roberta_lab.runs.slurm import record
from roberta_lab.runs.slurm.record import Submitted


def submitted(outputs: Path, *jobs: tuple[str, str, str, tuple[str, ...]]) -> None:
    """Note a submission of such jobs: number, kind, run, tables."""
    folder = record.new_folder(outputs)
    log = f"slurm/{folder.name}/log"
    record.write(folder, [Submitted(job, kind, kind, run, log, sweeps) for job, kind, run, sweeps in jobs])


def cancelled(outputs: Path, monkeypatch: pytest.MonkeyPatch, runs: list[Any]) -> Any:
    """Cancel table one, which shows these runs."""
    monkeypatch.setattr(cancel, "sweeps_of", lambda config, overrides: [SimpleNamespace(name="one", runs=runs)])
    config = SimpleNamespace(paths=SimpleNamespace(outputs=str(outputs)))
    return cancel.main(SimpleNamespace(config=config, overrides=[]))  # type: ignore[arg-type]


def run_of(path: Path, encoder: Any = None) -> Any:
    return SimpleNamespace(path=path, folders=(path,), encoder=encoder)


def test_what_other_tables_wait_for_is_left_alone(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(tmp_path, ("12_0", "prepare", "", ("one",)), ("15_0", "table", "", ("one",)))
    jobs = [
        ("13_0", "prepare", "", ("one", "two")),
        ("14_0", "pretrain", "pretrain/a", ("two",)),  # which table one shows too
        ("14_1", "pretrain", "pretrain/b", ("two",)),
    ]
    submitted(tmp_path, *jobs)
    cluster.holds(*((job, "PENDING") for job in ("12_0", "13_0", "14_0", "14_1")), ("15_0", "COMPLETING"))
    found = cancelled(tmp_path, monkeypatch, [run_of(tmp_path / "pretrain" / "a")])
    assert found == {"cancelled": ["12_0", "15_0", "14_0"], "running": 1}
    assert cluster.calls("scancel") == [["--quiet", "12_0", "15_0", "14_0"]]


def test_what_the_same_table_at_another_scale_waits_for_is_left_alone(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the run that others start from (`finetune.init_from`) goes with them, though no column shows it."""
    for number, name in (("1", "paper"), ("2", "mini")):
        kinds = (("prepare", ""), ("pretrain", f"pretrain/{name}"), ("finetune", f"finetune/{name}"), ("table", ""))
        submitted(tmp_path, *((f"{number}{i}_0", kind, run, ("one",)) for i, (kind, run) in enumerate(kinds)))
    cluster.holds(*((f"{number}{i}_0", "PENDING") for number in "12" for i in range(4)))
    encoder = run_of(tmp_path / "finetune" / "mini")
    found = cancelled(tmp_path, monkeypatch, [run_of(tmp_path / "pretrain" / "mini", encoder)])
    assert found["cancelled"] == ["20_0", "21_0", "22_0", "23_0"]
