"""Runs and tables that only log to W&B, and the environment in which they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from composed_jobs import at
from example_results import finetuned, pretrained
from wandb_server import Server

from roberta_lab.config import Config, LoggerConfig, PathsConfig
from roberta_lab.runs import composition, provenance
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register
from roberta_lab.runs.tables import runs_of
from roberta_lab.runs.tracking import Tracker
from roberta_lab.runs.wandb import environment, service, tables
from roberta_lab.training.rows import Row

KEY = "k" * 40
ROWS = [Row(s, {"tokens_seen": 10 * s, "train/mlm_loss": 1.0 / s, "val/ppl": 9.0 - s}) for s in (1, 2)]
RESULTS = {"pretrain": pretrained(ppl=7.0), "finetune": finetuned(score=61.5, at_chance=True)}
CLAIM = {"words": "dynamic no worse", "verdict": "holds here", "estimate": "better by 1", "source": "Section 4.1"}
Table = tuple[Config, list[Job]]


def table_one() -> Table:
    """Table 1 with one task and seed: two rows, so two pretraining and two finetuning runs."""
    register()
    overrides = ["sweep=table1_masking", "sweep.tasks=[sst2]", "sweep.seeds=[1]", "sweep.finetune_seeds=[1]"]
    with composition.composing():
        user = parse(overrides)
        config = composition.composed(user)
        return config, runs_of(config, user)


def address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B reads its environment once in a process."""
    environment.forget()
    service.give_up()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def logging(config: Config, outputs: Path, mode: str, **logger: object) -> Config:
    """The config with these outputs and settings of W&B."""
    return replace(config, logger=LoggerConfig(mode, **logger), paths=PathsConfig(str(outputs), str(outputs / "cache")))


def tracker(outputs: Path, one: Job, mode: str, **logger: object) -> Tracker:
    """The log of a run whose folder is there, as a command makes it."""
    config = logging(one.config, outputs, mode, **logger)
    directory = outputs / one.kind / one.path.name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(one.name)
    provenance.begin_attempt(directory, {}, ["roberta-lab", one.kind, "seed=1"])
    science = {"seed": 1, "masking": {"name": config.masking.name}}
    return Tracker(config, directory, one.kind, one.name, science)


def tracked(outputs: Path, one: Job, mode: str, made_from: Path | None = None, **logger: object) -> Path:
    """A run that only logs."""
    log = tracker(outputs, one, mode, **logger)
    log.resume(0)
    if one.kind == "finetune":
        log.note_chance(lambda: {"accuracy": 50.0})
    for row in ROWS:
        log.write(row)
    log.close(replace(RESULTS[one.kind], pretrain_run_id=made_from.name if made_from else None))
    (log.directory / "result.json").write_text("{}")
    return log.directory


def write_table(outputs: Path) -> Path:
    folder = outputs / "tables" / "table1_masking" / "smoke"
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text("row,perplexity,sst2\nstatic,7.5,\ndynamic,7.0,92.9 (3)\n")
    (folder / "index.html").write_text("<!doctype html><p>page</p>" + "x" * 70_000)
    (folder / "table.md").write_text("| row |\n|---|\n| static |\n\n## Claims\n\n- holds here: dynamic no worse\n")
    (folder / "table.json").write_text(json.dumps({"claims": [dict(CLAIM, why=str(number)) for number in (1, 2)]}))
    return folder


def here(table: Table, outputs: Path) -> list[Job]:
    """The table's runs, with their folders in these outputs."""
    return [at(one, outputs / one.kind / one.path.name) for one in table[1]]


def whole(table: Table, outputs: Path, mode: str) -> dict[str, Path]:
    """A table's first pretraining run, its finetuning run, and the table."""
    config, runs = table
    pretrain, finetune = (next(one for one in runs if one.kind == kind) for kind in ("pretrain", "finetune"))
    places = {"pretrain": tracked(outputs, pretrain, mode)}
    places["finetune"] = tracked(outputs, finetune, mode, places["pretrain"])
    places["table"] = write_table(outputs)
    tables.log_table(logging(config, outputs, mode), places["table"], here(table, outputs))
    return places


def wandb(outputs: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wandb", *arguments]
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # W&B's process of the tests
    variables = {**own, "WANDB_DIR": str(outputs), **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables)
