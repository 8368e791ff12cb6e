"""`trainer.on_nonfinite=skip`: a run that leaves a step out is another run from there on, and the same overrides find it."""

import json
from pathlib import Path

import pytest
import torch
from small_run import SHORT, small_source  # noqa: F401 (a fixture)

from roberta_lab.cli.main import main
from roberta_lab.data.batch import Batch
from roberta_lab.training.module import PretrainingModule

pytestmark = pytest.mark.usefixtures("small_source")


def test_a_run_becomes_another_at_its_first_step_that_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on from the last checkpoint; without such a step, and where runs stop, ids are as they were."""
    words = [*SHORT, f"paths.outputs={tmp_path}", "trainer.checkpoint_every_steps=2"]
    assert main(["pretrain", *words, "trainer.on_nonfinite=skip", "--json"]) == 0
    clean = json.loads(capsys.readouterr().out)["run_id"]
    assert main(["pretrain", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == clean

    words.append("seed=2")
    whole = PretrainingModule.training_step

    def broken(module: PretrainingModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        return whole(module, batch, batch_idx) * (float("nan") if module.trainer.global_step == 2 else 1.0)

    monkeypatch.setattr(PretrainingModule, "training_step", broken)
    assert main(["pretrain", *words]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "step 3 was not taken: its gradient is NaN or infinite" in said, said
    [stopped] = [run for run in (tmp_path / "pretrain").iterdir() if run.name != clean]
    before = {file: file.read_bytes() for file in stopped.glob("checkpoints/*")}

    assert main(["pretrain", *words, "trainer.on_nonfinite=skip", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "goes on without this step, as a run of its own" in captured.err
    assert found["run_id"] not in (clean, stopped.name) and found["num_skipped"] == 1
    assert {file: file.read_bytes() for file in stopped.glob("checkpoints/*")} == before
    again = ["pretrain", *words, "trainer.on_nonfinite=skip", "--json"]
    assert main(again) == 0 and json.loads(capsys.readouterr().out)["run_id"] == found["run_id"]
    assert main(["pretrain", *words]) == 1, "which is not the run that leaves the step out"

    table = [
        "reproduce",
        "sweep=table1_masking",
        "sweep.only=[static]",
        "sweep.seeds=[3]",
        "sweep.tasks=[]",
        "trainer.jobs=1",
    ]
    assert main([*table, *words[:-1], "trainer.on_nonfinite=skip"]) == 0
    out = capsys.readouterr().out
    assert "1 pretrain runs trained, 0 were there" in out and "static seed 3: 1 of its steps were left out" in out, out
