"""Check the corpora and task files of many runs before any of them is made."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from roberta_lab.config import ConfigError, Damaged
from roberta_lab.data.corpus import preparation
from roberta_lab.runs import identity, provenance
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


def expect_own_text(jobs: Iterable[Job]) -> None:
    """Raise ConfigError for a complete run of other text than its sources hold now: ids do not cover where text lies.

    Runs that share their mix and their text are looked at once.
    """
    looked_at = set[tuple[str, str]]()
    for job in jobs:
        content = _noted_corpus(job) if job.is_complete and job.reads_text else None
        if content is None or (one := (mix_of(job), content)) in looked_at:
            continue
        looked_at.add(one)
        if preparation.is_other_text(job.config, content):
            places = " and ".join(source.path for source in job.config.data_mix.sources.values() if source.path)
            other = f"{job.path} is complete, of other text than {places} has now"
            raise ConfigError(f"{other}. Allowed: the files of then, another paths.outputs, or the run moved away.")


def _noted_corpus(job: Job) -> str | None:
    try:
        noted = provenance.read(job.path)
    except Damaged:  # which is said where the run is read
        return None
    return noted["data"].get("corpus") if noted is not None else None


def mix_of(job: Job) -> str:
    """Return what names the text of a run, or of the run that it starts from: equal for equal data mixes and tokenizers."""
    return json.dumps([asdict(job.config.data_mix), asdict(job.config.tokenizer)], sort_keys=True)


def reads_mix(job: Job) -> bool:
    """Return whether a run's data is prepared for it; what starts from a run reads the data of that run."""
    return not job.has_task or (not identity.starts_from_run(job.config) and identity.reads_mix(job.config))
