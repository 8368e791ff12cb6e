"""`table`: what is there of a sweep, beside the published numbers; says what is missing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roberta_lab.config import Config
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.table.rows import Record
from roberta_lab.reports.writing import write_table
from roberta_lab.runs import results
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job, composing, runs_of
from roberta_lab.runs.overrides import Override


def main(job: Job) -> None:
    """Compose the config of each cell, look its run up, write the table in all its forms and the page over all tables and runs."""
    config, overrides = job.config, job.overrides
    assert config.sweep is not None
    folder = Path(config.paths.outputs) / "tables" / config.sweep.name / config.scale.name
    folder.mkdir(parents=True, exist_ok=True)
    records = find(config, overrides, folder)
    table, files = write_table(config, records, folder, job.words)
    landing = write_landing(Path(config.paths.outputs))
    print(files[0].read_text(encoding="utf-8"))
    print("\n".join(map(str, [*files, landing])))
    if table.num_missing:
        print(f"{table.num_missing} of {table.num_runs} runs are missing: {folded('reproduce', overrides)}")
    else:
        print(f"next: open {files[-1]}, or {folded('reproduce', [*overrides, 'sweep.seeds=[1,2]'])}")


def find(config: Config, overrides: Sequence[Override], folder: Path) -> list[Record]:
    """Return one record per run of the sweep, present or not."""
    with composing():
        return [_record(one, folder) for one in runs_of(config, overrides)]


def _record(one: Job, folder: Path) -> Record:
    return Record(
        kind=one.kind,
        row=one.row,
        seed=one.seed,
        task=one.task,
        finetune_seed=one.finetune_seed,
        run_id=one.path.name,
        directory=os.path.relpath(one.path, folder),
        result=_result(one.path),
        config=one.config,
    )


def _result(path: Path) -> dict[str, Any] | None:
    return json.loads((path / "result.json").read_text()) if results.is_complete(path) else None
