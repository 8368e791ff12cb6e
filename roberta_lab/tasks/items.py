"""The nouns of downstream tasks: what one item of each head is, and what is predicted of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Classification:
    """One text, or two, and a class; None where the labels of a split are not public."""

    id: str
    text_a: str
    text_b: str | None
    label: int | None


@dataclass(frozen=True)
class Regression:
    """One text, or two, and a score."""

    id: str
    text_a: str
    text_b: str | None
    score: float | None


@dataclass(frozen=True)
class Span:
    """A question about a context. `answer` is (start, end) in the context's characters, None where it has none."""

    id: str
    question: str
    context: str
    answer: tuple[int, int] | None
    answers: tuple[str, ...] = ()  # all texts that count as right, where annotators gave several

    @property
    def answer_text(self) -> str:
        """The answer's own characters; empty where there is none."""
        return "" if self.answer is None else self.context[slice(*self.answer)]

    @property
    def golds(self) -> tuple[str, ...]:
        """The texts that count as right; one empty text where there is no answer."""
        return self.answers or (self.answer_text,)


@dataclass(frozen=True)
class Choice:
    """A text and candidates, one of which fits."""

    id: str
    text: str
    choices: tuple[str, ...]
    label: int | None
    group: str = ""  # a part of the task with a score of its own (RACE: middle, high)


@dataclass(frozen=True)
class Tagging:
    """A sentence in words, and a class for each of them."""

    id: str
    words: tuple[str, ...]
    labels: tuple[int, ...] | None


Item = Classification | Regression | Span | Choice | Tagging


def label_of(item: Item) -> Any:
    """What is right; None where it is not public."""
    if isinstance(item, Span):
        return item.golds
    return item.score if isinstance(item, Regression) else item.labels if isinstance(item, Tagging) else item.label


# Of one item, written as a line of predictions.jsonl. `id`, and `prediction`: a class (its number), a score, a text (empty
# where there is no answer), the number of a candidate, or the classes of the words. Beside it `logits` (classes, candidates),
# or for spans `answer` (the best text that is not empty), `score` and `no_answer` (log-odds that there is none).
Prediction = dict[str, Any]


@dataclass(frozen=True)
class TaskData:
    """The splits of a task. `labels` names its classes, in the order of their numbers."""

    train: list[Item]
    dev: list[Item]
    labels: tuple[str, ...] = ()
    others: Mapping[str, list[Item]] = field(default_factory=dict)  # dev_mm, test, ...: evaluated beside dev
    notes: tuple[str, ...] = ()  # lines for the console: items left out, counts that are not the official ones
