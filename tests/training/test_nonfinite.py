"""Gradients that are no numbers: not taken, named, and left out where that is asked for."""

import json
from pathlib import Path

import pytest
import torch
from nan_gradient import NanGradient
from small_pretraining import VOCABULARY, Store, make, train

from roberta_lab.config import NonFiniteStep
from roberta_lab.data.batch import Batch
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint
from roberta_lab.training.module import PretrainingModule


def broken_at(monkeypatch: pytest.MonkeyPatch, position: int, in_loss: bool = False) -> None:
    """Make the gradients, or the loss too, of the micro-batch at this position of the data NaN."""
    whole = PretrainingModule.training_step

    def step(module: PretrainingModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        loss = whole(module, batch, batch_idx)
        if batch["position"] != position:
            return loss
        if in_loss:
            module.sums[-1] = {name: value * float("nan") for name, value in module.sums[-1].items()}
        return loss * float("nan") if in_loss else NanGradient.apply(loss)

    monkeypatch.setattr(PretrainingModule, "training_step", step)


@pytest.mark.parametrize("in_loss", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_a_step_whose_gradients_are_no_numbers_is_not_taken_and_named(
    in_loss: bool, optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second micro-batch of step 6 is broken: its examples are named if its loss says so, else those of the step."""
    config = make()
    config.optimizer.name, config.trainer.checkpoint_every_steps = optimizer, 5
    broken_at(monkeypatch, 11, in_loss)
    with pytest.raises(NonFiniteStep, match=r"step 6 was not taken: .* is NaN or infinite") as error:
        train(config, tmp_path)
    written = json.loads((tmp_path / "nonfinite-step-000000006.json").read_text())
    batches = PretrainingData(config, Store(), Store(), VOCABULARY).micro_batches.batches
    expected = batches.micro_batch(5, 1, 4, 0, 1) if in_loss else batches.batch(5)
    named = [(one["example"], one["epoch"]) for one in written["examples"]]
    assert named == [*zip(*(part.tolist() for part in expected), strict=True)]
    assert written["step"] == 6 and written["loss_is_finite"] is not in_loss
    assert str(expected[0][0]) in str(error.value) and str(tmp_path) in str(error.value)
    assert [step_of(tmp_path)] == [5] and checkpoint.is_finite(checkpoint.load(newest(tmp_path))["state_dict"])


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_a_step_that_is_left_out_changes_neither_weights_nor_averages(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoints before and after it are the same but for the counts; the steps after it go on, and the rows say it."""
    config = make()
    config.optimizer.name, config.trainer.checkpoint_every_steps, config.trainer.on_nonfinite = optimizer, 1, "skip"
    kept: dict[int, checkpoint.Saved] = {}
    monkeypatch.setattr(checkpoint, "keep_newest", lambda folder: None)
    broken_at(monkeypatch, 11, in_loss=True)
    rows, weights = train(config, tmp_path)
    for step in (5, 6, 7):
        kept[step] = checkpoint.load(tmp_path / "checkpoints" / f"step-{step:09d}.ckpt")
    for name, value in kept[5]["state_dict"].items():
        assert torch.equal(value, kept[6]["state_dict"][name]), name
    assert any(not torch.equal(value, kept[7]["state_dict"][name]) for name, value in kept[6]["state_dict"].items())
    before, after = (kept[step]["optimizer_states"][0]["state"] for step in (5, 6))
    assert all(torch.equal(before[p][name], after[p][name]) for p in before for name in ("exp_avg", "exp_avg_sq"))
    trained = [row for row in rows if "lr" in row]
    assert [row["step"] for row in trained] == [*range(1, 13)] and checkpoint.is_finite(weights)
    skipped = {row["step"]: row["train/skipped"] for row in trained if "train/skipped" in row}
    assert skipped == {6: 1} and "train/mlm_loss" not in trained[5]
    assert "num_skipped" not in kept[5] and kept[7]["num_skipped"] == 1


def test_a_checkpoint_of_nan_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make()
    config.trainer.checkpoint_every_steps = 6
    train(config, tmp_path)
    for place in ("state_dict", "optimizer_states"):
        saved = checkpoint.load(newest(tmp_path))
        found = saved["state_dict"] if place == "state_dict" else saved["optimizer_states"][0]["state"][0]
        next(value for value in found.values() if value.ndim)[0] = float("nan")
        checkpoint.save(saved, tmp_path / "checkpoints" / "step-000000013.ckpt")
        assert step_of(tmp_path) == 12
        assert "its weights are no numbers; taking the one before it" in capsys.readouterr().out


def newest(folder: Path) -> Path:
    found = checkpoint.newest(folder / "checkpoints")
    assert found is not None
    return found


def step_of(folder: Path) -> int:
    return checkpoint.step_of(newest(folder))
