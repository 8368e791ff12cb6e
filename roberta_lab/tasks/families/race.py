"""RACE (Lai et al. 2017) from its folders of passages, a JSON file each (RoBERTa, Section 5.3).

A candidate is the question and one of its options; where the question has a blank, the option stands in it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from roberta_lab.config import TaskConfig
from roberta_lab.tasks.families import hub
from roberta_lab.tasks.families.base import Family
from roberta_lab.tasks.families.reading import Fields, assembled, json_object, malformed, split_files, task_folder
from roberta_lab.tasks.items import Choice, TaskData

GROUPS = ("middle", "high")
LETTERS = "ABCD"
OFFICIAL = {
    **{("train", "middle"): 25_421, ("dev", "middle"): 1_436, ("test", "middle"): 1_436},
    **{("train", "high"): 62_445, ("dev", "high"): 3_451, ("test", "high"): 3_498},
}


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """Return the questions of both groups, middle first; `corpus` is not read."""
    files = files_of(task)
    items, notes = {}, []
    for split, path in files.items():
        folders = {group: path / group for group in GROUPS if (path / group).is_dir()}
        by_group = {g: [item for file in _passages(f) for item in _passage(file, g)] for g, f in folders.items()}
        if not by_group:
            raise malformed(path, None, "neither a folder middle nor a folder high in it.")
        items[split] = list(chain.from_iterable(by_group.values()))
        for group in GROUPS:
            expected, number = OFFICIAL.get((path.name, group)), len(by_group.get(group, ()))
            if expected is not None and number != expected:
                notes.append(f"{path / group}: {number:,} items; the official {split}/{group} has {expected:,}.")
    return assembled(task, files, items, notes=notes)


def files_of(task: TaskConfig) -> dict[str, Path]:
    """Return the folder of each split."""
    what = "RACE's folders train and dev, with middle/*.txt and high/*.txt"
    folder = task_folder(task, what, "RACE")
    return split_files(task, folder, {split: (split,) for split in ("train", "dev", "test")})


def read_from(task: TaskConfig) -> dict[str, Path]:
    """Return what `load` opens: each passage, by split, group and name. Folders may be links."""
    folders = [(split, group, path / group) for split, path in files_of(task).items() for group in GROUPS]
    return {f"{split}/{group}/{path.name}": path for split, group, folder in folders for path in _passages(folder)}


def _passages(folder: Path) -> list[Path]:
    """Return the passages of a folder in the order of their numbers."""
    return sorted(folder.glob("*.txt"), key=lambda path: (len(path.stem), path.stem))


def _passage(path: Path, group: str) -> list[Choice]:
    record = json_object(path)
    for key in ("article", "questions", "options", "answers"):
        if key not in record:
            raise malformed(path, None, f"no key {key!r}. It has: {', '.join(record)}.")
        if key != "article" and not isinstance(record[key], list):
            raise malformed(path, None, f"{key} is no list.")
    questions, options, answers = record["questions"], record["options"], record["answers"]
    if not len(questions) == len(options) == len(answers):
        counts = f"{len(questions)} questions, {len(options)} lists of options and {len(answers)} answers"
        raise malformed(path, None, f"{counts}; allowed is the same number of each.")
    rows = enumerate(zip(questions, options, answers, strict=True))
    try:
        return [choice(path, (group, f"{path.stem}:{number}"), record["article"], *row) for number, row in rows]
    except (TypeError, AttributeError) as error:
        raise malformed(path, None, f"a text is no text ({error}).") from None


def choice(
    path: Path, name: tuple[str, str], article: str, question: str, options: Sequence[str], answer: str
) -> Choice:
    """Return one question; `name` is its group and its id in it. Raises ConfigError."""
    if len(options) != len(LETTERS) or answer not in tuple(LETTERS):
        what = f"question {name[1]} has {len(options)} options and the answer {answer!r}"
        raise malformed(path, None, f"{what}; allowed are {len(LETTERS)} options and one of {', '.join(LETTERS)}.")
    choices = tuple(candidate(question, option) for option in options)
    return Choice("/".join(name), squeezed(article), choices, LETTERS.index(answer), name[0])


def candidate(question: str, option: str) -> str:
    """Return the question with the option in its blank, or behind it."""
    return squeezed(re.sub("_+", lambda _: option, question) if "_" in question else f"{question} {option}")


def squeezed(text: str) -> str:
    """Replace each run of white space by one space."""
    return " ".join(text.split())


def load_from_hub(task: TaskConfig) -> TaskData:
    """Return the questions of `task.hub`, where each is a row."""
    tables = hub.tables(task, ("example_id", "article", "question", "options", "answer"), subset="all")
    asked: Counter[tuple[Path, str]] = Counter()

    def item(path: Path, line: int, row: Fields) -> Choice:
        passage = row["example_id"].removesuffix(".txt")
        group = next((group for group in GROUPS if passage.startswith(group)), "")
        name = f"{passage.removeprefix(group)}:{asked[path, passage]}"
        asked[path, passage] += 1
        return choice(path, (group, name), row["article"], row["question"], row["options"], row["answer"])

    return assembled(task, hub.names_of(tables), hub.items(tables, item))


FAMILY = Family(
    load=load,
    files=read_from,
    load_from_hub=load_from_hub,
    train_items={"race": sum(OFFICIAL["train", group] for group in GROUPS)},
)
