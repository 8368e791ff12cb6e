"""SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018) from the original JSON (RoBERTa, Section 5.2).

Contexts stay as they are, character for character: answers are places in them, and each is checked.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from roberta_lab.config import TaskConfig
from roberta_lab.tasks.families import hub, reading
from roberta_lab.tasks.families.base import Family, Submission
from roberta_lab.tasks.families.reading import Fields, malformed
from roberta_lab.tasks.items import Item, Predictions, Span, TaskData
from roberta_lab.tasks.metrics import no_answer_probability

VERSIONS = {"squad1": "v1.1", "squad2": "v2.0"}
OFFICIAL = {"train-v1.1.json": 87_599, "dev-v1.1.json": 10_570, "train-v2.0.json": 130_319, "dev-v2.0.json": 11_873}


def load(task: TaskConfig, corpus: Path) -> TaskData:
    """Return the questions of SQuAD; `corpus` is not read. `squad1` refuses questions without an answer."""
    files = read_from(task)
    items = {split: read(path, task.name == "squad2") for split, path in files.items()}
    return reading.assembled(task, files, items, official=OFFICIAL)


def read_from(task: TaskConfig) -> dict[str, Path]:
    """Return the file of each split that `load` opens."""
    version = reading.known(task, VERSIONS)
    candidates = {split: (f"{split}-{version}.json",) for split in ("train", "dev")}
    folder = reading.task_folder(task, " and ".join(names[0] for names in candidates.values()), task.name, "squad")
    return reading.split_files(task, folder, candidates)


def read(path: Path, may_lack_answer: bool) -> list[Item]:
    """Return the questions of one file in its order, with the place of the first answer and the texts of all."""
    found: list[Item] = []
    seen: set[str] = set()
    try:
        articles = reading.json_object(path)["data"]
        for paragraph in (paragraph for article in articles for paragraph in article["paragraphs"]):
            for question in paragraph["qas"]:
                if question["id"] in seen:
                    raise malformed(path, None, f"question {question['id']} is there twice.")
                seen.add(question["id"])
                found.append(span(path, paragraph["context"], question, may_lack_answer))
    except (KeyError, TypeError, AttributeError) as error:
        where = f"after question {found[-1].id}" if found else "at its start"
        raise malformed(path, None, f"not SQuAD's structure {where} ({type(error).__name__}: {error}).") from None
    return found


def span(path: Path, context: str, question: Fields, may_lack_answer: bool) -> Span:
    """Return one question with its answers' places checked; raise ConfigError."""
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


def load_from_hub(task: TaskConfig) -> TaskData:
    """Return the questions of `task.hub`, where answers are two lists."""

    def item(path: Path, line: int, row: Fields) -> Span:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        return span(path, row["context"], {**row, "answers": answers}, task.name != "squad1")

    tables = hub.tables(task, ("id", "context", "question", "answers"))
    names = {"train": "train", "validation": "dev"}
    official = {there: OFFICIAL[f"{split}-{VERSIONS[task.name]}.json"] for there, split in names.items()}
    return reading.assembled(task, hub.names_of(tables), hub.items(tables, item), official=official)


def submission(task: TaskConfig, split: str, predictions: Predictions, labels: Sequence[str]) -> dict[str, str]:
    """Return `predictions.json`, the final texts; with log-odds of no answer also `answers.json` and `na_odds.json`.

    `evaluate-v2.0.py DEV answers.json --na-prob-file na_odds.json` gives the best thresholds, and with `--na-prob-thresh 0.5`
    every other score too; `evaluate-v1.1.py DEV predictions.json` those of SQuAD 1.1.
    """
    files: dict[str, Mapping[str, object]] = {"predictions.json": {p["id"]: p["prediction"] for p in predictions}}
    if task.name == "squad2" and all("no_answer" in p for p in predictions):
        files["answers.json"] = {p["id"]: p.get("answer", p["prediction"]) for p in predictions}
        files["na_odds.json"] = {p["id"]: no_answer_probability(p) for p in predictions}
    return {name: json.dumps(content, ensure_ascii=False) + "\n" for name, content in files.items()}


FAMILY = Family(
    load=load,
    files=read_from,
    load_from_hub=load_from_hub,
    submission=Submission(submission),
    train_items={name: OFFICIAL[f"train-{version}.json"] for name, version in VERSIONS.items()},
    metrics={"squad1": ("f1", "em")},  # its official script has no other, and every question has an answer
)
