"""Rows of metrics that were damaged come back from the checkpoint; a run goes on only where its rows are whole."""

import os
from pathlib import Path

import pytest
import torch
from example_results import finetuned, pretrained

from roberta_lab.config import BatchSizeConfig, Config, Damaged, RunInUse, processes
from roberta_lab.model import checkpoint
from roberta_lab.runs import results, run_folder
from roberta_lab.runs.tracking import MetricsFile, read
from roberta_lab.training.pretraining import resume
from roberta_lab.training.rows import Row

CONFIG = Config(batch_size=BatchSizeConfig(steps=6))


class Log:
    """A log of rows without W&B."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.jsonl"

    def resume(self, step: int, saved: bytes | None = None) -> None:
        self.file = MetricsFile(self.path, step, saved)


def interrupted(folder: Path, is_older: bool = False) -> Path:
    """A run with checkpoints at steps 3 and 6, and a row more that was not saved."""
    file = MetricsFile(folder / "metrics.jsonl")
    for step in range(1, 8):
        file.write(Row(step, {"lr": 0.5, "loss": 1.25 * step}))
        if step % 3 == 0:
            file.write(Row(step, {"val/ppl": 9.0}))
            saved = {} if is_older else {checkpoint.ROWS: checkpoint.packed(file.saved())}
            checkpoint.save(saved, folder / "checkpoints" / f"step-{step:09d}.ckpt")
    file.close()
    return folder / "metrics.jsonl"


def resumed(folder: Path) -> tuple[int, list[Row]]:
    """The step a run goes on from, and the rows it has then."""
    log = Log(folder)
    found = resume(folder / "checkpoints", log)  # type: ignore[arg-type]
    log.file.close()
    return checkpoint.step_of(found) if found is not None else 0, read(log.path)


def test_rows_behind_the_checkpoint_are_dropped_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = read(interrupted(tmp_path))
    assert resumed(tmp_path) == (6, whole[:-1])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("change", [("2.5", "2.4"), ("2.5", "2.5}"), ('{"step": 2', '{"step": 1'), ("\n", " ")])
def test_damaged_rows_come_back_from_the_checkpoint(
    change: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = interrupted(tmp_path)
    whole = read(path)
    path.write_text(path.read_text().replace(*change, 1))
    assert resumed(tmp_path) == (6, whole[:-1])
    assert f"{path} was damaged; its rows are taken from the checkpoint of step 6" in capsys.readouterr().out
    path.unlink()
    assert resumed(tmp_path) == (6, whole[:-1])


def test_with_a_damaged_checkpoint_the_rows_of_the_earlier_one_count(tmp_path: Path) -> None:
    whole = read(interrupted(tmp_path))
    newest = tmp_path / "checkpoints" / "step-000000006.ckpt"
    newest.write_bytes(newest.read_bytes()[:-60])
    assert resumed(tmp_path) == (3, whole[:4])


@pytest.mark.parametrize("refused", [[6], [3, 6]])
def test_checkpoints_that_are_refused_do_not_push_out_those_that_come(
    refused: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One is cut, one holds NaN: both stay under another name, and the next kill costs no more steps than any other."""
    interrupted(tmp_path)
    folder = tmp_path / "checkpoints"
    files = [folder / f"step-{step:09d}.ckpt" for step in refused]
    checkpoint.save({"state_dict": {"w": torch.tensor(float("nan"))}}, files[0])
    files[-1].write_bytes(files[-1].read_bytes()[:-60])
    contents = [file.read_bytes() for file in files]
    start, _ = resumed(tmp_path)
    assert start == 6 - 3 * len(refused)
    said = capsys.readouterr().out
    for file, content in zip(files, contents, strict=True):
        aside = folder / f"{file.name}.refused"
        assert aside.read_bytes() == content
        assert f"{file} is called {aside.name} now: the run does not go on from it\n" in said
    for step in (start + 1, start + 2):
        checkpoint.save({}, folder / f"step-{step:09d}.ckpt")
        checkpoint.keep_newest(folder)
        newest = checkpoint.newest(folder)
        assert newest is not None and checkpoint.step_of(newest) == step


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (('{"step": 5', '{"step": 4'), 3),  # a row is there twice, another one lacks
        (('{"step": 5', '{"step": 5,'), 3),
        (('{"step": 2', '{"step": 9'), 0),
        (('"loss": 7.5', '"loss": 7.5, "x": 1'), 6),  # what older code cannot know
    ],
)
def test_a_checkpoint_of_older_code_counts_where_each_step_has_one_row(
    change: tuple[str, str], step: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = interrupted(tmp_path, is_older=True)
    path.write_text(path.read_text().replace(*change, 1))
    assert resumed(tmp_path)[0] == step
    assert (step == 6) == (capsys.readouterr().out == "")


def test_rows_that_change_while_the_run_goes_on_are_noticed_before_they_are_saved(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write(Row(1, {"loss": 1.5}))
    file.flush()
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.4}\n')
    with pytest.raises(Damaged, match=r"metrics\.jsonl was changed while the run was going on; the same command"):
        file.saved()
    file.close()


def test_who_comes_later_does_not_get_the_rows_of_an_earlier_process(tmp_path: Path) -> None:
    """Two processes in one folder: each writes into a file of its own, and the last one's counts."""
    first = MetricsFile(tmp_path / "metrics.jsonl")
    second = MetricsFile(tmp_path / "metrics.jsonl")
    first.write(Row(1, {"loss": 1.5}))
    second.write(Row(1, {"loss": 2.5}))
    for file in (first, second):
        file.close()
    assert read(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 2.5}]


# ---------------------------------------------------------------- no false result
@pytest.mark.parametrize("rows", ["", '{"step": 1}\n', '{"step": 1}\n{"step": 2}\n{"step": 3}\n'])
def test_no_result_is_written_unless_the_last_row_is_the_last_step(rows: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(rows)
    with pytest.raises(Damaged, match=r"metrics\.jsonl ends at step . of 6: no result is written"):
        run_folder.finish(tmp_path, CONFIG, pretrained())
    with pytest.raises(Damaged, match=r"metrics\.jsonl ends at epoch 0 of 3"):
        run_folder.finish(tmp_path, CONFIG, finetuned())
    assert not results.is_complete(tmp_path)


def test_no_result_is_written_into_a_folder_that_another_process_took(tmp_path: Path) -> None:
    with run_folder.opened(tmp_path, CONFIG, [], {}):
        before = sorted(path.name for path in tmp_path.iterdir())
        (tmp_path / "owner.json").write_text('{"pid": 1, "host": "elsewhere", "token": "t"}')
        with pytest.raises(RunInUse, match="taken by process 1 on elsewhere"):
            results.write(tmp_path, pretrained())
        noted = (tmp_path / "provenance.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "provenance.json").read_bytes() == noted, "nothing more is written there"


def test_a_result_of_fewer_steps_than_its_config_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("batch_size:\n  sequences: 4\n  steps: 200\n  peak_lr: 0.1\n")
    results.write(tmp_path, pretrained())
    with pytest.raises(Damaged, match=r"result\.json is of 2 steps, its config of 200; delete it"):
        results.read(tmp_path)


# ---------------------------------------------------------------- what killed processes left
def test_who_claims_a_run_sweeps_what_killed_processes_left(tmp_path: Path) -> None:
    gone, mine = 2**22 + 1, os.getpid()
    left = [f".provenance.json.{gone}", f".predictions.test.jsonl.{processes.this_machine()}-{gone}"]
    left += [f".metrics.csv.00000000-{gone}", f".result.json.00000000-{mine}"]  # as of before a loss of power
    kept = [f".result.json.{mine}", f".notes.{gone}", "provenance.json.1", ".env"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("x")
    aside = [f".model.{gone}.before", f".submission.00000000-{gone}.before"]
    for name in (*aside, "model"):
        (tmp_path / name).mkdir()
    with run_folder.opened(tmp_path, CONFIG, [], {}):
        there = {path.name for path in tmp_path.iterdir()}
    assert there >= {*kept, aside[1]} and not there & {*left, aside[0]}, "nothing is in the place of a submission"
