"""Downstream tasks. One file is one task family: it reads items; features and metrics are shared.

A new family is a module with `load(task, corpus) -> TaskData`, one entry in `FAMILIES`, and a YAML per task.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks import pydoc
from roberta_lab.tasks.items import TaskData

FAMILIES: dict[str, Callable[[TaskConfig, Path], TaskData]] = {"pydoc": pydoc.load}


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """The items of a task; `corpus` is the prepared corpus, which the embedded tasks are made of."""
    if task.family not in FAMILIES:
        raise ConfigError(f"task.family={task.family!r} is unknown. Allowed: {', '.join(FAMILIES)}.")
    return FAMILIES[task.family](task, corpus)
