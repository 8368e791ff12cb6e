"""Errors of disks, file systems and limits are one line with a path and a way out; those of our own code are not."""

import errno
from pathlib import Path

import pytest

from roberta_lab.config.machine import OF_THE_MACHINE, naming, of_the_machine
from roberta_lab.data import storage


@pytest.mark.parametrize("number", OF_THE_MACHINE)
def test_an_error_while_writing_gets_the_path_and_the_bytes(number: int) -> None:
    with pytest.raises(OSError, match="12,345 bytes are needed") as caught, naming(Path("a/b.ckpt"), 12345):
        raise OSError(number, "said the system")
    line = of_the_machine(caught.value)
    assert line is not None and line.startswith("said the system (12,345 bytes are needed): a/b.ckpt")
    assert "\n" not in line and line.endswith(".")


def test_what_the_system_named_keeps_its_name_but_for_the_hidden_neighbour() -> None:
    for given, said in (("c", "c"), ("a/.b", "a/b"), (None, "a/b")):
        with pytest.raises(OSError, match="x") as caught, naming(Path("a/b"), beside=Path("a/.b")):
            raise OSError(errno.EIO, "x", given)
        assert caught.value.filename == said


def test_without_a_path_the_places_are_said() -> None:
    assert "paths.outputs" in (of_the_machine(OSError(errno.ENOSPC, "No space left on device")) or "")


@pytest.mark.parametrize("error", [OSError("no number"), OSError(errno.EBADF, "x"), OSError(errno.EINVAL, "x")])
def test_what_only_our_code_can_cause_is_no_error_of_the_machine(error: OSError) -> None:
    assert of_the_machine(error) is None


def test_a_full_disk_leaves_the_earlier_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write(tmp_path / "a", "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device \(3 bytes are needed\): '.*/a'"):
        storage.write(tmp_path / "a", "new", durable=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]
