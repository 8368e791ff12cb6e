"""`plan`: estimate what a run, or each row of a sweep, will cost before it starts."""

from roberta_lab.config.paths import user_path
from roberta_lab.data.storage import Json
from roberta_lab.reports.plan import as_json, markdown, plans_of, text
from roberta_lab.runs.jobs import Job


def main(job: Job) -> Json:
    """Print the plan and, with `plan.output`, write it as Markdown."""
    plans, output = plans_of(job), job.config.plan.output
    print(text(plans))
    if output:
        path = user_path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(markdown(plans), encoding="utf-8")
        print(path)
    return {"plans": [as_json(plan) for plan in plans], "file": output or None}
