"""`trainer.on_nonfinite=skip`: a run that leaves a step out is another run from there on, and the same overrides find it."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_run import SHORT, small_source  # noqa: F401 (a fixture)

from roberta_lab.cli import pretrain
from roberta_lab.cli.main import main
from roberta_lab.config import RunInUse
from roberta_lab.data.batch import Batch
from roberta_lab.training.module import PretrainingModule

pytestmark = pytest.mark.usefixtures("small_source")


def break_third_step(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Make the gradients of every run's third step NaN, and call `meanwhile` first."""
    whole = PretrainingModule.training_step

    def broken(module: PretrainingModule, batch: Batch, batch_idx: int) -> torch.Tensor:
        if module.trainer.global_step != 2:
            return whole(module, batch, batch_idx)
        meanwhile()
        return whole(module, batch, batch_idx) * float("nan")

    monkeypatch.setattr(PretrainingModule, "training_step", broken)


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
    break_third_step(monkeypatch)
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


def test_a_run_that_another_process_goes_on_with_is_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands stop at the same step; the other one was faster, and trains where this one would go on."""
    words = [*SHORT, f"paths.outputs={tmp_path}", "trainer.on_nonfinite=skip"]
    break_third_step(monkeypatch)
    assert main(["pretrain", *words, "--json"]) == 0
    goes_on = Path(json.loads(capsys.readouterr().out)["directory"])
    (goes_on / "result.json").unlink()
    goes_on.rename(aside := tmp_path / "aside")
    break_third_step(monkeypatch, lambda: aside.exists() and aside.rename(goes_on))
    (aside / "owner.json").write_text(json.dumps({"pid": 1, "host": socket.gethostname()}))
    before = {file.relative_to(aside): file.read_bytes() for file in aside.rglob("*") if file.is_file()}
    assert main(["pretrain", *words]) == 1
    assert f"{goes_on} is in use by process 1 on" in capsys.readouterr().err
    assert {file.relative_to(goes_on): file.read_bytes() for file in goes_on.rglob("*") if file.is_file()} == before
    assert not [*goes_on.parent.glob(".*")]
    (goes_on / "owner.json").unlink()
    assert main(["pretrain", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["directory"] == str(goes_on)


def test_a_run_that_another_process_trains_meanwhile_is_not_copied(tmp_path: Path) -> None:
    """Its checkpoints come and go: a copy might have rows of one step and weights of another."""
    stopped, leaves_out = tmp_path / "stopped", tmp_path / "leaves_out"
    stopped.mkdir()
    (stopped / "owner.json").write_text(json.dumps({"pid": 1, "host": socket.gethostname()}))
    with pytest.raises(RunInUse, match="in use by process 1"):
        pretrain._copy(stopped, leaves_out)
    assert [*tmp_path.iterdir()] == [stopped]
