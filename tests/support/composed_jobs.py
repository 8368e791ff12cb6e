"""Jobs and configs as commands compose them, for tests; to be used while `composing` (the fixture)."""

from dataclasses import replace
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.runs.composition import composed
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import check_names, parse


def config(*words: str) -> Config:
    """Return the typed config of words that somebody types after a command."""
    overrides = parse(words)
    check_names(overrides)
    return composed(overrides)


def at(job: Job, path: Path) -> Job:
    """Return the job with another folder than its id gives it."""
    moved = replace(job)
    vars(moved)["path"] = path
    return moved
