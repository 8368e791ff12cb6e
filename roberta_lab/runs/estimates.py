"""How long missing runs will take, judged by the seconds that complete runs of the same size took."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from roberta_lab.data.storage import read_json
from roberta_lab.runs.identity import KINDS
from roberta_lab.runs.jobs import Job

NEWEST = 300  # complete runs of each kind that are looked at
Size = tuple[object, ...]
Rates = dict[Size, list[float]]


def size_of(kind: str, config: Mapping[str, Any]) -> tuple[Size, float]:
    """Return what runs of the same size share, and the work of one, to which its time is in proportion.

    Pretraining: model, length and precision; sequences. Finetuning: the same, task and its size; passes over the training set.
    """
    shared = (kind, *config["model"].values(), config["precision"]["dtype"], config["trainer"]["devices"])
    if kind == "pretrain":
        batch = config["batch_size"]
        return (*shared, config["input_format"]["max_length"]), float(batch["steps"] * batch["sequences"])
    task, tune = config["task"], config["finetune"]
    return (*shared, task["name"], task["num_train"], task["max_length"], tune["batch"]), float(tune["epochs"])


def measured(outputs: Path) -> Rates:
    """Return the seconds per unit of work of the newest complete runs, by their size."""
    rates: Rates = {}
    for kind in KINDS:
        found = sorted((outputs / kind).glob("*/result.json"), key=lambda p: p.stat().st_mtime)[-NEWEST:]
        for path in found:
            try:
                seconds = read_json(path)["seconds"]
                config = path.with_name("config.yaml").read_text(encoding="utf-8")
                key, work = size_of(kind, yaml.load(config, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
            except (OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError):
                continue  # a run of an older version, or not of this project
            rates.setdefault(key, []).append(seconds / work)
    return rates


def seconds(runs: Iterable[Job], rates: Rates) -> tuple[float, int]:
    """Return the time of all runs, one after the other, and how many are not counted, for no run of their size is complete.

    A run that only lacks a submission takes no time.
    """
    total, unknown = 0.0, 0
    for one in (run for run in runs if not run.is_trained):
        key, work = size_of(one.kind, dataclasses.asdict(one.config))
        if key in rates:
            total += median(rates[key]) * work
        else:
            unknown += 1
    return total, unknown
