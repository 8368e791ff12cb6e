"""Files and folders that are whole or absent, made once, and held by one process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from roberta_lab.config import RunInUse
from roberta_lab.data import claims, network_files, storage, verified

HOLD = "import sys; from pathlib import Path; from roberta_lab.data import claims\nwith claims.{}(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def holder(function: str, path: Path) -> "subprocess.Popen[str]":
    """A process that holds a folder or lock until its input ends."""
    command = [sys.executable, "-c", HOLD.format(function), str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    storage.write(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError), storage.replacing(tmp_path / "a") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_equal_values_have_equal_digests() -> None:
    assert (
        storage.digest({"a": 1, "b": [2]}) == storage.digest({"b": [2], "a": 1}) != storage.digest({"a": 2, "b": [2]})
    )
    assert len(storage.digest({}, 24)) == 24


def test_a_file_or_folder_is_made_once(tmp_path: Path) -> None:
    file, folder = tmp_path / "cache" / "x.txt", tmp_path / "cache" / "y"
    assert storage.make_once(file, lambda path: path.write_text("made"))
    assert storage.make_once(folder, Path.mkdir)
    for path in (file, folder):
        assert not storage.make_once(path, lambda path: pytest.fail("it was there"))
    assert file.read_text() == "made" and not list(folder.parent.glob(".*.making"))


def test_what_a_failed_attempt_finished_is_there_for_the_next(tmp_path: Path) -> None:
    def half(path: Path) -> None:
        path.mkdir()
        (path / "first").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.make_once(tmp_path / "x", half)
    assert not (tmp_path / "x").exists()
    assert storage.make_once(tmp_path / "x", lambda path: (path / "second").write_text("2"))
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["first", "second"]


def test_a_wait_is_announced(tmp_path: Path) -> None:
    process = holder("locked", tmp_path / ".x.lock")
    assert storage.make_once(tmp_path / "x", Path.touch, on_wait=lambda: process.communicate("", 20))
    assert process.returncode == 0, "the lock was waited for"


@pytest.mark.parametrize("content", [None, "torn {", "[1]"])
def test_what_cannot_be_read_is_nothing_remembered(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "new" / "x.json"
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    assert verified.recall(path) == {}
    verified.remember(path, {"fits": 4})
    assert verified.recall(path) == {"fits": 4}


def test_a_folder_is_claimed_by_one_process_and_free_after_a_kill(tmp_path: Path) -> None:
    process = holder("claim", tmp_path / "run")
    with pytest.raises(RunInUse, match=f"process {process.pid} on .*type the same command again"):
        claims.claim(tmp_path / "run").__enter__()
    process.kill()
    process.communicate()
    with claims.claim(tmp_path / "run"):
        assert claims.owner(tmp_path / "run" / "owner.json") is not None
    assert not (tmp_path / "run" / "owner.json").exists()


def test_what_a_machine_left_half_written_before_a_loss_of_power_goes_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another name since it was started anew, and nobody can ask whether its processes of before live."""
    left = [tmp_path / f".a.00000000-{number}" for number in (1, 2)]
    left[0].touch()
    left[1].mkdir()
    storage.sweep(tmp_path, "a")
    assert all(path.exists() for path in left), "another machine may be writing it"
    monkeypatch.setattr(network_files, "now", lambda _: time.time() + storage.DAY + 9)
    storage.sweep(tmp_path, "b")
    assert all(path.exists() for path in left)
    storage.write(tmp_path / "a", "new", durable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_a_machine_had_moved_aside_when_it_failed_is_brought_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = tmp_path / ".a.00000000-1.before"
    aside.mkdir()
    (aside / "old").touch()
    with pytest.raises(ZeroDivisionError), storage.replacing_folder(tmp_path / "a"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == [aside.name], "another machine may be about to replace it"
    monkeypatch.setattr(network_files, "now", lambda _: time.time() + claims.AGREE + 9)
    with pytest.raises(ZeroDivisionError), storage.replacing_folder(tmp_path / "a"):
        raise ZeroDivisionError
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["a", "a/old"]
