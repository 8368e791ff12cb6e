"""Sizes of a task's splits."""

from roberta_lab.tasks.items import TaskData


def counts(data: TaskData) -> dict[str, int]:
    """Return the number of items of each split."""
    return {split: len(items) for split, items in data.splits.items()}
