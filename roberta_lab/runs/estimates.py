"""How long missing runs will take, from the seconds that complete runs of like size took on this machine's disk."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.jobs import SweepRun

NEWEST = 300  # complete runs of each kind that are looked at
Rates = dict[tuple[Any, ...], list[float]]


def like(kind: str, config: dict[str, Any]) -> tuple[tuple[Any, ...], float]:
    """What runs of like size share, and the work of one in units that its time is in proportion to.

    Pretraining: model, length and precision; sequences. Finetuning: the same, task and its size; passes over the training set.
    """
    shared = (kind, *config["model"].values(), config["precision"]["dtype"], config["trainer"]["devices"])
    if kind == "pretrain":
        batch = config["batch_size"]
        return (*shared, config["input_format"]["max_length"]), float(batch["steps"] * batch["sequences"])
    task, tune = config["task"], config["finetune"]
    return (*shared, task["name"], task["num_train"], task["max_length"], tune["batch"]), float(tune["epochs"])


def measured(outputs: Path) -> Rates:
    """Seconds per unit of work of the newest complete runs, by what they share."""
    rates: Rates = {}
    for kind in KINDS:
        found = sorted((outputs / kind).glob("*/result.json"), key=lambda p: p.stat().st_mtime)[-NEWEST:]
        for path in found:
            try:
                seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
                key, work = like(kind, _plain(path.with_name("config.yaml")))
            except (OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError):
                continue  # of an older version, or not ours: it says nothing about time
            rates.setdefault(key, []).append(seconds / work)
    return rates


def _plain(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def seconds(runs: Iterable[SweepRun], rates: Rates) -> tuple[float, int]:
    """Of all runs together, one after the other; and how many have no complete run of like size, and so are not counted.

    A run that is trained, and lacks a submission alone, takes no time.
    """
    total, unknown = 0.0, 0
    for one in runs:
        if one.is_trained:
            continue
        key, work = like(one.kind, dataclasses.asdict(one.config))
        if key in rates:
            total += median(rates[key]) * work
        else:
            unknown += 1
    return total, unknown
