"""`plan`: what a run or each row of a sweep would cost, before anything is spent."""

from __future__ import annotations

from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.reports.plan.plan import plans_of
from roberta_lab.reports.plan.rendering import markdown, text


def main(config: Config, overrides: list[str]) -> None:
    """Prints the plan and, with `plan.output`, writes it as Markdown."""
    plans = plans_of(config, overrides)
    print(text(plans))
    if config.plan.output:
        path = Path(config.plan.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(markdown(plans), encoding="utf-8")
        print(path)
