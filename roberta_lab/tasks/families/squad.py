"""SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018) from the original JSON (RoBERTa, Section 5.2).

Contexts stay as they are, character for character: answers are places in them, and each is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.families.reading import assembled, json_object, malformed, split_files, task_folder
from roberta_lab.tasks.items import Item, Span, TaskData

VERSIONS = {"squad1": "v1.1", "squad2": "v2.0"}
OFFICIAL = {"train-v1.1.json": 87_599, "dev-v1.1.json": 10_570, "train-v2.0.json": 130_319, "dev-v2.0.json": 11_873}


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """The questions of SQuAD; `corpus` is not read. `squad1` refuses questions without an answer."""
    files = read_from(task)
    items = {split: read(path, task.name == "squad2") for split, path in files.items()}
    return assembled(task, files, items, official=OFFICIAL)


def read_from(task: TaskConfig) -> dict[str, Path]:
    """split -> the file that `load` opens."""
    if task.name not in VERSIONS:
        raise ConfigError(f"task.name={task.name!r} is unknown in family squad. Allowed: {', '.join(VERSIONS)}.")
    candidates = {split: (f"{split}-{VERSIONS[task.name]}.json",) for split in ("train", "dev")}
    folder = task_folder(task, " and ".join(names[0] for names in candidates.values()), "squad", task.name)
    return split_files(task, folder, candidates)


def read(path: Path, may_lack_answer: bool) -> list[Item]:
    """The questions of one file in its order, with the place of the first answer and the texts of all."""
    found: list[Item] = []
    seen: set[str] = set()
    try:
        for context, question in _questions(json_object(path)):
            if question["id"] in seen:
                raise malformed(path, None, f"question {question['id']} is there twice.")
            seen.add(question["id"])
            found.append(span(path, context, question, may_lack_answer))
    except (KeyError, TypeError, AttributeError) as error:
        where = f"after question {found[-1].id}" if found else "at its start"
        raise malformed(path, None, f"not SQuAD's structure {where} ({type(error).__name__}: {error}).") from None
    return found


def _questions(file: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for article in file["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield paragraph["context"], question


def span(path: Path, context: str, question: dict[str, Any], may_lack_answer: bool) -> Span:
    """One question with its answers' places checked; raises ConfigError."""
    name, answers = question["id"], question["answers"]
    if bool(question.get("is_impossible", not answers)) != (not answers):
        raise malformed(path, None, f"question {name}: is_impossible contradicts its {len(answers)} answers.")
    if not answers and not may_lack_answer:
        raise malformed(path, None, f"question {name} has no answer, which squad1 always has. Use task=squad2.")
    for answer in answers:
        start, text = answer["answer_start"], answer["text"]
        there = context[start : start + len(text)] if start >= 0 else ""
        if there != text or not text:
            raise malformed(path, None, f"question {name}: at {start} the context has {there!r}, not {text!r}.")
    texts = tuple(answer["text"] for answer in answers)
    place = (answers[0]["answer_start"], answers[0]["answer_start"] + len(texts[0])) if answers else None
    return Span(name, question["question"].strip(), context, place, texts)
