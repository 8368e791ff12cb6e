"""Commands where outputs, cache, exports and the local copy lie on file systems of their own, and names lead from one to another."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_run import SHORT, small_source  # noqa: F401 (a fixture)

from roberta_lab.cli import main
from roberta_lab.config import ConfigError, Damaged
from roberta_lab.data import claims, storage, token_store

PLACES = ("outputs", "cache", "export", "local", "more")


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders that are file systems of their own: no name can be moved or linked from one to another, nor can they be moved."""
    for name in PLACES:
        (tmp_path / name).mkdir()

    def device(path: Any) -> str:
        real = Path(os.path.realpath(os.path.dirname(os.fspath(path)))) / os.path.basename(os.fspath(path))
        inside = real.relative_to(tmp_path).parts if real.is_relative_to(tmp_path) else ("",)
        if inside[0] in PLACES and len(inside) == 1:
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        return inside[0] if inside[0] in PLACES else ""

    def within(call: Callable[..., None]) -> Callable[..., None]:
        def checked(source: Any, target: Any, **more: Any) -> None:
            if device(source) != device(target):
                raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))
            call(source, target, **more)

        return checked

    for name in ("rename", "replace", "link"):
        monkeypatch.setattr(os, name, within(getattr(os, name)))
    return tmp_path


@pytest.mark.usefixtures("small_source")
def test_a_run_on_many_file_systems_is_bitwise_that_on_one(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mounts / "more" / "runs").mkdir()
    (mounts / "outputs" / "pretrain").symlink_to(mounts / "more" / "runs")
    (mounts / "more" / "tokens").mkdir()
    (mounts / "cache" / "tokens").symlink_to(mounts / "more" / "tokens")
    read, opened = token_store.open_store, list[Path]()
    monkeypatch.setattr(token_store, "open_store", lambda path: (opened.append(path), read(path))[1])
    words = [*SHORT, "paths.outputs=outputs", "paths.cache=cache"]
    assert main.main(["pretrain", *words, "paths.local=local"]) == 0
    assert all(path.is_relative_to("local") for path in opened[-2:])
    assert main.main(["export", *words, "export.path=export/model"]) == 0

    assert main.main(["pretrain", *SHORT, "paths.outputs=one", "paths.cache=cache"]) == 0
    many, one = ([*(mounts / outputs / "pretrain").iterdir()] for outputs in ("outputs", "one"))
    assert [path.name for path in many] == [path.name for path in one]
    assert (many[0] / "metrics.jsonl").read_bytes() == (one[0] / "metrics.jsonl").read_bytes()
    assert (
        main.main(["prune", "paths.outputs=outputs", "paths.cache=cache", "paths.local=local", "prune.yes=true"]) == 0
    )
    assert not [*(mounts / "local" / "tokens").iterdir()] and [*(mounts / "cache" / "tokens").iterdir()]


def test_a_folder_is_not_replaced_where_a_link_leads(mounts: Path) -> None:
    (mounts / "more" / "x").mkdir()
    (mounts / "more" / "x" / "thesis").touch()
    (mounts / "outputs" / "x").symlink_to(mounts / "more" / "x")
    with pytest.raises(Damaged, match=r"outputs/x is a link to .*/more/x"):
        storage.replacing_folder(mounts / "outputs" / "x").__enter__()
    assert (mounts / "outputs" / "x").is_symlink() and (mounts / "more" / "x" / "thesis").is_file()
    assert [path.name for place in ("outputs", "more") for path in (mounts / place).iterdir()] == ["x", "x"]


def test_a_folder_that_is_a_file_system_is_no_place_for_what_is_replaced(mounts: Path) -> None:
    with (
        pytest.raises(ConfigError, match="is where a file system is mounted"),
        storage.replacing_folder(mounts / "export"),
    ):
        pass
    assert [path.name for path in mounts.iterdir() if path.name.startswith(".export")] == []


def test_what_another_machine_has_made_unseen_is_taken(tmp_path: Path) -> None:
    """NFS may remember for a while that a name is not there."""

    def make(path: Path) -> None:
        path.mkdir()
        (tmp_path / "thing").mkdir()  # its name arrives only now
        (tmp_path / "thing" / "theirs").touch()

    assert not storage.make_once(tmp_path / "thing", make)
    assert [path.name for path in tmp_path.rglob("*")] == ["thing", "theirs"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_folders_that_cannot_be_synced_are_no_error(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def refuse(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(number, os.strerror(number))
        sync(file)

    monkeypatch.setattr(os, "fsync", refuse)
    storage.write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_a_claim_where_nothing_but_names_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hard links, no times that can be set, no locks, no folders that can be synced."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with claims.claim(tmp_path):
        note = tmp_path / claims.NOTE
        before = note.stat().st_mtime_ns
        while note.stat().st_mtime_ns == before:  # it is written anew in place of being touched
            pass
        claims.check(tmp_path)
    assert not [*tmp_path.iterdir()]
