"""The nouns of downstream tasks: an item, a prediction, and the splits of a task. Each head has its own class of items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Item(Protocol):
    """One example of a task; `tasks/heads/` has a frozen dataclass for each shape of them."""

    @property
    def id(self) -> str: ...

    @property
    def gold(self) -> object | None: ...  # what is right; None where it is not public


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
