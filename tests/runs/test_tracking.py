"""metrics.jsonl is the source of truth: no row twice after a resume."""

import csv
from pathlib import Path

import pytest

from roberta_lab.config import Config, LoggerConfig, ScaleConfig, TrainerConfig
from roberta_lab.runs.tracking import MetricsFile, read, write_csv
from roberta_lab.runs.wandb.environment import mode as wandb_mode
from roberta_lab.training.rows import Row


def config(wandb: str) -> Config:
    return Config(logger=LoggerConfig(wandb), trainer=TrainerConfig(), scale=ScaleConfig("smoke"))


def test_a_resume_drops_the_rows_behind_the_checkpoint_and_a_line_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    for step in range(1, 6):
        first.write(Row(step, {"loss": 0.1 * step}))
    first.close()
    with open(path, "a") as file:
        file.write('{"step": 6, "lo')
    second = MetricsFile(path, up_to_step=3)
    second.write(Row(4, {"loss": 9.0}))
    second.close()
    assert read(path) == [{"step": s, "loss": 0.1 * s} for s in (1, 2, 3)] + [{"step": 4, "loss": 9.0}]


def test_a_fresh_start_drops_everything(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    MetricsFile(path).close()
    assert read(path) == []


def test_csv_has_a_column_per_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "m.csv", [Row(1, {"a": 2.5}), Row(2, {"b": -3.5})])
    with open(tmp_path / "m.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"step": "1", "a": "2.5", "b": ""},
            {"step": "2", "a": "", "b": "-3.5"},
        ]


@pytest.mark.parametrize(
    ("variables", "setting", "mode"),
    [
        ({}, "auto", "offline"),
        ({"WANDB_API_KEY": "k" * 40}, "auto", "online"),
        ({"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "offline"}, "auto", "offline"),
        ({"WANDB_MODE": "disabled"}, "auto", "off"),
        ({"WANDB_API_KEY": "k" * 40}, "off", "off"),
        ({"WANDB_SWEEP_ID": "s"}, "auto", "online"),
    ],
)
def test_wandb_is_offline_unless_a_key_is_set(
    variables: dict[str, str], setting: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode(config(setting)) == mode
