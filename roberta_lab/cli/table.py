"""`table`: show the runs of a sweep beside the published numbers, say which are missing, and judge the sweep's claims."""

from pathlib import Path
from typing import Any

from roberta_lab.data.storage import Json, read_json
from roberta_lab.reports.page.claims import CLAIMS, counted_outcomes
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.table.as_json import JSON_FILE, LANDING
from roberta_lab.reports.table.files import write_table
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import Table, read_record
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import assign, texts, without
from roberta_lab.runs.tables import Sweep, sweeps_of
from roberta_lab.runs.wandb.tables import log_table


def main(job: Job) -> Json:
    """Look up the run of each cell by its config; write each table in all its forms, and the pages over all tables and runs.

    Return the content of `table.json` with the files; of several tables a list.
    """
    sweeps = sweeps_of(job.config, job.overrides)
    answers: list[dict[str, Any]] = []
    for sweep in sweeps:
        table, files = _written(sweep)
        log_table(sweep.config, files[0].parent, list({job.path: job for job in sweep.runs}.values()))
        content = read_json(files[0].parent / JSON_FILE)
        answers.append({**{key: content[key] for key in content if key != LANDING}, "files": [*map(str, files)]})
        if len(sweeps) == 1:
            print(files[0].read_text(encoding="utf-8"))
            print("\n".join(map(str, files)))
        else:
            print(f"{sweep.name}: {first_sentence(table)}")
    landing = write_landing(Path(job.config.paths.outputs))
    print(landing)
    if len(sweeps) == 1:
        print("\n".join(_end(sweeps[0], table, files)))
        return {**answers[0], "files": [*map(str, files), str(landing)]}
    counts = counted_outcomes(claim for answer in answers for claim in answer["claims"])
    print(f"claims: {counts}; {landing.with_name(CLAIMS)}")
    return answers


def _written(sweep: Sweep) -> tuple[Table, list[Path]]:
    config = sweep.config
    folder = Path(config.paths.outputs) / "tables" / sweep.name / config.scale.name
    folder.mkdir(parents=True, exist_ok=True)
    records = [read_record(run, folder) for run in sweep.runs]
    return write_table(config, records, folder, texts(sweep.overrides))


def _end(sweep: Sweep, table: Table, files: list[Path]) -> list[str]:
    """Return the last lines: what was seen, the verdicts, and what to type next."""
    said = [first_sentence(table), *(verdict.text for verdict in table.verdicts)]
    if table.num_missing:
        missing = f"{table.num_missing} of {table.num_runs} runs are missing"
        return [*said, f"{missing}: {folded('reproduce', sweep.overrides)}"]
    seeds = {record.seed for record in table.records}
    one_more = assign("sweep.seeds", [*sorted(seeds), max(seeds, default=0) + 1])
    command = folded("reproduce", [*without(sweep.overrides, "sweep.seeds"), one_more])
    return [*said, f"next: open {files[-1]}, or {command}"]
