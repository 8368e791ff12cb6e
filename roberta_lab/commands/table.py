"""`table`: what is there of a sweep, beside the published numbers; says what is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from roberta_lab import run
from roberta_lab.composition import CONF, build
from roberta_lab.config import Config
from roberta_lab.reports import write_table
from roberta_lab.reports.landing import write_landing
from roberta_lab.reports.rows import Record
from roberta_lab.sweeper import Job, expand


def main(config: Config, overrides: list[str]) -> None:
    """Composes the config of each cell, looks its run up, writes the table in all its forms and the page over all tables and runs."""
    assert config.sweep is not None
    folder = Path(config.paths.outputs) / "tables" / config.sweep.name / config.scale.name
    folder.mkdir(parents=True, exist_ok=True)
    records = find(config, overrides, folder)
    table, files = write_table(config, records, folder, overrides)
    landing = write_landing(Path(config.paths.outputs))
    print(files[0].read_text(encoding="utf-8"))
    print("\n".join(map(str, [*files, landing])))
    if table.num_missing:
        print(f"{table.num_missing} of {table.num_runs} runs are missing: roberta-lab reproduce {' '.join(overrides)}")
    else:
        print(f"next: open {files[-1]}, or roberta-lab reproduce {' '.join(overrides)} sweep.seeds=[1,2]")


def find(config: Config, overrides: list[str], folder: Path) -> list[Record]:
    """One record per run of the sweep, present or not."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return [_record(kind, job, folder) for kind in run.KINDS for job in expand(config, kind, overrides)]


def _record(kind: str, job: Job, folder: Path) -> Record:
    path = run.directory(build(compose("config", list(job.overrides))), kind)
    return Record(
        kind=kind,
        row=job.row,
        seed=job.seed,
        task=job.task,
        finetune_seed=job.finetune_seed,
        run_id=path.name,
        directory=os.path.relpath(path, folder),
        result=_result(path),
    )


def _result(path: Path) -> dict[str, Any] | None:
    return json.loads((path / "result.json").read_text()) if run.is_complete(path) else None
