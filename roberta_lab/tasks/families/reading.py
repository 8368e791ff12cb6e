"""Files of downstream tasks: where they lie, their lines and rows, and what is wrong with them, by file and line.

A line that cannot be read is an error and not left out: a score on fewer items would look like a score on all of them. Where
the official data itself has such lines, the family says so, leaves them out and counts them in `TaskData.notes`.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from roberta_lab.axes.rng import generator
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.config.paths import user_path
from roberta_lab.data.corpus.sources.compressed import BROKEN
from roberta_lab.data.corpus.sources.files import open_plain
from roberta_lab.data.corpus.sources.rows import Twice, expect_distinct, object_of
from roberta_lab.tasks.items import Item, TaskData

T = TypeVar("T")
Fields = dict[str, Any]  # values by name, as a file has them: not checked yet
Row = tuple[int, Fields]  # the number of its line, from 1, and its values by column
Candidates = Mapping[str, Sequence[str]]  # split -> the names that its file may have, the official one first
NEEDED = ("train", "dev")
NO_LABEL = "-1"  # in a test file whose labels are not public
_LONGEST_FIELD = 1 << 24  # characters of a CSV field; the csv module stops at 131,072 unless told
_HIGH, _LOW = r"u[dD][89abAB][0-9a-fA-F]{2}", r"u[dD][c-fC-F][0-9a-fA-F]{2}"
# of JSON, one after another; the group is half a surrogate pair
_ESCAPE = re.compile(rf"\\(?:{_HIGH}\\{_LOW}|({_HIGH}|{_LOW})|.)", re.DOTALL)


def malformed(path: Path, line: int | None, reason: str) -> ConfigError:
    """Return the error of a line, or of a file as a whole."""
    return ConfigError(f"{path}{'' if line is None else f', line {line}'}: {reason}")


def known(task: TaskConfig, table: Mapping[str, T]) -> T:
    """Return what a family's table has of the task. Raises ConfigError for a name that is not in it."""
    if task.name not in table:
        raise ConfigError(f"task.name={task.name!r} is unknown in family {task.family}. Allowed: {', '.join(table)}.")
    return table[task.name]


def task_folder(task: TaskConfig, files: str, *names: str) -> Path:
    """Return `task.path`, or the sub-folder of one of `names` in it (in any case of letters); messages name the `files`.

    Where `task.path` has nothing but folders, it may be in the one with the name of the family: so one folder can hold the tasks
    of a whole table. Hidden files beside them do not count.
    """
    if not task.path:
        raise ConfigError(
            f"task={task.name} needs its original files: task.path=FOLDER with {files}; or task.hub.revision."
        )
    path = user_path(task.path)
    if not path.is_dir():
        raise ConfigError(f"task.path={task.path}: no such folder. Allowed: a folder with {files}.")
    own = _folder_in(path, *names)
    if own is None and _has_only_folders(path) and (family := _folder_in(path, task.family)):
        path, own = family, _folder_in(family, *names)
    return own or path


def _has_only_folders(path: Path) -> bool:
    return all(entry.is_dir() or entry.name.startswith(".") for entry in path.iterdir())


def _folder_in(path: Path, *names: str) -> Path | None:
    """Return the sub-folder of the first name that has one, in any case of letters; None without."""
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    return next((folder for name in names for folder in folders if folder.name.lower() == name.lower()), None)


def check_left_out(task: TaskConfig, needed: Sequence[str]) -> None:
    """Raise ConfigError where `task.files` leaves out a split, by an empty name, that is needed."""
    for split in needed:
        if task.files.get(split) == "":
            raise ConfigError(f"task.files.{split} is empty and leaves {split} out, which {task.name} needs.")


def split_files(
    task: TaskConfig, folder: Path, candidates: Candidates, needed: Sequence[str] = NEEDED, expect_one: bool = False
) -> dict[str, Path]:
    """Return the file of each split: what `task.files` names, else the first candidate. A `needed` one must be there.

    An empty name leaves a split out. With `expect_one`, a split with several candidates is an error where `task.files` names none.
    """
    check_left_out(task, needed)
    found = {split: folder / user_path(name) for split, name in task.files.items() if name}
    for split, path in found.items():
        if not path.exists():
            raise ConfigError(f"task.files.{split}={task.files[split]}: there is no {path}.")
    for split, names in candidates.items():
        there = [folder / name for name in names if (folder / name).exists()]
        if not there or split in task.files:
            continue
        if expect_one and len(there) > 1:
            both = " and ".join(path.name for path in there)
            raise ConfigError(
                f"task={task.name}: {folder} has {both}. Say which is {split}: task.files.{split}={there[0].name}."
            )
        found[split] = there[0]
    for split in needed:
        if split not in found:
            names = " or ".join(candidates.get(split, ())) or f"a file named by task.files.{split}"
            other = f" Another name: task.files.{split}=FILE." if split in candidates else ""
            raise ConfigError(f"task={task.name}: {folder} has no {names}.{other}")
    order = [*NEEDED, *candidates, *task.files]
    return {split: found[split] for split in sorted(found, key=order.index)}


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file from 1, without their ends. Only a line feed ends a line; a byte order mark is no text.

    UTF-16 and UTF-32 are read where a mark says so.
    """
    number = 1
    try:
        with open_plain(path) as file:
            for number, raw in enumerate(file, 1):
                text = raw.decode("utf-8")
                yield number, (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise malformed(path, number, f"not UTF-8 (byte {error.start} of the line: {error.reason}).") from None
    except BROKEN as error:
        raise malformed(path, None, f"cannot be read ({getattr(error, 'strerror', None) or error}).") from None


def tsv_rows(path: Path, header: Sequence[str] = (), fewer: list[int] | None = None) -> Iterator[Row]:
    """Yield the rows of a file of tabs, where a quote is a quote (GLUE). Blank lines at the end are none.

    A file that starts without its columns has those of `header`. Lines with too few fields are errors, or noted in `fewer`.
    """
    columns, blank = list(header), 0
    for number, line in lines(path):
        if not columns:
            columns = [name.strip() for name in line.split("\t")]
            expect_distinct(columns, f"{path}, line {number}")
            continue
        if not line:
            blank = blank or number
            continue
        if blank:
            raise malformed(path, blank, "blank, though lines follow.")
        fields = line.split("\t")
        if len(fields) < len(columns) and fewer is not None:
            fewer.append(number)
        elif len(fields) != len(columns):
            raise malformed(path, number, f"{len(fields)} fields, but {len(columns)} columns ({', '.join(columns)}).")
        else:
            yield number, dict(zip(columns, fields, strict=True))


def csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file of commas, where a quoted field may hold commas, quotes (doubled) and line ends."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with io.TextIOWrapper(open_plain(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            expect_distinct(columns, f"{path}, line 1")
            for fields in reader:
                if len(fields) != len(columns) and fields:
                    raise malformed(
                        path,
                        reader.line_num,
                        f"{len(fields)} fields, but {len(columns)} columns ({', '.join(columns)}).",
                    )
                if fields:
                    yield reader.line_num, dict(zip(columns, fields, strict=True))
    except BROKEN as error:
        raise malformed(path, None, f"cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    except csv.Error as error:
        raise malformed(path, reader.line_num, f"no CSV ({error}).") from None
    except UnicodeDecodeError as error:
        raise malformed(path, reader.line_num + 1, f"not UTF-8 near here ({error.reason}).") from None
    finally:
        csv.field_size_limit(before)


def jsonl_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a file of JSON lines; blank lines are none."""
    for number, line in lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=object_of)
        except RecursionError:
            raise malformed(path, number, "no JSON that is read: nested too deeply.") from None
        except ValueError as error:
            raise malformed(path, number, f"no JSON ({error}).") from None
        if isinstance(row, Twice):
            expect_distinct(row.elements(), f"{path}, line {number}")
        if not isinstance(row, dict):
            raise malformed(path, number, "no JSON object.")
        _expect_characters(path, line, number)
        yield number, row


def _expect_characters(path: Path, text: str, first: int) -> None:
    """Raise ConfigError where valid JSON escapes half a surrogate pair, which no UTF-8 can hold; `first` is the text's line."""
    if "\\ud" not in text and "\\uD" not in text:
        return
    for found in _ESCAPE.finditer(text):
        if found[1]:
            line = first + text.count("\n", 0, found.start())
            raise malformed(path, line, f"{found[0]} is half a surrogate pair, which is no character.")


def parse_score(path: Path, line: int, text: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Return the finite number that a text says, from `low` to `high`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        between = f" from {low} to {high}" if math.isfinite(low) else ""
        raise malformed(path, line, f"the score is {text!r}. Allowed: a number{between}.")
    return value


def json_object(path: Path) -> Fields:
    """Return the object that is a whole file."""
    try:
        with open_plain(path) as file:
            text = file.read().decode("utf-8-sig")
        found = json.loads(text)
    except BROKEN as error:
        raise malformed(path, None, f"cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    except UnicodeDecodeError as error:
        raise malformed(path, None, f"not UTF-8 (byte {error.start}: {error.reason}).") from None
    except json.JSONDecodeError as error:
        raise malformed(path, error.lineno, f"no JSON ({error.msg}).") from None
    except RecursionError:
        raise malformed(path, None, "no JSON that is read: nested too deeply.") from None
    except ValueError as error:  # a number of thousands of digits
        raise malformed(path, None, f"no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise malformed(path, None, "no JSON object.")
    _expect_characters(path, text, 1)
    return found


def sample(items: Sequence[T], size: int | None, name: str) -> Sequence[T]:
    """Return `size` of the items by a draw that is the same for every run, in the file's order; a larger size adds to a smaller.

    Files are often sorted by class or source, so their first items are no sample.
    """
    if size is None or size >= len(items):
        return items
    if size < 1:
        raise ConfigError(f"{name.replace('/', ': num_')}={size}: allowed is 1 or more.")
    return [items[i] for i in np.sort(generator(0, f"sample/{name}").permutation(len(items))[:size])]


def assembled(
    task: TaskConfig,
    files: Mapping[str, Path],
    items: Mapping[str, Sequence[Item]],
    labels: Sequence[str] = (),
    official: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> TaskData:
    """Return the splits of a task, cut to `num_train` and, where labels are known, `num_dev`.

    A note says where a file has another number of items than the published one (`official`, by file name).
    """
    for split in NEEDED:
        if not items[split]:
            raise malformed(files[split], None, f"holds no items of {task.name}.")
    for split, found in items.items():
        unlabelled = sum(item.gold is None for item in found)
        if 0 < unlabelled < len(found):
            raise malformed(
                files[split], None, f"{unlabelled} of {len(found)} items have no label; allowed is all or none."
            )
    differing = [
        f"{path}: {len(items[split]):,} items; the official {path.name} has {expected:,}."
        for split, path in files.items()
        if (expected := (official or {}).get(path.name)) not in (None, len(items[split]))
    ]
    train = sample(items["train"], task.num_train, f"{task.name}/train")
    others = {
        split: sample(found, task.num_dev, f"{task.name}/dev") if found and found[0].gold is not None else found
        for split, found in items.items()
        if split != "train"
    }
    return TaskData(train, others.pop("dev"), tuple(labels), others, (*notes, *differing))
