"""Tables of the Hugging Face hub at a pinned commit, for families that read the same tasks from there in other shapes.

`task.files` names splits here: `task.files.dev=validation`; an empty name leaves a split out, as with files.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data.corpus.sources import hub
from roberta_lab.data.corpus.sources.hub import HubTable, class_names
from roberta_lab.tasks.families.reading import NEEDED, Candidates, Fields, Row, check_left_out
from roberta_lab.tasks.items import Item

__all__ = ["HubTable", "class_names", "items", "names_of", "rows", "tables"]
SPLITS: Candidates = {"train": ("train",), "dev": ("validation", "dev"), "test": ("test",)}
Tables = dict[str, tuple[Path, HubTable]]  # split -> what it is called in errors, its table


def tables(
    task: TaskConfig,
    columns: Sequence[str],
    subset: str | None = None,
    candidates: Candidates = SPLITS,
    needed: Sequence[str] = NEEDED,
) -> Tables:
    """Return each split of `task.hub`, of a `subset` where the task names none, with its name for errors.

    Raises: ConfigError for a `needed` split that is not there.
    """
    assert task.hub is not None
    check_left_out(task, needed)
    source = HubTable(**{**vars(task.hub), "subset": task.hub.subset or subset}, columns=tuple(columns))
    there = hub.split_names(source)
    found: Tables = {}
    for split in (split for split in dict.fromkeys((*candidates, *task.files)) if task.files.get(split) != ""):
        choices = (task.files[split],) if split in task.files else candidates[split]
        name = next((name for name in choices if name in there), None)
        if name is None and (split in needed or split in task.files):
            what = f"no split {' or '.join(choices)}"
            raise ConfigError(f"hub dataset {source.path} has {what}. It has: {', '.join(there)} (task.files.{split}).")
        if name is not None:
            found[split] = Path(source.path) / name, replace(source, split=name)
    return found


def rows(source: HubTable) -> Iterator[Row]:
    """Yield the rows of a split, counted from 1."""
    shards = range(hub.num_shards(source))
    found = (row for shard in shards for _, row in hub.rows(source, shard, Counter()) if isinstance(row, dict))
    yield from enumerate(found, 1)


def items(found: Tables, item: Callable[[Path, int, Fields], Item]) -> dict[str, list[Item]]:
    """Return the items of each split: what `item` makes of the split's name, a row's number, and the row."""
    return {split: [item(path, *row) for row in rows(source)] for split, (path, source) in found.items()}


def names_of(found: Mapping[str, tuple[Path, object]]) -> dict[str, Path]:
    """Return each split's name for errors and notes."""
    return {split: path for split, (path, _) in found.items()}
