"""`plan`: estimate what a run, or each row of a sweep, will cost before it starts."""

from pathlib import Path

from roberta_lab.reports.plan import markdown, plans_of, text
from roberta_lab.runs.jobs import Job


def main(job: Job) -> None:
    """Print the plan and, with `plan.output`, write it as Markdown."""
    plans, output = plans_of(job), job.config.plan.output
    print(text(plans))
    if output:
        path = Path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(markdown(plans), encoding="utf-8")
        print(path)
