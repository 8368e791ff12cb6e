"""`plan`: what a run or each row of a sweep would cost, before anything is spent."""

from __future__ import annotations

from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.reports.plan import plan_of


def main(config: Config, overrides: list[str]) -> None:
    """Prints the plan and, with `plan.output`, writes it as Markdown."""
    plan = plan_of(config, overrides)
    print(plan.text())
    if config.plan.output:
        path = Path(config.plan.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(plan.markdown(), encoding="utf-8")
        print(path)
