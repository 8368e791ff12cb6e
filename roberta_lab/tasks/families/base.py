"""The contract of a family of tasks: what its file says beside reading the items."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roberta_lab.config import TaskConfig
from roberta_lab.tasks.items import Predictions, TaskData


@dataclass(frozen=True)
class Submission:
    """The files that others score."""

    # task, split, predictions, names of the classes -> the text of each file, by its name
    texts: Callable[[TaskConfig, str, Predictions, Sequence[str]], dict[str, str]]
    # task -> the splits that have a file; None: dev and every split beside it, in a folder for each
    splits: Callable[[TaskConfig], list[str]] | None = None


@dataclass(frozen=True)
class Family:
    """All that the project knows of a family. Its functions raise ConfigError in one line."""

    load: Callable[[TaskConfig, Path], TaskData]  # task, prepared corpus -> its items
    files: Callable[[TaskConfig], dict[str, Path]] | None = None  # what `load` opens, by split; None: the corpus alone
    load_from_hub: Callable[[TaskConfig], TaskData] | None = None  # the items of `task.hub`; None: it has none
    submission: Submission | None = None
    train_items: Mapping[str, int] = field(default_factory=dict)  # task -> items of its published training set
    metrics: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # task -> its metrics, where a head has more
