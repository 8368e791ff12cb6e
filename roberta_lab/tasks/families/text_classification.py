"""Classes, or scores, of a user's own texts: one or two columns of text and one of labels, in csv, tsv or jsonl files.

The ending of a file says how it is read: .csv with quotes, .tsv without (a quote is a quote), .jsonl an object a line.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import compress
from pathlib import Path

import numpy as np

from roberta_lab.axes.rng import generator
from roberta_lab.config import ConfigError, TaskConfig, nearest
from roberta_lab.tasks.families import hub, reading
from roberta_lab.tasks.families.base import Family
from roberta_lab.tasks.families.reading import NO_LABEL, Row, malformed
from roberta_lab.tasks.items import Item, TaskData, TextItem

READERS = {".csv": reading.csv_rows, ".tsv": reading.tsv_rows, ".jsonl": reading.jsonl_rows}
COLUMNS = {"text_a": "text", "text_b": "", "label": "label", "id": ""}
DEV_SHARE = 0.1  # of the train items, where there is no dev file
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_HEADS = ("classification", "regression")
Labelled = tuple[int, str, str, str | None, str | None]  # line, id, text_a, text_b, label


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """Return the items of a user's files, with train's classes: by size if they are numbers, else by name.

    In a test file whose labels are all -1 or all empty, they are not public. JSON's true and false are classes of these names.
    """
    if task.head not in _HEADS:
        raise ConfigError(f"task.head={task.head}: unknown in {task.family}. Allowed: {', '.join(_HEADS)}.")
    tables = {}
    for split, path in files_of(task).items():
        if path.suffix not in READERS:
            raise malformed(path, None, f"the ending {path.suffix!r} is unknown. Allowed: {', '.join(READERS)}.")
        tables[split] = path, READERS[path.suffix](path)
    return load_rows(task, tables)


def files_of(task: TaskConfig) -> dict[str, Path]:
    """Return the file of each split; dev may lack."""
    candidates = {split: tuple(f"{split}{ending}" for ending in READERS) for split in ("train", "dev", "test")}
    what = "a train file (.csv, .tsv or .jsonl; also named by task.files.train), and a dev file"
    return reading.split_files(task, reading.task_folder(task, what), candidates, ("train",), expect_one=True)


def read_from(task: TaskConfig) -> dict[str, Path]:
    """Return what `load` opens, by split and ending, which says how it is read."""
    return {f"{split}{path.suffix}": path for split, path in files_of(task).items()}


def load_rows(task: TaskConfig, tables: Mapping[str, tuple[Path, Iterable[Row]]]) -> TaskData:
    """Return the items of tables, each under its path's name; those of train give the classes, and dev where it is not there."""
    for key in task.columns:
        if key not in COLUMNS:
            raise ConfigError(f"task.columns.{key}: no such column. Allowed: {', '.join(COLUMNS)}.")
    columns = {**COLUMNS, **task.columns}
    for key in ("text_a", "label"):
        if not columns[key]:
            raise ConfigError(f"task.columns.{key} is empty; allowed is the name of a column.")
    read, known = dict[str, list[Labelled]](), set[str | None]()
    for split, (path, rows) in tables.items():  # train is the first
        read[split] = _labelled(path, rows, columns, split, known)
        known = known or {label for *_, label in read[split]}
    files = hub.names_of(tables)
    labels: tuple[str, ...] = ()
    if task.head == "classification":
        found = {label for label in known if label is not None}
        numbers = all(_NUMBER.fullmatch(label) for label in found)
        # 1 and 01 are two labels of one size: their spelling says which is first, in every process
        labels = tuple(sorted(found, key=lambda label: (float(label) if numbers else 0.0, label)))
    items = {split: [_item(files[split], row, labels) for row in rows] for split, rows in read.items()}
    notes: list[str] = []
    if "dev" not in files:
        items["train"], items["dev"] = _shared(items["train"], task.name)
        files = {**files, "dev": files["train"]}
        notes.append(
            f"{files['train']}: without a dev split, {len(items['dev']):,} of its items, drawn by key, are dev."
        )
    return reading.assembled(task, files, items, labels, notes=notes)


def _labelled(
    path: Path, rows: Iterable[Row], columns: dict[str, str], split: str, known: Set[str | None]
) -> list[Labelled]:
    """Return the rows of a table. `known` are labels of train: where -1 is one, it is one in a test file too."""
    found = list(_read(path, rows, columns, split))
    labels = {label for *_, label in found}
    if split.startswith("test") and labels in ({NO_LABEL}, {""}) and not labels & known:
        return [(line, name, text_a, text_b, None) for line, name, text_a, text_b, _ in found]
    for line, *_, label in found:
        if label == "":
            raise malformed(path, line, "the label is ''. Allowed: a text, a number, true or false.")
    return found


def _read(path: Path, rows: Iterable[Row], columns: dict[str, str], split: str) -> Iterator[Labelled]:
    for number, (line, row) in enumerate(rows):
        for key in ("text_a", "text_b", "id", *([] if split.startswith("test") else ["label"])):
            if columns[key] and columns[key] not in row:
                hint = nearest(columns[key], list(row))
                what = f"no column {columns[key]!r} (task.columns.{key}).{hint} It has: {', '.join(row)}."
                raise malformed(path, line if path.suffix == ".jsonl" else 1, what)  # else the header has them
        text_b = _text(path, line, columns["text_b"], row[columns["text_b"]]) if columns["text_b"] else None
        name = str(row[columns["id"]]) if columns["id"] else str(number)
        label = _label(path, line, row[columns["label"]]) if columns["label"] in row else None
        yield line, name, _text(path, line, columns["text_a"], row[columns["text_a"]]), text_b, label


def _text(path: Path, line: int, column: str, value: object) -> str:
    if not isinstance(value, str):
        raise malformed(path, line, f"{column!r} is {value!r}. Allowed: a text.")
    return value.strip()


def _label(path: Path, line: int, value: object) -> str:
    """Return a label as text: 1 and "1" are the same, true is "true"; None is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float | None):
        raise malformed(path, line, f"the label is {value!r}. Allowed: a text, a number, true or false.")
    return "" if value is None else str(value).strip()


def _item(path: Path, row: Labelled, labels: tuple[str, ...]) -> Item:
    line, name, text_a, text_b, label = row
    if label is None:
        return TextItem(name, text_a, text_b, None)
    if labels and label not in labels:
        raise malformed(path, line, f"the label is {label!r}, which no train item has. Known: {', '.join(labels)}.")
    return TextItem(name, text_a, text_b, labels.index(label) if labels else reading.parse_score(path, line, label))


def _shared(items: list[Item], name: str) -> tuple[list[Item], list[Item]]:
    """Return train and dev of one file, by a draw that is the same for every run; both in the file's order."""
    order = generator(0, f"dev/{name}").permutation(len(items))
    in_dev = np.zeros(len(items), bool)
    in_dev[order[: max(1, round(len(items) * DEV_SHARE))]] = True
    return list(compress(items, ~in_dev)), list(compress(items, in_dev))


def load_from_hub(task: TaskConfig) -> TaskData:
    """Return the items of `task.hub`; a label may be a number with a name."""
    columns = {**COLUMNS, **task.columns}
    tables = hub.tables(task, [name for name in columns.values() if name], needed=("train",))

    def named(source: hub.HubTable) -> Iterator[Row]:
        names = hub.class_names(source, columns["label"])
        for number, row in hub.rows(source):
            label = row[columns["label"]]
            if isinstance(label, float) and label == int(NO_LABEL):
                row[columns["label"]] = int(NO_LABEL)  # as files spell it
            if source.split.startswith("test") and (label is None or (names is not None and label == int(NO_LABEL))):
                del row[columns["label"]]
            elif names is not None and isinstance(label, int) and label in range(len(names)):
                row[columns["label"]] = names[label]
            yield number, row

    return load_rows(task, {split: (path, named(source)) for split, (path, source) in tables.items()})


FAMILY = Family(load=load, files=read_from, load_from_hub=load_from_hub)
