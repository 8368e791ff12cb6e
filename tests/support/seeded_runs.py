"""Jobs of Table 1 with results that nobody trained, a value for each pretraining seed; to be used while `composing`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import example_results
from composed_jobs import at

from roberta_lab.config import Config, SweepConfig
from roberta_lab.runs import results
from roberta_lab.runs.composition import composed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.tables import runs_of

BITS, TASK = "common_bits_per_byte", "sst2"
Values = Sequence[float | None]  # of pretraining seeds 1, 2 and so on; None: the run is missing


@cache
def _jobs() -> dict[str, Job]:
    """Return a pretraining run and a finetuning run of one row, of seed 1; all rows take their settings from them."""
    overrides = parse(["sweep=table1_masking", "sweep.seeds=[1]", "sweep.only=[static]"])
    return {job.kind: job for job in runs_of(composed(overrides), overrides)}


def config(**sweep: Any) -> Config:
    """Return the config of a sweep of three rows with one task, without claims, margins and spreads but for those given."""
    found = _jobs()["pretrain"].config
    assert found.sweep is not None
    settings: dict[str, Any] = {"claims": [], "margins": {}, "spreads": {}, "at_scale": {}, "published": None, **sweep}
    rows: dict[str, list[str]] = {name: [] for name in ("static", "dynamic", "third")}
    sweep_config = SweepConfig("t", "T", "Q?", rows=rows, tasks=[TASK], **settings)
    return replace(found, sweep=sweep_config, scale=replace(found.scale, spreads={}))


def runs(outputs: Path, bits: dict[str, Values] | None = None, scores: dict[str, Values] | None = None) -> list[Job]:
    """Return a job for each value, its result in the outputs: bits per byte of pretraining runs, scores of a finetuning of each."""
    found = []
    for kind, rows in (("pretrain", bits or {}), ("finetune", scores or {})):
        for row, values in rows.items():
            for seed, value in enumerate(values, 1):
                job = _jobs()[kind]
                job = replace(job, row=row, config=replace(job.config, seed=seed))
                found.append(at(job, outputs / kind / f"{row}-{seed}"))
                if value is not None:
                    _write(found[-1], value)
    return found


def _write(job: Job, value: float) -> None:
    name = job.path.name
    if job.kind == "finetune":
        found = example_results.finetuned(name, value, name, num_dev=1000)
    else:
        plain = example_results.pretrained(name)
        common = {BITS: value, "common_perplexity": 2 ** (4 * value), "common_text": "t"}
        found = replace(plain, found=replace(plain.pretraining, **common))
    job.path.mkdir(parents=True)
    results.write(job.path, found)


def in_row(job: Job, row: str) -> Job:
    """Return the same run as another row shows it."""
    return at(replace(job, row=row), job.path)
