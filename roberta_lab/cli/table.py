"""`table`: show the runs of a sweep beside the published numbers, say which are missing, and judge the sweep's claims.

Without a sweep it lists the tables that are there; with `table.runs` it compares any runs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roberta_lab.config import ConfigError, stopping
from roberta_lab.config.formatting import counted, visible
from roberta_lab.data.storage import Json
from roberta_lab.reports.ending import end_of_several, ending
from roberta_lab.reports.grid import grid_of
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.page.summaries import summaries
from roberta_lab.reports.table import as_json
from roberta_lab.reports.table.as_json import LANDING
from roberta_lab.reports.table.files import write_table
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import Record, Table, read_record
from roberta_lab.runs import names
from roberta_lab.runs.command_line import folded, places, typed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import Override, assign, without
from roberta_lab.runs.tables import Sweep, sweeps_of
from roberta_lab.runs.wandb.tables import log_table


def main(job: Job) -> Json:
    """Look up the run of each cell by its config; write each table in all its forms, and the pages over all tables and runs.

    Return the content of `table.json` with the files; of several tables a list.
    """
    with stopping.finishing():  # files that belong together
        return _tables(job)


def _tables(job: Job) -> Json:
    if job.config.sweep is None:
        return _compare(job) if job.config.table.runs else _list(job)
    if job.config.table.runs:
        raise ConfigError("table.runs and sweep are both set; choose one.")
    sweeps = sweeps_of(job.config, job.overrides)
    answers: list[dict[str, Any]] = []
    for sweep in sweeps:
        table, files = _written(sweep)
        log_table(sweep.config, files[0].parent, list({job.path: job for job in sweep.runs}.values()))
        answers.append(_answer(files))
        if len(sweeps) == 1:
            _show(files)
        else:
            print(f"{sweep.name}: {first_sentence(table)}")
    landing = write_landing(Path(job.config.paths.outputs))
    if len(sweeps) == 1:
        print("\n".join(_end(sweeps[0], table, files, landing)))
        return {**answers[0], "files": [*map(str, files), str(landing)]}
    missing = len({job.path for sweep in sweeps for job in sweep.runs if not job.is_complete})
    print("\n".join(end_of_several(answers, missing, landing, "open the page, or choose a table with sweep=NAME")))
    return answers


def _answer(files: list[Path]) -> dict[str, Any]:
    content = as_json.read(files[0].parent)
    return {**{key: content[key] for key in content if key != LANDING}, "files": [*map(str, files)]}


def _show(files: list[Path]) -> None:
    print(files[0].read_text(encoding="utf-8"))
    print("\n".join(map(str, files)))


def _written(sweep: Sweep) -> tuple[Table, list[Path]]:
    folder = sweep.folder
    records = [read_record(run, folder) for run in sweep.runs]
    if not sweep.config.table.replace:
        folder, before = _beside_a_larger(folder, records), folder
        if folder != before:
            records = [read_record(run, folder) for run in sweep.runs]
    folder.mkdir(parents=True, exist_ok=True)
    settings = ", ".join(map(names.shown, sweep.settings))
    command = typed("reproduce", without(sweep.overrides, "table"))
    return write_table(sweep.config, records, folder, command, settings)


def _beside_a_larger(folder: Path, records: list[Record]) -> Path:
    """Return the folder, or another one where a table lies in it that has more complete runs than these, and say so."""
    there = as_json.read(folder)
    own = len({record.run_id for record in records if record.result is not None})
    runs, missing = there.get("runs"), there.get("missing")
    other = runs - missing if isinstance(runs, int) and isinstance(missing, int) else 0
    if own >= other:
        return folder
    beside = folder.with_name(f"{folder.name}--{own}-runs")
    kept = f"{folder} has a table of {counted(other, 'complete run')}, this one has {own}, so it goes to {beside}"
    print(f"{kept}; table.replace=true writes over the other")
    return beside


def _end(sweep: Sweep, table: Table, files: list[Path], landing: Path) -> list[str]:
    """Return the verdicts, and the last three lines."""
    overrides = without(sweep.overrides, "table")
    following = f"open the page, or {folded('reproduce', _with_a_seed_more(table, overrides))}"
    if table.num_missing:
        following = f"{table.num_missing} of {table.num_runs} runs are missing: {folded('reproduce', overrides)}"
    verdicts = [verdict.text for verdict in table.verdicts]
    return [*verdicts, *ending(first_sentence(table), [files[-1], landing], following)]


def _with_a_seed_more(table: Table, overrides: Sequence[Override]) -> list[Override]:
    """Return the overrides with another seed: of finetuning, where all that is compared starts from the same weights."""
    differences = [cell.difference for row in table.rows for cell in row.all_cells if cell.difference is not None]
    if differences and all(difference.same_weights for difference in differences):
        tuned = {record.finetune_seed for record in table.records if record.finetune_seed is not None}
        one_more = assign("sweep.finetune_seeds", [*sorted(tuned), max(tuned) + 1])
        return [*without(overrides, "finetune.seed", "sweep.finetune_seeds"), one_more]
    seeds = {record.seed for record in table.records}
    one_more = assign("sweep.seeds", [*sorted(seeds), max(seeds, default=0) + 1])
    return [*without(overrides, "seed", "sweep.seeds"), one_more]


def _compare(job: Job) -> Json:
    """Write and show the table of the runs in `table.runs`."""
    grid = grid_of(job)
    grid.folder.mkdir(parents=True, exist_ok=True)
    table, files = write_table(grid.config, grid.records, grid.folder, grid.command, by_row=grid.settings)
    _show(files)
    landing = write_landing(Path(job.config.paths.outputs))
    following = f"open the page, or again {grid.command}"
    print("\n".join(ending(first_sentence(table), [files[-1], landing], following)))
    return {**_answer(files), "files": [*map(str, files), str(landing)]}


def _list(job: Job) -> Json:
    """List the tables that are there: where each lies, how much of it, and what was seen."""
    outputs = Path(job.config.paths.outputs)
    found = summaries(outputs)
    for folder, table in found.items():
        print(visible(f"{outputs / folder}/index.html: {table.title}; {table.state}. {table.seen}"))
    if not found:
        print(f"no tables in {outputs}")
    own = places(job.config.paths)
    of_runs = " ".join([typed("table", own), "table.runs=[ID,ID]"])
    print(f"next: {typed('table', ['sweep=NAME', *own])}, or {of_runs} for any runs")
    return [
        {"folder": str(outputs / folder), "sweep": table.name, "scale": table.scale, "title": table.title}
        | {"runs": table.num_runs, "missing": table.num_missing, "first_sentence": table.seen}
        for folder, table in found.items()
    ]
