"""A copy of tokens on the machine's own disk: made once, compared, and never needed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.config import Damaged, console
from roberta_lab.data import claims, local_copy, verified


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "cache" / "tokens" / "abc"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "tokens.npy").write_bytes(bytes(range(256)) * 100)
    (folder / "manifest.json").write_text("{}")
    verified.seal(folder)
    console.forget()
    yield folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_without_a_place_the_store_is_read(store: Path) -> None:
    assert local_copy.of(store, "") == store


def test_a_copy_is_the_same_is_made_once_and_has_the_name_of_its_content(store: Path, tmp_path: Path) -> None:
    copy = local_copy.of(store, str(tmp_path / "local"))
    assert content(copy) == content(store) and copy.parent == tmp_path / "local" / "tokens"
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    before = (copy / "train" / "tokens.npy").stat().st_ino
    assert local_copy.of(store, str(tmp_path / "local")) == copy
    assert (copy / "train" / "tokens.npy").stat().st_ino == before
    (store / "train" / "tokens.npy").write_bytes(b"other tokens")
    (store / verified.HASHES).unlink()
    verified.seal(store)
    other = local_copy.of(store, str(tmp_path / "local"))
    assert (
        other != copy
        and content(other) == content(store)
        and local_copy.copies_in(str(tmp_path / "local")) == sorted([copy, other])
    )


@pytest.mark.parametrize("harm", ["flipped", "cut", "missing", "poisoned"])
def test_a_damaged_copy_is_made_again(
    store: Path, tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = local_copy.of(store, str(tmp_path))
    file, whole = copy / "train" / "tokens.npy", (copy / "train" / "tokens.npy").read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(whole[:-1] + b"\0" if harm != "cut" else whole[:-1])
    if harm == "poisoned":  # its own hashes fit
        (copy / verified.HASHES).unlink()
        verified.seal(copy)
    assert local_copy.of(store, str(tmp_path)) == copy and content(copy) == content(store)
    assert "it is copied again" in capsys.readouterr().err


def test_ranks_read_a_copy_at_the_same_time(store: Path, tmp_path: Path) -> None:
    """A hundred gigabytes take minutes: one after the other, the first would wait for the last too long."""
    copy = local_copy.of(store, str(tmp_path))
    with claims.locked(copy.with_name(f".{copy.name}.check")):
        assert local_copy.of(store, str(tmp_path)) == copy


def test_a_damaged_copy_that_another_has_just_made_again_stays(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = local_copy.of(store, str(tmp_path))
    (copy / "train" / "tokens.npy").write_bytes(b"damaged")
    locked, made = claims.locked, list[int]()

    def first_another(path: Path, *more: Any) -> Any:
        if path.name.endswith(".check"):
            shutil.rmtree(copy)
            if made:
                shutil.copytree(store, copy)
            made.append(1)
        return locked(path, *more)

    monkeypatch.setattr(claims, "locked", first_another)
    for _ in range(2):  # the other is about to copy, and has copied
        assert local_copy.of(store, str(tmp_path)) == copy and content(copy) == content(store)
        assert "the tokens are read from" not in capsys.readouterr().err
        (copy / "train" / "tokens.npy").write_bytes(b"damaged again")
    assert len(made) == 2


def test_a_damaged_store_is_said_and_not_copied(store: Path, tmp_path: Path) -> None:
    (store / "train" / "tokens.npy").write_bytes(b"damaged")
    with pytest.raises(Damaged, match=r"tokens\.npy is damaged"):
        local_copy.of(store, str(tmp_path / "local"))
    assert not [*(tmp_path / "local" / "tokens").iterdir()]


@pytest.mark.parametrize("name", ["{}", "../../../{}"])
def test_hashes_that_name_a_file_elsewhere_empty_and_write_none(store: Path, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "thesis"
    mine.write_text("all of it")
    named = name.format(mine if name == "{}" else mine.name)
    entry = {"size": 9, "sha256": hashlib.sha256(b"all of it").hexdigest()}
    (store / verified.HASHES).write_text(json.dumps(verified.sealed({"files": {named: entry}})))
    with pytest.raises(Damaged, match=r"hashes\.json is damaged: .*thesis' is no file of the folder"):
        local_copy.of(store, str(tmp_path / "local"))
    assert mine.read_text() == "all of it" and not [*(tmp_path / "local").rglob("thesis")]


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("name", ["train/tokens.npy", "hashes.json"])
def test_a_pipe_in_a_store_is_not_copied_for_ever(store: Path, tmp_path: Path, name: str) -> None:
    (store / name).unlink()
    os.mkfifo(store / name)
    with pytest.raises(Damaged, match=f"{name} is a named pipe"):
        local_copy.of(store, str(tmp_path / "local"))


@pytest.mark.parametrize("why", ["space", "full", "file", "old"])
def test_where_none_can_be_made_the_store_is_read_after_a_line(
    store: Path, tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    local, said = (
        tmp_path / "local",
        {"space": "are needed", "full": "No space left", "file": "", "old": "no hashes"}[why],
    )
    if why == "space":
        monkeypatch.setattr(local_copy, "SPARE", 1 << 60)
    elif why == "full":
        monkeypatch.setattr(local_copy, "_copied", lambda *_: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    elif why == "file":
        local.write_text("no folder")
    else:
        (store / verified.HASHES).unlink()
    assert local_copy.of(store, str(local)) == store
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(store) in line and said in line
    assert why == "file" or not local.exists() or not [*local.rglob("*.npy")]


DIES = """
import os, sys
from pathlib import Path
from roberta_lab.data import local_copy
local_copy._copied = lambda file, to: (to.write_bytes(b"half"), os.kill(os.getpid(), 9))
local_copy.of(Path(sys.argv[1]), sys.argv[2])
"""


def test_what_a_killed_copy_left_is_swept(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "cache" / "tokens" / "other"
    shutil.copytree(store, other)
    (other / "manifest.json").write_text("[]")
    (other / verified.HASHES).unlink()
    verified.seal(other)
    local = tmp_path / "local"
    subprocess.run([sys.executable, "-c", DIES, str(store), str(local)])
    assert [path.name[-7:] for path in (local / "tokens").iterdir() if path.is_dir()] == [".making"]
    copy = local_copy.of(other, str(local))
    assert [path.name for path in (local / "tokens").iterdir() if path.is_dir()] == [copy.name]
    assert content(local_copy.of(store, str(local))) == content(store)


def _copy(store: Path, local: Path) -> None:
    copied = local_copy._copied
    local_copy._copied = lambda file, to: (
        local.joinpath(f"by-{os.getpid()}").touch(),
        time.sleep(0.1),
        copied(file, to),
    )[2]
    assert local_copy.of(store, str(local)).parent.parent == local


def test_processes_of_a_machine_share_one_copy(store: Path, tmp_path: Path) -> None:
    started = [get_context("fork").Process(target=_copy, args=(store, tmp_path)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * 3
    assert len([*tmp_path.glob("by-*")]) == 1


def test_one_that_is_being_made_is_not_swept(store: Path, tmp_path: Path) -> None:
    making = tmp_path / "tokens" / ".other.making"
    making.mkdir(parents=True)
    with claims.locked(making.with_suffix(".lock")):
        local_copy.of(store, str(tmp_path))
        assert making.is_dir()
    (store / "manifest.json").write_text("[0]")
    (store / verified.HASHES).unlink()
    verified.seal(store)
    local_copy.of(store, str(tmp_path))
    assert not making.exists()
