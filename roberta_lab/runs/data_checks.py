"""Check the corpora and task files of many runs before any of them is made."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from roberta_lab.data.corpus import preparation
from roberta_lab.runs import identity
from roberta_lab.runs.jobs import Job
from roberta_lab.tasks import families, zero_shot


def check(jobs: Iterable[Job]) -> None:
    """Raise ConfigError, in one line with the file, for data of the jobs that has a mistake. Nothing is prepared.

    The items of each task are read once; of each source of text, the first record of its first file. The hub is not asked.
    """
    missing = list(jobs)
    mixes = {repr(job.config.data_mix): job.config.data_mix for job in missing if reads_mix(job)}
    tasks = {repr(job.config.task): job.config.task for job in missing if job.has_task and job.config.task.path}
    for data_mix in mixes.values():
        preparation.check(data_mix)
    for task in tasks.values():
        if zero_shot.is_yardstick(task.family):
            zero_shot.get(task.family).read(task)
        elif families.get(task.family).files:
            families.load(task, Path())


def mix_of(job: Job) -> str:
    """Return what names the text of a run, or of the run that it starts from: equal for equal data mixes and tokenizers."""
    return json.dumps([asdict(job.config.data_mix), asdict(job.config.tokenizer)], sort_keys=True)


def reads_mix(job: Job) -> bool:
    """Return whether a run's data is prepared for it; what starts from a run reads the data of that run."""
    return not job.has_task or (not identity.starts_from_run(job.config) and identity.reads_mix(job.config))
