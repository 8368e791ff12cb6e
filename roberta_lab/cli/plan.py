"""`plan`: estimate what a run, or each row of a sweep, will cost before it starts."""

from __future__ import annotations

from pathlib import Path

from roberta_lab.reports.plan import plan_of
from roberta_lab.runs.jobs import Job


def main(job: Job) -> None:
    """Print the plan and, with `plan.output`, write it as Markdown."""
    config, plan = job.config, plan_of(job)
    print(plan.text())
    if config.plan.output:
        path = Path(config.plan.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(plan.markdown(), encoding="utf-8")
        print(path)
