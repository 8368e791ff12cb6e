"""Downstream tasks. One file is one task family: it reads items; features and metrics are shared.

A new family is a module with `load(task, corpus) -> TaskData` and an entry in `FAMILIES`; where it has files of its own,
`read_from(task)` and an entry in `FILES`; and a YAML per task.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.families import glue, hub, ner, pydoc, race, squad, text_classification
from roberta_lab.tasks.items import TaskData

FAMILIES: dict[str, Callable[[TaskConfig, Path], TaskData]] = {
    "pydoc": pydoc.load,
    "glue": glue.load,
    "squad": squad.load,
    "race": race.load,
    "ner": ner.load,
    "text_classification": text_classification.load,
}
FILES: dict[str, Callable[[TaskConfig], dict[str, Path]]] = {  # what `load` opens: as what (a split) -> file
    "glue": glue.read_from,
    "squad": squad.read_from,
    "race": race.read_from,
    "ner": ner.read_from,
    "text_classification": text_classification.read_from,
}
READ_FROM_CORPUS = ("pydoc",)  # the others have files of their own


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """The items of a task; `corpus` is the prepared corpus, which the embedded tasks are made of."""
    if task.family not in FAMILIES:
        raise ConfigError(f"task.family={task.family!r} is unknown. Allowed: {', '.join(FAMILIES)}.")
    if task.path and task.hub is not None and task.hub.revision:
        raise ConfigError(
            f"task.path={task.path} and task.hub.revision: both say where {task.name} is. Allowed is one."
        )
    from_hub = task.hub is not None and task.hub.revision
    data = hub.load(task) if from_hub else FAMILIES[task.family](task, corpus)
    if task.num_labels and data.labels and len(data.labels) != task.num_labels:
        found = f"{len(data.labels)} classes are there ({', '.join(data.labels)})"
        raise ConfigError(
            f"task.num_labels={task.num_labels}: {found}. Allowed: that number, or 0 for what the files have."
        )
    if task.head == "classification" and task.metric == "f1" and len(data.labels) > 2:
        raise ConfigError(
            f"task.metric=f1 is that of two classes, {len(data.labels)} are there. Use task.metric=f1_macro."
        )
    return data


def counts(data: TaskData) -> dict[str, int]:
    """The items of each split, as used: after `num_train` and `num_dev`."""
    return {"train": len(data.train), "dev": len(data.dev), **{name: len(items) for name, items in data.others.items()}}
