"""How runs become arrays: those that others start from before them, of one kind and size each, and no array too long."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_slurm import FakeSlurm
from fake_slurm import cluster as cluster

from roberta_lab.config import Config, SlurmConfig, TrainerConfig
from roberta_lab.runs import data_checks
from roberta_lab.runs.slurm import record, submission
from roberta_lab.runs.slurm.script import Task
from roberta_lab.runs.slurm.submission import Submission


def run_of(kind: str, name: str, *needs: str, nodes: int = 1, devices: int = 1) -> Any:
    config = SimpleNamespace(trainer=TrainerConfig(nodes=nodes, devices=devices))
    return SimpleNamespace(kind=kind, path=Path(kind, name), needs=[Path(need) for need in needs], config=config)


def test_layers_have_one_kind_and_size_and_come_after_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_checks, "mix_of", lambda run: "one")
    runs = [
        run_of("finetune", "a", "pretrain/b", nodes=2),
        run_of("pretrain", "b", "pretrain/a"),
        run_of("pretrain", "c", nodes=2, devices=4),
        run_of("pretrain", "d", nodes=1, devices=4),
        run_of("pretrain", "a", "pretrain/elsewhere"),
        run_of("finetune", "b", "pretrain/a"),
    ]
    found = [[str(run.path) for run in layer] for layer in submission.layers(runs)]
    first = [["pretrain/a"], ["pretrain/d"], ["pretrain/c"]]
    assert found == [*first, ["pretrain/b"], ["finetune/b"], ["finetune/a"]]
    runs = [run_of("pretrain", name) for name in "aabb"]
    monkeypatch.setattr(data_checks, "mix_of", lambda run: run.path.name)
    of_text = [[str(run.path) for run in layer] for layer in submission.layers(runs)]
    assert of_text == [["pretrain/a"] * 2, ["pretrain/b"] * 2], "jobs of other text wait for another preparation"


def test_long_arrays_are_cut_and_each_job_has_its_own_number_and_log(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MOST", 2)
    config = Config()
    config.paths.outputs = str(tmp_path)
    new = Submission(config, record.new_folder(tmp_path), ("table1_masking",))
    tasks = [Task("pretrain", str(i), (), (tmp_path / "pretrain" / str(i),)) for i in range(5)]
    assert new.array(tasks, SlurmConfig(), ["afterok:9"]) == ["100", "101", "102"]
    noted = record.every(tmp_path)
    assert [(one.job, one.run) for one in noted] == [
        (job, f"pretrain/{i}") for i, job in enumerate(["100_0", "100_1", "101_0", "101_1", "102_0"])
    ]
    for job in noted:
        options = cluster.options(int(job.array))
        log = options["output"].replace("%A", job.array).replace("%a", job.job.partition("_")[2])
        assert Path(log) == (tmp_path / job.log).resolve() and options["dependency"] == "afterok:9"
    for file in new.folder.glob("*.sh"):
        assert file.stat().st_mode & 0o077 == 0, "its commands may name what is not for others"


def test_what_runs_in_arrays_of_several_parts_need_is_the_part_that_makes_it(
    cluster: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "MOST", 2)
    monkeypatch.setattr(submission, "_prepare", lambda new, todo: {})
    monkeypatch.setattr(data_checks, "mix_of", lambda run: "")
    monkeypatch.setattr(submission, "_told", lambda run, told: [])
    config = Config()
    config.paths.outputs = str(tmp_path)
    runs = [run_of("pretrain", str(i)) for i in range(3)]
    runs.append(run_of("finetune", "a", str(tmp_path / "pretrain" / "2")))
    for run in runs:
        run.path, run.row, run.name, run.label = tmp_path / run.path, "", "", ""
        run.folders = (run.path,)
    new = Submission(config, record.new_folder(tmp_path), ())
    submission._submitted(new, runs, [], (), {})
    assert cluster.options(102)["dependency"] == "afterany:101"


def test_as_many_processes_as_gpus_are_allowed() -> None:
    config = Config(slurm=SlurmConfig(gpus=4), trainer=TrainerConfig(devices=4))
    submission._check(config)
