"""Complete runs of a sweep of two rows, as files that nobody trained: results, losses and predictions are drawn."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from example_results import finetuned
from omegaconf import OmegaConf

from roberta_lab.runs.composition import composed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.tables import runs_of
from roberta_lab.training.rows import Cut, PretrainingResult

SWEEP = """name: own
title: A table of ours
question: Is it?
rows: {static: [masking=static, masking.num_patterns=10], dynamic: [masking=dynamic], absent: [masking=span]}
tasks: [text_classification]
seeds: [1, 2]
finetune_seeds: [1, 2]
"""
OVERRIDES = ["sweep=own.yaml", "task.path=weather"]
STEPS, PARTED = 12, 5  # the losses of both rows are the same before step PARTED
ITEMS = 37
LABELS = ("dry", "wet")
HOSTILE = "<script>document.title='owned'</script>"


def write_sweep(home: Path) -> None:
    """Write the sweep and its task's files."""
    (home / "own.yaml").write_text(SWEEP)
    (home / "weather").mkdir()
    for split, number in (("train", 4), ("dev", ITEMS)):
        with open(home / "weather" / f"{split}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows([f"{HOSTILE} day {i} of {split}", LABELS[i % 3 == 0]] for i in range(number))


def write_runs(rows: tuple[str, ...] = ("static", "dynamic")) -> list[Job]:
    """Write every run of some rows; to be called in the folder of the sweep, while `composing`. Return them."""
    overrides = parse(["sweep=own", *OVERRIDES[1:]])
    found = [job for job in runs_of(composed(overrides), overrides) if job.row in rows]
    for job in found:
        job.path.mkdir(parents=True)
        (job.path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(job.config)))
        (job.path / "overrides.yaml").write_text(json.dumps(job.words))
        write = _pretrained if job.kind == "pretrain" else _finetuned
        (job.path / "result.json").write_text(json.dumps(write(job).to_json()))
    return found


def _pretrained(job: Job) -> RunResult:
    is_static, draw = job.row == "static", np.random.default_rng(job.seed)
    losses = draw.normal(5, 1, STEPS + 1)
    if not is_static:
        losses[PARTED:] += draw.normal(0, 0.1, STEPS + 1 - PARTED)
    rows = [{"step": step, "train/mlm_loss": losses[step], "train/lr": 0.1} for step in range(1, STEPS + 1)]
    if is_static:  # logged one step less
        rows = rows[:-1]
    rows.append({"step": 6, "val/ppl": 9.0})
    (job.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    commit = "1" * 40 if is_static else "2" * 40
    cut = Cut(0, 16 if is_static else 8, 1, 1, "a CPU")
    same = {"python": "3.11", "packages": {"torch": "2.10"}, "hardware": {"cpus": 2, "host": "h", "platform": "Linux"}}
    attempt = {"git": {"commit": commit, "dirty": False}, "cut": asdict(cut), **same}
    (job.path / "provenance.json").write_text(json.dumps({"data": {"tokens": "abc"}, "attempts": [attempt]}))
    metrics = {"val/ppl": 9.0 + job.seed + (0.0 if is_static else draw.normal())}
    found = PretrainingResult(job.config.batch_size.steps, 1000 * job.seed, 1.5, 30.0, 1000, {}, metrics, cuts=(cut,))
    return RunResult(job.path.name, job.label, 10.0 * job.seed, found)


def _finetuned(job: Job) -> RunResult:
    draw = np.random.default_rng([job.seed, job.finetune_seed or 0, job.row == "static"])
    gold = [int(i % 3 == 0) for i in range(ITEMS)]
    said = [g if draw.random() < 0.7 else 1 - g for g in gold]
    lines = [{"id": str(i), "prediction": p, "logits": [1.0 - p, float(p)]} for i, p in enumerate(said)]
    (job.path / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (job.path / "metrics.jsonl").write_text(json.dumps({"step": 20, "train/loss": 0.5}) + "\n")
    score = 100 * sum(g == p for g, p in zip(gold, said, strict=True)) / ITEMS
    seed = job.finetune_seed
    return finetuned(job.path.name, score, "p", task="text_classification", finetune_seed=seed, num_dev=ITEMS)
