"""metrics.jsonl is the source of truth: no row twice after a resume; W&B's offline file says the same."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest

from roberta_lab.config import Config, LoggerConfig, ScaleConfig, TrainerConfig
from roberta_lab.tracking import MetricsFile, Tracker, read, wandb_mode, write_csv


def config(wandb: str) -> Config:
    return Config(logger=LoggerConfig(wandb), trainer=TrainerConfig(), scale=ScaleConfig("smoke"))


def test_a_resume_drops_the_rows_behind_the_checkpoint_and_a_line_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    for step in range(1, 6):
        first.write({"step": step, "loss": 0.1 * step})
    first.close()
    with open(path, "a") as file:
        file.write('{"step": 6, "lo')
    second = MetricsFile(path, up_to_step=3)
    second.write({"step": 4, "loss": 9.0})
    second.close()
    assert read(path) == [{"step": s, "loss": 0.1 * s} for s in (1, 2, 3)] + [{"step": 4, "loss": 9.0}]


def test_a_fresh_start_drops_everything(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    MetricsFile(path).close()
    assert read(path) == []


def test_csv_has_a_column_per_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "m.csv", [{"step": 1, "a": 2.5}, {"step": 2, "b": "x,y"}])
    with open(tmp_path / "m.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"step": "1", "a": "2.5", "b": ""},
            {"step": "2", "a": "", "b": "x,y"},
        ]


@pytest.mark.parametrize(
    ("variables", "setting", "mode"),
    [
        ({}, "auto", "offline"),
        ({"WANDB_API_KEY": "k" * 40}, "auto", "online"),
        ({"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "offline"}, "auto", "offline"),
        ({"WANDB_MODE": "disabled"}, "auto", "off"),
        ({"WANDB_API_KEY": "k" * 40}, "off", "off"),
    ],
)
def test_wandb_is_offline_unless_a_key_is_set(
    variables: dict[str, str], setting: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode(config(setting)) == mode


def records(directory: Path) -> list[Any]:
    """W&B's offline file, read back through its own protocol.

    LevelDB's log format: blocks of 32 KiB with records of checksum (4 bytes), length (2), type (1); here none is split.
    """
    from wandb.proto import wandb_internal_pb2

    [path] = directory.rglob("*.wandb")
    data, found = path.read_bytes()[7:], []
    while len(data) > 7:
        length = int.from_bytes(data[4:6], "little")
        found.append(wandb_internal_pb2.Record.FromString(data[7 : 7 + length]))
        data = data[7 + length :]
    return found


def logged(directory: Path) -> list[dict]:
    """The rows that W&B holds, once its own process has written the end of the run."""
    deadline = time.monotonic() + 20
    while not any(record.HasField("exit") for record in records(directory)):
        assert time.monotonic() < deadline, "W&B did not finish its file"
        time.sleep(0.05)
    found = records(directory)
    rows = [{(i.key or i.nested_key[0]): i.value_json for i in r.history.item} for r in found if r.HasField("history")]
    return [{k: json.loads(v) for k, v in row.items() if not k.startswith("_")} for row in rows]


def test_wandb_offline_has_the_same_rows_and_each_run_its_own(tmp_path: Path) -> None:
    rows = [{"step": s, "tokens_seen": 10 * s, "train/mlm_loss": 1.0 / s} for s in (1, 2)]
    for run_id in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        directory = tmp_path / run_id
        directory.mkdir()
        tracker = Tracker(config("offline"), directory, "pretrain", "static seed 1", {"seed": 1})
        for row in rows:
            tracker.write(row)
        tracker.close({"val/ppl": 3.0})
        assert read(directory / "metrics.jsonl") == rows == logged(directory)
        assert (directory / "metrics.csv").is_file()
