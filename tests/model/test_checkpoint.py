"""A checkpoint is whole or absent, and a damaged one is never loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch

from roberta_lab.config import Damaged
from roberta_lab.model import checkpoint


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save({"w": torch.arange(3.0), "step": 7}, tmp_path / "step-7.ckpt")
    found = checkpoint.load(tmp_path / "step-7.ckpt")
    assert found["step"] == 7 and found["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("position", [10, 500, -40, -1])
def test_one_flipped_bit_is_noticed(tmp_path: Path, position: int) -> None:
    path = tmp_path / "step-1.ckpt"
    checkpoint.save({"w": torch.zeros(100)}, path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match=r"step-1\.ckpt"):
        checkpoint.load(path)


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save({"step": step}, tmp_path / f"step-{step:09d}.ckpt")
    checkpoint.keep_newest(tmp_path)
    newest = tmp_path / "step-000000003.ckpt"
    assert checkpoint.newest(tmp_path) == newest
    newest.write_bytes(newest.read_bytes()[:-50])
    assert checkpoint.newest(tmp_path) == tmp_path / "step-000000002.ckpt"
    assert not (tmp_path / "step-000000001.ckpt").exists()


def test_a_full_disk_costs_nothing_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "step-1.ckpt"
    checkpoint.save({"step": 1}, path)

    def full(_: int) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save({"step": 2}, path)
    assert checkpoint.load(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["step-1.ckpt"]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    checkpoint.save({"path": Path("x")}, tmp_path / "step-1.ckpt")
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        checkpoint.load(tmp_path / "step-1.ckpt")
