"""`diff`: what two runs, or two rows of tables, differ in, and what came of it."""

from pathlib import Path

from roberta_lab.data.storage import Json
from roberta_lab.reports.diff import text
from roberta_lab.reports.diff.compare import compare
from roberta_lab.reports.diff.files import write_diff
from roberta_lab.reports.diff.sides import sides
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import without


def main(job: Job) -> Json:
    """Print the diff of `diff.a` and `diff.b`, write it as text, JSON and a page, and return it. Raises ConfigError."""
    config, asked = job.config, job.config.diff
    found = compare(*sides(job), asked.items)
    command = typed("diff", [asked.a, asked.b, *without(job.overrides, "diff")])
    files = write_diff(found, Path(config.paths.outputs), asked.output, command)
    print("\n".join([*text.lines(found), "", *map(str, files), f"next: open {files[-1]}"]))
    return {**found.to_json(), "files": [str(file) for file in files]}
