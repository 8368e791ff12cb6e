"""`table`: show the runs of a sweep beside the published numbers, and say which are missing."""

from pathlib import Path

from roberta_lab.data.storage import Json
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.table.files import write_table
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import read_record
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job, composing
from roberta_lab.runs.overrides import assign, without
from roberta_lab.runs.tables import runs_of


def main(job: Job) -> Json:
    """Look up the run of each cell by its config; write the table in all its forms, and the page over all tables and runs."""
    config, overrides = job.config, job.overrides
    assert config.sweep is not None
    folder = Path(config.paths.outputs) / "tables" / config.sweep.name / config.scale.name
    folder.mkdir(parents=True, exist_ok=True)
    with composing():
        records = [read_record(run, folder) for run in runs_of(config, overrides)]
    table, files = write_table(config, records, folder, job.words)
    landing = write_landing(Path(config.paths.outputs))
    print(files[0].read_text(encoding="utf-8"))
    print("\n".join(map(str, [*files, landing])))
    print(sentence := first_sentence(table))
    if table.num_missing:
        print(f"{table.num_missing} of {table.num_runs} runs are missing: {folded('reproduce', overrides)}")
    else:
        seeds = {record.seed for record in table.records}
        one_more = assign("sweep.seeds", [*sorted(seeds), max(seeds, default=0) + 1])
        print(f"next: open {files[-1]}, or {folded('reproduce', [*without(overrides, 'sweep.seeds'), one_more])}")
    return {
        "sweep": config.sweep.name,
        "scale": config.scale.name,
        "first_sentence": sentence,
        "runs": table.num_runs,
        "missing": table.num_missing,
        "files": [str(path) for path in (*files, landing)],
    }
