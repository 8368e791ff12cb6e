"""A folder is held by one process, also where locks of the file system do nothing."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.config import Damaged, RunInUse, processes
from roberta_lab.data import claims

ELSEWHERE = {"pid": 1, "host": "elsewhere", "since": "then", "machine": "0" * 8, "start": "5", "token": "t"}
DIES = "import os, sys; from pathlib import Path; from roberta_lab.data import claims\nheld = claims.claim(Path(sys.argv[1])); held.__enter__(); print('held', flush=True); os._exit(9)"


@pytest.fixture(autouse=True)
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system has no locks: asking for one is an error, as on some that are mounted over a network."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(claims, "WATCH", 0.0)  # clocks agree


def note(folder: Path, age: float = 0.0, **values: Any) -> Path:
    """The note of another process, touched so many seconds ago."""
    folder.mkdir(exist_ok=True)
    (folder / claims.NOTE).write_text(json.dumps({**ELSEWHERE, **values}))
    os.utime(folder / claims.NOTE, (time.time() - age,) * 2)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_one_of_two_has_it(tmp_path: Path) -> None:
    with claims.claim(tmp_path), pytest.raises(RunInUse, match=f"in use by process {os.getpid()} on"):
        claims.claim(tmp_path).__enter__()
    assert names(tmp_path) == []
    with claims.claim(tmp_path):
        assert names(tmp_path) == [claims.NOTE]


def test_one_that_died_on_this_machine_holds_nothing(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], capture_output=True, text=True)
    assert died.stdout == "held\n" and names(tmp_path) == [claims.NOTE] and not claims.is_held(tmp_path)
    with claims.claim(tmp_path):
        assert claims.owner(tmp_path / claims.NOTE) != claims.Owner(0, "")
        claims.check(tmp_path)
    assert names(tmp_path) == []


def test_a_number_that_was_given_again_is_another_process(tmp_path: Path) -> None:
    own = {"pid": os.getpid(), "machine": processes.this_machine()}
    with claims.claim(note(tmp_path, **own, start="0")):
        pass
    start = processes.start_of(os.getpid())
    with pytest.raises(RunInUse), claims.claim(note(tmp_path, age=9999, **own, start=start)):
        pass  # one that lives here is never silent


def test_one_on_another_machine_counts_while_its_note_is_touched(tmp_path: Path) -> None:
    with pytest.raises(RunInUse, match="process 1 on elsewhere since then"):
        claims.claim(note(tmp_path)).__enter__()
    with claims.claim(note(tmp_path, age=claims.STALE + 1)):
        claims.check(tmp_path)


def test_one_that_was_silent_for_some_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: note(tmp_path))  # it is heard of again
    with pytest.raises(RunInUse):
        claims.claim(note(tmp_path, age=claims.STALE - 1)).__enter__()
    monkeypatch.setattr(time, "sleep", lambda _: note(tmp_path, age=claims.STALE + 1))
    with claims.claim(note(tmp_path, age=claims.STALE - 1)):
        pass


def test_a_note_is_touched_while_its_process_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with claims.claim(tmp_path):
        os.utime(tmp_path / claims.NOTE, (1, 1))
        deadline = time.monotonic() + 5
        while (tmp_path / claims.NOTE).stat().st_mtime == 1:
            assert time.monotonic() < deadline


def test_a_successor_that_died_halfway_is_succeeded(tmp_path: Path) -> None:
    """It had the right to succeed the first one, and did not come to use it."""
    dead = {"machine": processes.this_machine(), "pid": 2**22 + 1, "start": "1"}
    note(tmp_path, **dead, token="first")
    (tmp_path / f".{claims.NOTE}.after-first").write_text(json.dumps({**ELSEWHERE, **dead, "token": "second"}))
    with claims.claim(tmp_path):
        claims.check(tmp_path)
    assert names(tmp_path) == []


def test_a_live_successor_is_respected(tmp_path: Path) -> None:
    note(tmp_path, machine=processes.this_machine(), pid=2**22 + 1, token="first")
    (tmp_path / f".{claims.NOTE}.after-first").write_text(json.dumps(ELSEWHERE))
    with pytest.raises(RunInUse, match="elsewhere"):
        claims.claim(tmp_path).__enter__()


def test_who_lost_its_claim_is_told_and_takes_nothing_away(tmp_path: Path) -> None:
    with claims.claim(tmp_path):
        claims.check(tmp_path)
        note(tmp_path)
        with pytest.raises(RunInUse, match=r"taken by process 1 on elsewhere.*; this process stops"):
            claims.check(tmp_path)
    assert names(tmp_path) == [claims.NOTE], "it is the other one's"


def test_a_folder_that_was_removed_is_noticed(tmp_path: Path) -> None:
    with claims.claim(tmp_path / "run"):
        (tmp_path / "run" / claims.NOTE).unlink()
        (tmp_path / "run").rmdir()
        with pytest.raises(Damaged, match="run was removed while this process worked on it"):
            claims.check(tmp_path / "run")
    assert names(tmp_path) == []


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with claims.claim(tmp_path), pytest.raises(RunInUse):
        claims.claim(tmp_path).__enter__()
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}'])
def test_a_note_that_cannot_be_read_counts_until_it_is_old(content: bytes, tmp_path: Path) -> None:
    (tmp_path / claims.NOTE).write_bytes(content)
    with pytest.raises(RunInUse, match="unknown"):
        claims.claim(tmp_path).__enter__()
    os.utime(tmp_path / claims.NOTE, (time.time() - claims.STALE - 1,) * 2)
    with claims.claim(tmp_path):
        pass
    assert names(tmp_path) == []


def test_one_whose_clock_is_behind_is_not_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre notes the time of the machine that touches a file. Its own is five minutes behind, and it touches its note."""
    monkeypatch.setattr(claims, "WATCH", 1.0)
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += 0.5
        if passed[0] < 5:
            os.utime(tmp_path / claims.NOTE, (time.time() - 300 + passed[0],) * 2)

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: passed[0])
    note(tmp_path, age=300)
    with claims.claim(tmp_path):
        assert 5.5 <= passed[0] < 6.5, "only when it was seen to be silent"
        claims.check(tmp_path)


def test_one_that_was_silent_for_longer_than_clocks_differ_is_dead_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "WATCH", 1e9)
    with claims.claim(note(tmp_path, age=claims.AGREE + 10)):
        found = claims.owner(tmp_path / claims.NOTE)
    assert found is not None and found.pid == os.getpid()


def test_times_of_two_seconds_are_fine_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT notes every other second."""
    utime = os.utime

    def coarse(file: Any, times: tuple[float, float] | None = None) -> None:
        utime(file, ((times or (time.time(),))[0] // 2 * 2,) * 2)

    monkeypatch.setattr(os, "utime", coarse)
    with pytest.raises(RunInUse):
        claims.claim(note(tmp_path, age=2 * claims.BEAT)).__enter__()
    with claims.claim(note(tmp_path, age=claims.STALE + 2)):
        claims.check(tmp_path)


def test_a_handle_that_a_server_has_forgotten_is_asked_for_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS: a note that another machine replaced is read by the handle of the one that is gone."""
    errors, read = [errno.ESTALE] * 2, Path.read_bytes

    def forgotten(path: Path) -> bytes:
        if errors and path.name == claims.NOTE:
            raise OSError(errors.pop(), "Stale file handle", str(path))
        return read(path)

    with claims.claim(tmp_path):
        monkeypatch.setattr(Path, "read_bytes", forgotten)
        claims.check(tmp_path)
        assert not errors
        monkeypatch.setattr(claims, "BEAT", 0.01)
        held = claims._held[tmp_path]
        os.close(held._file)  # the beat goes on by the name of the note
        os.utime(tmp_path / claims.NOTE, (1, 1))
        held._touch()
        assert (tmp_path / claims.NOTE).stat().st_mtime > 1
        held._file = os.open(tmp_path / claims.NOTE, os.O_RDONLY)


def test_whose_a_folder_is_can_be_seen_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    assert claims.is_held(note(tmp_path)) and not claims.is_held(note(tmp_path, age=claims.STALE + 1))


def test_notes_that_a_machine_left_beside_go_once_they_are_old(tmp_path: Path) -> None:
    for name, age in (("young", 0.0), ("old", claims.AGREE + 9)):
        left = tmp_path / f".{claims.NOTE}.{name}"
        left.write_text(json.dumps(ELSEWHERE))
        os.utime(left, (time.time() - age,) * 2)
    with claims.claim(tmp_path):
        assert names(tmp_path) == [f".{claims.NOTE}.young", claims.NOTE]
