"""The nouns of downstream tasks: items, one class for each shape of them, a prediction, and the splits of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Item(Protocol):
    """One example of a task."""

    @property
    def id(self) -> str: ...

    @property
    def gold(self) -> object | None: ...  # what is right; None where it is not public


@dataclass(frozen=True)
class TextItem:
    """One text, or two, and what is right."""

    id: str
    text_a: str
    text_b: str | None
    gold: float | None  # the number of a class, or a score


@dataclass(frozen=True)
class Choice:
    """A text and candidates, one of which fits."""

    id: str
    text: str
    choices: tuple[str, ...]
    gold: int | None
    group: str = ""  # a part of the task with a score of its own (RACE: middle, high)


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
        """Return the answer's own characters; empty where there is none."""
        return "" if self.answer is None else self.context[slice(*self.answer)]

    @property
    def gold(self) -> tuple[str, ...]:
        """Return the texts that count as right; one empty text where there is no answer."""
        return self.answers or (self.answer_text,)


@dataclass(frozen=True)
class Tagging:
    """A sentence in words, and a class for each of them."""

    id: str
    words: tuple[str, ...]
    gold: tuple[int, ...] | None


# The prediction of one item, written as a line of predictions.jsonl. `id`, and `prediction`: a class (its number), a score, a
# text (empty where there is no answer), the number of a candidate, or the classes of the words. Beside it `logits` (classes,
# candidates), or for spans `answer` (the best text that is not empty), `score` and `no_answer` (log-odds that there is none).
Prediction = dict[str, Any]
Predictions = list[Prediction]


@dataclass(frozen=True)
class TaskData:
    """The splits of a task. `labels` names its classes, in the order of their numbers."""

    train: Sequence[Item]
    dev: Sequence[Item]
    labels: tuple[str, ...] = ()
    others: Mapping[str, Sequence[Item]] = field(default_factory=dict)  # dev_mm, test, ...: evaluated beside dev
    notes: tuple[str, ...] = ()  # lines for the console: items left out, counts that are not the official ones

    @property
    def splits(self) -> dict[str, Sequence[Item]]:
        """Return the items of every split as used, after `num_train` and `num_dev`: train, dev, and the others."""
        return {"train": self.train, "dev": self.dev, **self.others}


def in_words(item: Item, value: Any, labels: Sequence[str]) -> str:
    """Return a prediction of an item, or what is right, as people read it."""
    if isinstance(item, Span):
        texts = [value] if isinstance(value, str) else value
        return " / ".join(dict.fromkeys(text or "(no answer)" for text in texts))
    if isinstance(item, Choice):
        return item.choices[value]
    if isinstance(item, Tagging):
        return " ".join(labels[number] for number in value)
    return labels[int(value)] if labels and float(value) == int(value) else f"{value:.3g}"


def texts_of(item: Item, fields: Sequence[str]) -> dict[str, str]:
    """Return the texts of an item by name; `fields` are those of its head."""
    found = {name: getattr(item, name, None) for name in fields}
    return {n: text if isinstance(text, str) else " | ".join(text) for n, text in found.items() if text is not None}
