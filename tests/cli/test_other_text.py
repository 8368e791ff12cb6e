"""Ids do not cover where text lies: a complete run is not taken for one of other text."""

import gzip
import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import SHORT, own_text, patch_source, write_pairs

from roberta_lab.cli import main
from roberta_lab.config import ConfigError
from roberta_lab.data.corpus.sources import pydoc
from roberta_lab.runs.composition import composed, composing
from roberta_lab.runs.jobs import Job, by_folder
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register

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
        assert (
            ": complete, " not in out
            and f"is complete, of other text than {tmp_path / 'text'} has now. Allowed: " in err
        )
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


def test_the_same_text_in_other_files_is_known_once_it_is_prepared(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "text" / "3.txt"
    (tmp_path / "text" / "3.txt.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert main.main(["pretrain", *words]) == 2 and main.main(["prepare", *words]) == 0
    assert main.main(["pretrain", *words]) == 0 and ": complete, " in capsys.readouterr().out


def test_another_python_is_no_other_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded corpus differs between versions of packages; runs of before stay what they are."""
    patch_source(monkeypatch)
    assert main.main(["pretrain", *SHORT]) == 0
    monkeypatch.setattr(pydoc, "fingerprint", lambda: {"numpy": "another"})
    assert main.main(["pretrain", *SHORT]) == 0 and ": complete, " in capsys.readouterr().out


def test_runs_that_read_no_text_are_one_run_whatever_the_mix(tmp_path: Path) -> None:
    [mix, path] = own_text(tmp_path)
    write_pairs(tmp_path / "pairs")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    start = ["pretrained=none", f"tokenizer.path={tmp_path}", "task=blimp", f"task.path={tmp_path / 'pairs'}"]
    register()
    with composing():
        every = [
            Job("evaluate", composed(parse([*start, *more])), ()) for more in ([], [mix, path], [mix, f"{path}/no"])
        ]
        others = [
            Job("pretrain", composed(parse([mix, place])), ()) for place in (path, f"{path}/../text", f"{path}/no")
        ]
    assert [one.reads_text for one in every] == [False] * 3
    same = [replace(one, config=replace(one.config, task=every[0].config.task)) for one in every]
    assert len({one.path for one in same}) == 1 == len(by_folder(same)) == len(by_folder(others[:2]))
    with pytest.raises(ConfigError, match="in one command; where text lies"):
        by_folder(others)


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
