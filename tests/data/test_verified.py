"""Damage to files that the program wrote is noticed when they are opened, and said with path and way out."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from roberta_lab.config import Damaged, console
from roberta_lab.data import seals, storage, token_store, verified


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A made folder with a file and a file below it."""
    folder = tmp_path / "cache" / "made"
    (folder / "train").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"content": "c"}')
    np.save(folder / "train" / "a.npy", np.arange(5))
    (folder / ".hidden").write_text("x")
    verified.seal(folder)
    return folder


def flip(path: Path, place: int = -1) -> None:
    """Change a bit, and leave size and times as they were."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_files_that_are_as_they_were_written_are_read(made: Path) -> None:
    assert verified.load_array(made / "train" / "a.npy").tolist() == [0, 1, 2, 3, 4]
    assert verified.read_json(made / "manifest.json") == {"content": "c"}
    verified.check_folder(made)
    verified.check_sizes(made)
    assert set(json.loads((made / verified.HASHES).read_text())["files"]) == {"manifest.json", "train/a.npy"}


def test_a_flipped_bit_is_noticed_with_path_and_way_out(made: Path) -> None:
    flip(made / "train" / "a.npy")
    said = f"{made}/train/a.npy is damaged: .*; delete the folder {made}, and the same command makes it again"
    for check in (lambda: verified.load_array(made / "train" / "a.npy"), lambda: verified.check_folder(made)):
        with pytest.raises(Damaged, match=said):
            check()
    verified.check_sizes(made)


def test_a_file_that_was_cut_or_is_missing_is_noticed_without_reading(made: Path) -> None:
    (made / "train" / "a.npy").write_bytes(b"12")
    with pytest.raises(Damaged, match=r"a.npy is damaged: it has 2 bytes of"):
        verified.check_sizes(made)
    (made / "train" / "a.npy").unlink()
    with pytest.raises(Damaged, match=r"a.npy is missing"):
        verified.check_sizes(made)
    verified.check_folder(made, leave_out=("train/",))
    verified.check_folder(made, may_lack=("train/",))


@pytest.mark.parametrize("place", [5, 40, 100, -40, -3])
def test_damaged_hashes_are_noticed(made: Path, place: int) -> None:
    flip(made / verified.HASHES, place)
    with pytest.raises(Damaged, match=r"hashes\.json"):
        verified.check(made / "manifest.json")


def test_hashes_without_a_seal_are_no_hashes(made: Path) -> None:
    found = json.loads((made / verified.HASHES).read_text())
    del found[verified.SEAL]
    (made / verified.HASHES).write_text(json.dumps(found))
    with pytest.raises(Damaged, match=r"hashes\.json has no seal"):
        verified.check(made / "manifest.json")


def test_a_folder_of_older_code_is_read_with_one_note(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / verified.HASHES).unlink()
    console.forget()
    for _ in range(2):
        assert verified.load_array(made / "train" / "a.npy").tolist() == [0, 1, 2, 3, 4]
    verified.check_folder(made)
    assert capsys.readouterr().err.count("is of older code and has no hash") == 1
    (made / "train" / "a.npy").write_bytes(b"no array")
    with pytest.raises(Damaged, match=f"a.npy is damaged .*; delete the folder {made}, and"):
        verified.load_array(made / "train" / "a.npy")


def test_sealing_again_adds_files_and_hides_no_damage(made: Path) -> None:
    flip(made / "train" / "a.npy")
    (made / "new").write_text("new")
    verified.seal(made, coming={"next": b"12"})
    with pytest.raises(Damaged, match=r"a\.npy"):
        verified.check(made / "train" / "a.npy")
    flip(made / "new")
    (made / "next").write_bytes(b"13")
    for name in ("new", "next"):
        with pytest.raises(Damaged, match=name):
            verified.check(made / name)


def test_a_file_is_hashed_once_until_it_changes(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, hashed = made / "train" / "a.npy", []
    digest = verified.hashlib.file_digest
    monkeypatch.setattr(verified.hashlib, "file_digest", lambda *given: hashed.append(given) or digest(*given))
    os.utime(path, (1, 1))  # an old file: a young one might change within its time stamp
    for _ in range(3):
        verified.check(path)
    assert len(hashed) == 1
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged):
        verified.check(path)


def test_sealed_json_is_as_it_was_written_or_said_to_be_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, values = tmp_path / "x.json", {"fits": 4, "of": {"a": [1.5, None]}}
    verified.remember(path, values)
    assert verified.recall(path) == values
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 3):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            console.forget()
            found = verified.recall(path)
            is_said = str(path) in capsys.readouterr().err
            assert is_said or {name: found[name] for name in values} == values


def test_sealed_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    seals.save_arrays(path, {"a": np.arange(3), "b": np.zeros((2, 2))})
    assert seals.load_arrays(path, "")["a"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "older.npz", a=np.arange(3))
    assert seals.load_arrays(tmp_path / "older.npz", "")["a"].tolist() == [0, 1, 2]
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = seals.load_arrays(path, "go")
        except Damaged:
            continue
        assert found["a"].tolist() == [0, 1, 2] and not found["b"].any(), "in the seal's mark alone"


def test_a_store_of_older_code_has_the_hashes_of_its_shards(tmp_path: Path) -> None:
    part = token_store.Part(np.arange(6), np.array([3, 3]), np.array([2]), np.array([7]), np.array([0]))
    token_store.write(tmp_path / "s" / "train", [part], 100, {"sources": ["x"]})
    assert token_store.open_store(tmp_path / "s" / "train").num_tokens == 6
    flip(tmp_path / "s" / "train" / "tokens-00000.npy")
    with pytest.raises(Damaged, match=r"tokens-00000.npy is damaged"):
        token_store.open_store(tmp_path / "s" / "train")


@pytest.mark.parametrize("name", ["{outside}", "../outside", "train/../../outside", "..", "", ".", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_damage(made: Path, name: str) -> None:
    """Who makes a copy of what the hashes name would write there."""
    entry = {"size": 3, "sha256": "0" * 64}
    files = {"files": {name.format(outside=made.parent / "outside"): entry}}
    (made / verified.HASHES).write_text(json.dumps(verified.sealed(files)))
    readers = (verified.entries_of, verified.check_sizes, verified.check_folder, verified.seal)
    for read in (*readers, lambda folder: verified.check(folder / "manifest.json")):
        with pytest.raises(Damaged, match=r"hashes\.json is damaged: .* is no file of the folder"):
            read(made)


@pytest.mark.parametrize("files", [[], {"a": []}, {"a": {"size": 1}}, None])
def test_hashes_of_another_shape_are_damaged(made: Path, files: object) -> None:
    (made / verified.HASHES).write_text(json.dumps(verified.sealed({"files": files})))
    with pytest.raises(Damaged, match=r"hashes\.json is damaged"):
        verified.entries_of(made)


def test_the_disk_has_files_before_their_hashes_and_before_a_folder_takes_its_place(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power a hash or a name alone would stand for a file that is empty."""
    done, fsync, replace = list[str](), os.fsync, os.replace

    def syncing(number: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{number}"))
        fsync(number)

    def replacing(what: Path, by: Path) -> None:
        done.append(f"in place: {by}")
        replace(what, by)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    (made / verified.HASHES).unlink()
    verified.seal(made)
    before = done[: done.index(f"in place: {made / verified.HASHES}")]
    assert {str(made / name) for name in ("manifest.json", "train/a.npy", "train", "")} <= {*before}
    done.clear()
    with storage.replacing_folder(made.with_name("new")) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("x")
    before = done[: done.index(f"in place: {made.with_name('new')}")]
    assert {str(folder / name) for name in ("sub/file", "sub", "")} <= {*before} and done[-1] == str(made.parent)
