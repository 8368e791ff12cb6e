"""The nouns of downstream tasks: what one item of each head is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Classification:
    """One text, or two, and a class."""

    id: str
    text_a: str
    text_b: str | None
    label: int


@dataclass(frozen=True)
class Span:
    """A question about a context. `answer` is (start, end) in the context's characters, None where it has none."""

    id: str
    question: str
    context: str
    answer: tuple[int, int] | None

    @property
    def answer_text(self) -> str:
        """The answer's own characters; empty where there is none."""
        return "" if self.answer is None else self.context[slice(*self.answer)]


@dataclass(frozen=True)
class Choice:
    """A text and candidates, one of which fits."""

    id: str
    text: str
    choices: tuple[str, ...]
    label: int


Item = Classification | Span | Choice


@dataclass(frozen=True)
class TaskData:
    """Both splits of a task. `baseline` is what the best constant prediction gets on dev, per item: 0 to 1 each."""

    train: list[Item]
    dev: list[Item]
    baseline: list[float]

    @property
    def majority(self) -> float:
        """The score of the best constant prediction on dev, 0 to 100."""
        return 100 * sum(self.baseline) / max(1, len(self.baseline))
