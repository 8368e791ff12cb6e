"""From real runs that were logged offline to a server: what W&B shows of them, and what `sync` uploads."""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small_run import SHORT, patch_source
from test_json import OWN, SWEEP, TOPIC, answered
from wandb_files import OfflineRun
from wandb_runs import KEY
from wandb_server import Server

from roberta_lab.cli import main
from roberta_lab.reports.figures import drawing
from roberta_lab.runs.wandb import service

SAID = [word for word in SHORT if word != "logger.wandb=off"] + ["logger.wandb=offline", "logger.examples=5"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of one row, all of it logged offline."""
    home = tmp_path_factory.mktemp("lab")
    (home / "own.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch_source(patch)
        patch.chdir(home)
        patch.setattr(drawing, "files", lambda figure: {})
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        service.give_up()
        for command in (
            ["pretrain", *SAID],
            ["finetune", *TOPIC, *SAID, "logger.examples=1000"],
            ["table", *OWN, *SAID],
        ):
            assert main.main(command) == 0
    return home


@pytest.fixture(autouse=True)
def there(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)


def run_of(kind: str) -> OfflineRun:
    [folder] = Path("outputs", kind).iterdir()
    return OfflineRun(Path("outputs"), folder.name)


def shown(run: OfflineRun, name: str) -> list[list[Any]]:
    """The rows of a table that the run logged."""
    [file] = (run.path.parent / "files/media/table").rglob(f"{name}_*.table.json")
    return json.loads(file.read_text())["data"]


def test_pretraining_shows_masks_that_it_filled_and_how_it_was_made() -> None:
    run = run_of("pretrain")
    rows = shown(run, "filled_masks")
    assert len(rows) == 5
    for text, word, *guesses in rows:
        assert text.count("<mask>") == 1 and word not in ("", "<mask>") and len(guesses) == 5
        shares = [float(guess.rpartition(" ")[2]) for guess in guesses]
        assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    config = run.config
    assert config["command"].startswith("roberta-lab pretrain ") and config["host"] and config["device"]
    assert config["cut"]["start"] == 0 and config["cut"]["micro_batch_size"] == 4
    assert run.steps == [1, 2, 3], "rows of one step are one"


def test_finetuning_shows_predictions_a_confusion_matrix_and_chance() -> None:
    run = run_of("finetune")
    [folder] = Path("outputs/finetune").iterdir()
    result = json.loads((folder / "result.json").read_text())
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    rows = shown(run, "predictions")
    assert [row[0] for row in rows] == [line["id"] for line in lines]
    assert all((row[-3] == row[-2]) == row[-1] for row in rows)
    matrix = shown(run, "confusion_matrix_table")
    assert sum(cell[2] for cell in matrix) == len(lines) == result["num_dev"]
    said = Counter((row[-3], row[-2]) for row in rows)
    assert {(right, guess): count for right, guess, count in matrix if count} == said
    scored = [row for row in run.rows if "finetune/pydoc_topic/dev/accuracy" in row]
    chance = [row["finetune/pydoc_topic/dev/accuracy_chance"] for row in scored]
    assert chance == [pytest.approx(result["majority"])] and run.config["device"]


def test_what_is_not_uploaded_is_uploaded_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        service.give_up()
        found = answered(capfd, "sync")
        ids = {next(Path("outputs", kind).iterdir()).name for kind in ("pretrain", "finetune")}
        [table] = [name for name in found["uploaded"] if name.startswith("table-own-smoke")]
        assert set(found["uploaded"]) == {*ids, table} == set(server.runs) and found["failed"] == []
        assert answered(capfd, "sync") == {"uploaded": [], "failed": [], "before": 3, "at_work": []}
        [file] = run_of("pretrain").path.parent.glob("*.wandb")
        os.utime(f"{file}.synced", (0, file.stat().st_mtime - 60))
        again = answered(capfd, "sync")
        assert len(again["uploaded"]) == 1 and again["before"] == 2, "what was written after the upload is sent too"
        assert not server.unknown


def test_a_run_at_work_is_left_out_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    """What is uploaded of it now would be taken for all of it."""
    [folder] = Path("outputs/pretrain").iterdir()
    for mark in Path("outputs/wandb").glob("*/*.synced"):
        mark.touch()
    for mark in Path("outputs/wandb").glob(f"*{folder.name}*/*.synced"):
        mark.unlink()
    (folder / "owner.json").write_text(json.dumps({"pid": os.getppid(), "host": socket.gethostname()}))
    try:
        assert main.main(["sync"]) == 0
    finally:
        (folder / "owner.json").unlink()
    [first, _] = capfd.readouterr().out.splitlines()
    assert first.startswith("left out, for their runs are at work: outputs/wandb/offline-run-") and folder.name in first


@pytest.mark.parametrize(
    ("variables", "said"),
    [({"WANDB_API_KEY": KEY}, "does not answer ("), ({"WANDB_MODE": "offline"}, "does not answer (")],
)
def test_without_a_server_one_line_says_so(
    variables: dict[str, str], said: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for marker in Path("outputs/wandb").glob("*/*.synced"):
        marker.unlink()
    with Server() as gone:
        pass
    monkeypatch.setenv("WANDB_BASE_URL", gone.url)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    service.give_up()
    found = answered(capfd, "sync", code=2)
    assert said in found["error"] and gone.url in found["error"]
