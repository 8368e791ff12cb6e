"""The contract of a yardstick: how its files are read, and how a model is scored on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import EvaluateConfig, TaskConfig

if TYPE_CHECKING:
    from roberta_lab.tasks.zero_shot.masked_model import MaskedModel

Progress = Callable[[int, int], object]  # what is done more, and what there is in all: of any one kind


@dataclass(frozen=True)
class Measured:
    """A model's score, from 0 to 100, with what it is made of."""

    score: float
    low: float  # 95% interval of the score
    high: float
    chance: float  # what a model scores that knows nothing of the texts
    metrics: Mapping[str, float]  # the score by its name, and those of parts
    predictions: Iterable[Mapping[str, object]]  # a line of predictions.jsonl each


class Items(Protocol):
    """What a yardstick has read."""

    def notes(self, encoding: Encoding, max_length: int) -> tuple[str, ...]:
        """Return lines for the console, on items and on a model of this tokenizer that reads at most so many tokens."""

    def __len__(self) -> int:
        """Return the number of items that are scored."""

    def measure(self, model: MaskedModel, config: EvaluateConfig, progress: Progress) -> Measured:
        """Return a model's score. Raises ConfigError for items that it cannot read."""


@dataclass(frozen=True)
class Yardstick:
    """All that the project knows of a yardstick. Its functions raise ConfigError in one line."""

    read: Callable[[TaskConfig], Items]
    files: Callable[[TaskConfig], dict[str, Path]]  # what `read` opens, by names that count in run ids
    metrics: tuple[str, ...]  # what task.metric may be
    counted: str  # what its items are called: pairs
    reads: tuple[str, ...] = ()  # keys of `evaluate` that change its score
