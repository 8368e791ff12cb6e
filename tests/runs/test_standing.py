"""How far a run is and how fast, told by the times of its files alone."""

import json
import os
import time
from pathlib import Path

import pytest

from roberta_lab.runs import progress


@pytest.mark.parametrize(
    ("saved", "rate"),
    [
        ({}, 100 / 50),  # since it claimed the folder, from the start
        ({40: -500}, 60 / 50),  # from the checkpoint of an earlier turn
        ({40: -500, 80: 40}, 20 / 10),  # from the first checkpoint of this turn, without the time that starting took
        ({100: 50}, 100 / 50),  # one of the very step tells nothing
    ],
)
def test_the_rate_is_that_of_the_process_at_hand(saved: dict[int, int], rate: float, tmp_path: Path) -> None:
    start = int(time.time()) - 1000
    (tmp_path / "checkpoints").mkdir()
    for step, at in saved.items():
        file = tmp_path / "checkpoints" / f"step-{step:09d}.ckpt"
        file.touch()
        os.utime(file, (start + at, start + at))
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 100}) + "\n")
    os.utime(tmp_path / "metrics.jsonl", (start + 50, start + 50))
    since = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(start))
    assert progress._rate(tmp_path, 100, since) == pytest.approx(rate)


def test_before_the_first_step_there_is_no_rate(tmp_path: Path) -> None:
    assert progress._rate(tmp_path, 0, "2026-01-01T00:00:00+0000") is None and progress._rate(tmp_path, 5, "?") is None


def test_what_is_known_is_said() -> None:
    assert str(progress.Standing(1200, 2000, 12.04, 66.0)) == "step 1,200 of 2,000, 12 steps/s, 1 min 6 s left"
    assert (str(progress.Standing()), str(progress.Standing(5))) == ("", "step 5")
