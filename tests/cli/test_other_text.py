"""Ids do not cover where text lies: a complete run is not taken for one of other text."""

import os
from pathlib import Path

import pytest
from small_run import SHORT, own_text

from roberta_lab.cli import main

TABLE = ["sweep=table1_masking", "sweep.seeds=[1]", "sweep.tasks=[]", "sweep.only=[dynamic]", "trainer.jobs=1", *SHORT]


@pytest.fixture
def words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The words of a complete run on own text."""
    words = [*SHORT, *own_text(tmp_path), "data_mix.held_out_share=0.3"]
    assert main.main(["pretrain", *words]) == 0
    capsys.readouterr()
    return words


def test_changed_text_is_said_and_the_text_of_before_is_found_again(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0.txt", "1.txt"):
        file = tmp_path / "text" / name
        before = file.read_text()
        os.utime(file, (1, 1))  # another time of change alone is no other text
        assert main.main(["pretrain", *words]) == 0 and ": complete, " in capsys.readouterr().out
        file.write_text("Other words stand here now. They were never read.")
        assert main.main(["pretrain", *words]) == 2
        out, err = capsys.readouterr()
        assert ": complete, " not in out and "is complete, of other text (corpus " in err
        file.write_text(before)
        assert main.main(["pretrain", *words]) == 0 and ": complete, " in capsys.readouterr().out


def test_a_table_is_not_made_of_runs_of_other_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", *TABLE, *own_text(tmp_path)]
    assert main.main(command) == 0 and main.main(command) == 0
    (tmp_path / "text" / "7.txt").write_text("Other words stand here now. They were never read.")
    capsys.readouterr()
    assert main.main(command) == 2 and "is complete, of other text" in capsys.readouterr().err


def test_what_cannot_be_known_is_no_reason_to_refuse(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").rename(tmp_path / "elsewhere")
    assert main.main(["pretrain", *words]) == 0
    assert main.main(["pretrain", *words[:-2], f"data_mix.own.path={tmp_path / 'elsewhere'}", words[-1]]) == 0
    (tmp_path / "outputs" / "cache").rename(tmp_path / "outputs" / "gone")
    assert main.main(["pretrain", *words]) == 0
    assert capsys.readouterr().out.count(": complete, ") == 3


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_two_places_of_text_are_not_one_run(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [mix, path] = own_text(tmp_path)
    other = (tmp_path / "text").rename(tmp_path / "other")
    own_text(tmp_path)
    places = f"data_mix.own.path=choice({path.partition('=')[2]},{other})"
    assert main.main([command, "-m", *SHORT, mix, places]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "in one command; where text lies is not part of a run's id" in said
    assert not (tmp_path / "outputs" / command).exists()
