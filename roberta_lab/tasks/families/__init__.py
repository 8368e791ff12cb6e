"""The families of downstream tasks, one file for each: it reads the items, while features and scores are those of the head."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.families.base import Family
from roberta_lab.tasks.heads import HEADS
from roberta_lab.tasks.items import TaskData

FAMILIES = (  # names of files in this folder; the `FAMILY` of each says what there is to know
    "pydoc",  # four tasks of the embedded corpus
    "glue",  # nine tasks of sentences and pairs
    "squad",  # 1.1 and 2.0
    "race",  # questions of examinations
    "ner",  # words with tags
    "text_classification",  # a user's own texts
)


def get(name: str) -> Family:
    """Return a family. Raises ConfigError for a name that is none of `FAMILIES`."""
    if name not in FAMILIES:
        raise ConfigError(f"task.family={name!r} is unknown. Allowed: {', '.join(FAMILIES)}.")
    return import_module(f"{__name__}.{name}").FAMILY


def check(task: TaskConfig) -> None:
    """Raise ConfigError for a head that is unknown, or a metric that the task does not have."""
    if task.head not in HEADS:
        raise ConfigError(f"task.head={task.head}: unknown. Allowed: {', '.join(HEADS)}.")
    entry = HEADS[task.head]
    allowed = get(task.family).metrics.get(task.name, entry.metrics) if task.family in FAMILIES else entry.metrics
    if task.num_labels > 2:
        allowed = tuple(metric for metric in allowed if metric not in entry.two_class_metrics)
    if task.metric not in allowed:
        raise ConfigError(
            f"task.metric={task.metric}: unknown for {task.head} ({task.name}). Allowed: {', '.join(allowed)}."
        )


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """Return the items of a task; `corpus` is the prepared corpus, which the embedded tasks are made of. Raises ConfigError."""
    family, is_on_hub = get(task.family), task.hub is not None and bool(task.hub.revision)
    if task.path and is_on_hub:
        raise ConfigError(
            f"task.path={task.path} and task.hub.revision: both say where {task.name} is. Allowed is one."
        )
    if is_on_hub and family.load_from_hub is None:
        allowed = ", ".join(name for name in FAMILIES if get(name).load_from_hub)
        raise ConfigError(f"task.hub: family {task.family} is not read from the hub. Allowed: {allowed}.")
    data = family.load_from_hub(task) if is_on_hub and family.load_from_hub else family.load(task, corpus)
    if task.num_labels and data.labels and len(data.labels) != task.num_labels:
        found = f"{len(data.labels)} classes are there ({', '.join(data.labels)})"
        raise ConfigError(
            f"task.num_labels={task.num_labels}: {found}. Allowed: that number, or 0 for what the files have."
        )
    _check_two_classes(task, data.labels)
    return data


def _check_two_classes(task: TaskConfig, labels: Sequence[str]) -> None:
    """Raise ConfigError for a metric of two classes where the files have another number."""
    if len(labels) in (0, 2) or task.head not in HEADS or task.metric not in HEADS[task.head].two_class_metrics:
        return
    found = f"{len(labels)} are there" if len(labels) > 2 else f"1 is there ({labels[0]})"
    raise ConfigError(f"task.metric={task.metric} is that of two classes, {found}. Use task.metric=f1_macro.")
