"""Files that others score, made of a run's predictions: GLUE's leaderboard, the official scripts of SQuAD."""

import json
from collections.abc import Sequence
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data.storage import replacing_folder
from roberta_lab.tasks import families
from roberta_lab.tasks.families.base import Submission
from roberta_lab.tasks.items import Predictions, TaskData
from roberta_lab.tasks.result import predictions_file

FOLDER = "submission"  # in the run's


def check(task: TaskConfig) -> Submission:
    """Return how the task's files are made; raise ConfigError for a task that has none."""
    found = families.get(task.family).submission if task.family in families.FAMILIES else None
    if found is None:
        allowed = ", ".join(name for name in families.FAMILIES if families.get(name).submission)
        raise ConfigError(f"finetune.submission: {task.name} has no such files. Allowed: {allowed} tasks.")
    return found


def splits(task: TaskConfig, data: TaskData) -> list[str]:
    """Return the splits that have files: GLUE's tests, SQuAD's dev and whatever is beside it.

    Raises ConfigError where there is none, or where `task.num_dev` takes a part of one: a submission is whole.
    """
    files = check(task)
    wanted = ["dev", *data.others] if files.splits is None else files.splits(task)
    found = [split for split in wanted if split in data.splits]
    if not found:
        raise ConfigError(f"finetune.submission: {task.name}'s files have no split {' or '.join(wanted)}.")
    for split in found:
        items = data.splits[split]
        if len(items) == task.num_dev and items[0].gold is not None:  # what has no labels is not sampled
            limit = f"task.num_dev={task.num_dev} takes a part of {split}, whose labels are there"
            raise ConfigError(f"finetune.submission has every item of {split}, but {limit}. Leave task.num_dev out.")
    return found


def is_predicted(run: Path, task: TaskConfig) -> bool:
    """Return whether a run has predicted what its files are made of; with `task.num_dev` it may have left tests out."""
    files = families.get(task.family).submission
    wanted = [] if files is None else ["dev"] if files.splits is None else files.splits(task)
    return any(predictions_file(run, split).is_file() for split in wanted)


def write_all(run: Path, task: TaskConfig, data: TaskData) -> Path:
    """Write the files of all splits, made of the run's predictions, as its folder `submission/`, whole or not there."""
    with replacing_folder(run / FOLDER) as beside:
        for split in splits(task, data):
            lines = predictions_file(run, split).read_bytes().splitlines()  # of bytes: at line feeds only
            place = beside / split if check(task).splits is None else beside
            write(place, task, split, [json.loads(line) for line in lines], data.labels)
    return run / FOLDER


def write(folder: Path, task: TaskConfig, split: str, predictions: Predictions, labels: Sequence[str] = ()) -> None:
    """Write the files of one split's predictions into a folder that is made. Raises ConfigError."""
    texts = check(task).texts(task, split, predictions, labels)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
