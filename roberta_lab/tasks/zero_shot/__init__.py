"""The yardsticks: tasks on which a pretrained model is scored as it is, without finetuning.

There is one file for each, read when it is used. This registry is read without torch.
"""

from importlib import import_module

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.zero_shot.base import Yardstick

YARDSTICKS = (  # names of files in this folder; the `YARDSTICK` of each says what there is to know
    "minimal_pairs",  # BLiMP, and pairs of your own
)


def is_yardstick(family: str) -> bool:
    """Return whether tasks of a family are scored without finetuning."""
    return family in YARDSTICKS


def get(family: str) -> Yardstick:
    """Return a yardstick. Raises ConfigError for a family that is none of `YARDSTICKS`."""
    if family not in YARDSTICKS:
        raise ConfigError(f"task.family={family!r} is no yardstick. Allowed: {', '.join(YARDSTICKS)}.")
    found: Yardstick = import_module(f"{__name__}.{family}").YARDSTICK
    return found


def check(task: TaskConfig) -> None:
    """Raise ConfigError for a metric that a yardstick does not have."""
    allowed = get(task.family).metrics
    if task.metric not in allowed:
        raise ConfigError(f"task.metric={task.metric}: unknown for {task.name}. Allowed: {', '.join(allowed)}.")
