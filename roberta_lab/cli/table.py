"""`table`: show the runs of a sweep beside the published numbers, and say which are missing."""

from __future__ import annotations

import os
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.reports import run_notes
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.table.files import write_table
from roberta_lab.reports.table.rows import Record
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import SweepRun, composing, runs_of


def main(config: Config, overrides: list[str]) -> None:
    """Look up the run of each cell by its config, and write the table in all its forms and the page over all tables and runs."""
    assert config.sweep is not None
    folder = Path(config.paths.outputs) / "tables" / config.sweep.name / config.scale.name
    folder.mkdir(parents=True, exist_ok=True)
    records = find(config, overrides, folder)
    table, files = write_table(config, records, folder, overrides)
    landing = write_landing(Path(config.paths.outputs))
    print(files[0].read_text(encoding="utf-8"))
    print("\n".join(map(str, [*files, landing])))
    if table.num_missing:
        print(f"{table.num_missing} of {table.num_runs} runs are missing: {folded('reproduce', overrides)}")
    else:
        print(f"next: open {files[-1]}, or {folded('reproduce', [*overrides, 'sweep.seeds=[1,2]'])}")


def find(config: Config, overrides: list[str], folder: Path) -> list[Record]:
    """Return one record per run of the sweep, present or not."""
    with composing():
        return [read_record(one, folder) for one in runs_of(config, overrides)]


def read_record(run: SweepRun, folder: Path) -> Record:
    """Return a run as tables show it, its directory relative to `folder`; a damaged result costs its own cell, not the table."""
    result, damage = run_notes.result(run.path)
    return Record(
        kind=run.kind,
        row=run.job.row,
        seed=run.job.seed,
        task=run.job.task,
        finetune_seed=run.job.finetune_seed,
        run_id=run.path.name,
        directory=os.path.relpath(run.path, folder),
        result=result,
        config=run.config,
        damage=damage,
    )
