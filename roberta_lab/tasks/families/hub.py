"""The same tasks from datasets of the Hugging Face hub at a pinned commit (roberta_lab/corpus/hub.py), which have other shapes.

GLUE and RACE are one dataset with subsets, labels are numbers in GLUE's order and -1 where they are not public, SQuAD's answers
are two lists, tags are numbers with names. `task.files` names splits here: `task.files.dev=validation`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from roberta_lab.config import ConfigError, HubConfig, TaskConfig
from roberta_lab.data.corpus.sources import hub
from roberta_lab.tasks.families import glue, ner, race, squad, text_classification
from roberta_lab.tasks.families.reading import NEEDED, Row, assembled, malformed
from roberta_lab.tasks.items import Classification, Item, Regression, TaskData

SPLITS: dict[str, tuple[str, ...]] = {"train": ("train",), "dev": ("validation", "dev"), "test": ("test",)}
MNLI_SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("validation_matched",),
    "dev_mm": ("validation_mismatched",),
    "test": ("test_matched",),
    "test_mm": ("test_mismatched",),
}

GLUE_TEXTS = {
    "mnli": ("premise", "hypothesis"),
    "mrpc": ("sentence1", "sentence2"),
}  # where they are not called as in the files
Tables = Mapping[str, tuple[Path, Iterator[Row]]]  # split -> what it is called in errors, its rows from 1


def load(task: TaskConfig) -> TaskData:
    """The items of `task.hub`; raises ConfigError for what is not there and for every trouble with the hub."""
    if task.family not in READERS:
        raise ConfigError(f"task.hub: family {task.family} is not read from the hub. Allowed: {', '.join(READERS)}.")
    return READERS[task.family](task)


def _tables(
    task: TaskConfig, columns: Sequence[str], subset: str | None = None, needed: Sequence[str] = NEEDED
) -> dict[str, tuple[Path, hub.HubTable]]:
    """Each split with its name for errors and the columns that are read of it; test splits only where they are there."""
    assert task.hub is not None
    keys = {field.name: getattr(task.hub, field.name) for field in dataclasses.fields(HubConfig)}
    source = hub.HubTable(**{**keys, "subset": task.hub.subset or subset}, columns=tuple(columns))
    there = hub.split_names(source)
    candidates = MNLI_SPLITS if task.name == "mnli" else SPLITS
    found: dict[str, tuple[Path, hub.HubTable]] = {}
    for split in dict.fromkeys((*candidates, *task.files)):
        names = (task.files[split],) if split in task.files else candidates[split]
        name = next((name for name in names if name in there), None)
        if name is None and (split in needed or split in task.files):
            what = f"no split {' or '.join(names)}"
            raise ConfigError(f"hub dataset {source.path} has {what}. It has: {', '.join(there)} (task.files.{split}).")
        if name is not None:
            found[split] = Path(source.path) / name, dataclasses.replace(source, split=name)
    return found


def _rows(source: hub.HubTable) -> Iterator[Row]:
    """The rows of a split from 1."""
    number = 0
    for shard in range(hub.num_shards(source)):
        for _, row in hub.rows(source, shard, Counter()):
            number += 1
            yield number, row


def _glue(task: TaskConfig) -> TaskData:
    form = glue.format_of(task)
    text_a, text_b = GLUE_TEXTS.get(task.name, (form.text_a, form.text_b))
    tables = _tables(task, [text_a, *([text_b] if text_b else []), "label", "idx"], subset=task.name)
    items: dict[str, list[Item]] = {split: [] for split in tables}
    for split, (path, source) in tables.items():
        for number, row in _rows(source):
            name, first = str(row["idx"]), row[text_a].strip()
            second, label = row[text_b].strip() if text_b else None, row["label"]
            label = None if label is None or label == -1 else label
            if not form.labels:
                items[split].append(Regression(name, first, second, None if label is None else float(label)))
            elif label is None or label in range(len(form.labels)):
                items[split].append(Classification(name, first, second, label))
            else:
                allowed = f"Allowed: 0 to {len(form.labels) - 1}, or -1 for none"
                raise malformed(path, None, f"row {number}: the label is {label!r}. {allowed}.")
    official = {
        tables[split][0].name: form.official[names[0]] for split, names in form.splits.items() if split in tables
    }
    return assembled(task, {split: path for split, (path, _) in tables.items()}, items, form.labels, official)


def _squad(task: TaskConfig) -> TaskData:
    tables = _tables(task, ("id", "context", "question", "answers"))
    items: dict[str, list[Item]] = {split: [] for split in tables}
    for split, (path, source) in tables.items():
        for _, row in _rows(source):
            lists = row["answers"]
            answers = [
                {"text": text, "answer_start": start}
                for text, start in zip(lists["text"], lists["answer_start"], strict=True)
            ]
            question = {"id": row["id"], "question": row["question"], "answers": answers}
            items[split].append(squad.span(path, row["context"], question, task.name != "squad1"))
    official = {
        name: squad.OFFICIAL[f"{split}-{squad.VERSIONS[task.name]}.json"]
        for split, name in (("train", "train"), ("dev", "validation"))
    }
    return assembled(task, {split: path for split, (path, _) in tables.items()}, items, official=official)


def _race(task: TaskConfig) -> TaskData:
    tables = _tables(task, ("example_id", "article", "question", "options", "answer"), subset="all")
    items: dict[str, list[Item]] = {}
    for split, (path, source) in tables.items():
        asked: Counter[str] = Counter()
        found = items[split] = []
        for _, row in _rows(source):
            passage = row["example_id"].removesuffix(".txt")
            group = next((group for group in race.GROUPS if passage.startswith(group)), "")
            name = f"{passage.removeprefix(group)}:{asked[passage]}"
            asked[passage] += 1
            found.append(
                race.choice(path, (group, name), row["article"], row["question"], row["options"], row["answer"])
            )
    return assembled(task, {split: path for split, (path, _) in tables.items()}, items)


def _ner(task: TaskConfig) -> TaskData:
    words, label = (task.columns.get(key, default) for key, default in (("word", "tokens"), ("label", "ner_tags")))
    tables = _tables(task, (words, label))
    tagged: dict[str, list[ner.Tagged]] = {}
    for split, (path, source) in tables.items():
        names, found = hub.class_names(source, label), list[ner.Tagged]()
        for number, row in _rows(source):
            tags = [tag if isinstance(tag, str) or names is None else names[tag] for tag in row[label]]
            if len(tags) != len(row[words]) or not all(isinstance(tag, str) for tag in tags):
                what = f"{len(row[words])} words and {len(tags)} tags, or tags without names"
                raise malformed(path, None, f"row {number}: {what}.")
            if tags:
                found.append((list(row[words]), ner.iob2(path, number, tags)))
        tagged[split] = found
    labels, items = ner.numbered(tagged)
    return assembled(task, {split: path for split, (path, _) in tables.items()}, items, labels)


def _text_classification(task: TaskConfig) -> TaskData:
    columns = {**text_classification.COLUMNS, **task.columns}
    tables = _tables(task, [name for name in columns.values() if name], needed=("train",))

    def named(source: hub.HubTable) -> Iterator[Row]:
        names = hub.class_names(source, columns["label"])
        for number, row in _rows(source):
            label = row[columns["label"]]
            if label in (None, -1) and source.split.startswith("test"):
                del row[columns["label"]]
            elif names is not None and isinstance(label, int) and label in range(len(names)):
                row[columns["label"]] = names[label]
            yield number, row

    return text_classification.of_rows(task, {split: (path, named(source)) for split, (path, source) in tables.items()})


READERS: dict[str, Callable[[TaskConfig], TaskData]] = {
    "glue": _glue,
    "squad": _squad,
    "race": _race,
    "ner": _ner,
    "text_classification": _text_classification,
}
