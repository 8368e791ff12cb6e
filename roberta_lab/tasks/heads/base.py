"""The contract of a head: everything that one kind of prediction needs, from its items to its scores.

A head has no state. Its file imports torch inside functions only, because files of tasks are read without torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import TaskConfig
from roberta_lab.tasks.features import Feature, PairFormat
from roberta_lab.tasks.items import Item, Prediction, TaskData
from roberta_lab.tasks.records import Record

if TYPE_CHECKING:
    from torch import Tensor, nn

    from roberta_lab.tasks.feature_table import FeatureTable

    Batch = Mapping[str, Tensor]  # of `FeatureTable.batch`
    Outputs = dict[str, Tensor]
    Batches = Iterator[tuple[np.ndarray, Batch, Outputs]]  # rows of the table, their batch, and what the model makes of it

I = TypeVar("I", bound=Item)  # noqa: E741
Scores = dict[str, float]
POOLED = {"classifier.dense": "{kind}.pooler.dense", "classifier.out": "classifier"}  # of transformers' models with a pooler


class Head(ABC, Generic[I]):
    """All that is special about one head; `I` is the class of its items."""

    name: ClassVar[str]  # its key in `HEADS`, or a variant
    fields: ClassVar[tuple[str, ...]]  # of the item, that a line of new text has
    shape: ClassVar[str]  # what such a line looks like, for messages
    auto_class: ClassVar[str]  # Hugging Face's class: AutoModelFor...
    tensors: ClassVar[Mapping[str, Mapping[str, str]]]  # kind of model (roberta, bert) -> layer here -> layer there
    card_note: ClassVar[str] = ""  # a sentence for the README.md of an exported folder
    inputs_per_item: ClassVar[int] = 1  # for estimates of costs

    # ---------------------------------------------------------------- items and inputs
    def plain_text(self, line: str) -> Mapping[str, object] | None:
        """Return the fields of a line of plain text; None where the head needs a JSON object."""
        return None

    @abstractmethod
    def item(self, record: Record) -> I:
        """Return the item of a line of new text, without what is to be predicted. Raises ConfigError."""

    @abstractmethod
    def features(self, items: Sequence[I], first: int, encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
        """Yield the inputs of items in their order; `first` is the number of the first item."""

    def width(self, item: I) -> int:
        """Return how many sequences each of an item's inputs has."""
        return 1

    def variant(self, task: TaskConfig, data: TaskData) -> str:
        """Return the name of the head that is trained on this data. Raises ConfigError where the metric asks for another."""
        return self.name

    def limit(self, pairs: PairFormat) -> str:
        """Return what is cut if it is longer, for messages."""
        return f"{pairs.max_length} tokens"

    # ---------------------------------------------------------------- the module
    @abstractmethod
    def layers(self, hidden: int, num_labels: int, dropout: float) -> dict[str, nn.Module]:
        """Return new layers; `head.NAME` is their place in a checkpoint."""

    @abstractmethod
    def outputs(self, layers: nn.ModuleDict, hidden: Tensor, batch: Batch) -> Outputs:
        """Return named outputs for hidden states (S, T, H)."""

    @abstractmethod
    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, ()."""

    # ---------------------------------------------------------------- predictions
    @abstractmethod
    def decode(
        self, task: TaskConfig, items: Sequence[I], table: FeatureTable, batches: Batches
    ) -> list[Prediction]:
        """Return one prediction for each item, in the items' order."""

    @abstractmethod
    def named(self, item: I, prediction: Prediction, labels: tuple[str, ...]) -> dict[str, Any]:
        """Return a prediction in words, with its probabilities or scores: a record for people and programs."""

    def label_config(self, labels: tuple[str, ...], number: int) -> dict[str, Any]:
        """Return what config.json of an exported folder says of `number` classes; {} for heads without classes."""
        return {}

    # ---------------------------------------------------------------- scores
    @abstractmethod
    def rows(self, task: TaskConfig, items: Sequence[I], predictions: Sequence[Prediction]) -> np.ndarray:
        """Return float64 (N, K): what each item contributes to the scores."""

    @abstractmethod
    def scores(self, task: TaskConfig, table: np.ndarray) -> Scores:
        """Return the scores, 0 to 100, of a table of rows."""

    def more_scores(
        self, task: TaskConfig, items: Sequence[I], predictions: Sequence[Prediction], table: np.ndarray
    ) -> Scores:
        """Return scores that need more than the rows."""
        return {}

    @abstractmethod
    def constants(self, items: Sequence[I]) -> list[list[Any]]:
        """Return candidates for the best constant prediction: for each candidate, one value for each item."""

    def unreachable(self, task: TaskConfig, items: Sequence[I], table: FeatureTable) -> dict[str, str] | None:
        """Return the items that no prediction can get right, each with the reason; None for heads where all can be."""
        return None


# ---------------------------------------------------------------- what several heads do
def finite(values: Tensor) -> list[Any]:
    """Return numbers that JSON can hold: a model whose weights are NaN predicts 0, and its run is marked as diverged."""
    found: list[Any] = values.float().nan_to_num().tolist()
    return found


def decode_classes(items: Sequence[Item], table: FeatureTable, batches: Batches) -> list[Prediction]:
    """Return for each item the class, or the candidate, with the largest logit."""
    logits: dict[int, list[float]] = {}
    for rows, _, found in batches:
        logits |= zip(table.item[rows].tolist(), finite(found["logits"]), strict=True)
    return [
        {"id": item.id, "prediction": int(np.argmax(logits[i])), "logits": logits[i]} for i, item in enumerate(items)
    ]


def softmax(logits: list[float]) -> list[float]:
    """Return probabilities."""
    shares = np.exp(np.array(logits) - max(logits))
    found: list[float] = (shares / shares.sum()).tolist()
    return found


def matched(items: Sequence[I], predictions: Sequence[Prediction]) -> list[tuple[I, Prediction]]:
    """Return each item with its own prediction; raise ValueError for another order."""
    pairs = list(zip(items, predictions, strict=True))
    for item, prediction in pairs:
        if item.id != prediction["id"]:
            raise ValueError(f"the prediction of {prediction['id']!r} stands in the place of {item.id!r}")
    return pairs


def predicted_and_gold(items: Sequence[Item], predictions: Sequence[Prediction]) -> np.ndarray:
    """Return float64 (N, 2): what is predicted, and what is right."""
    return np.array([(p["prediction"], item.gold) for item, p in matched(items, predictions)], np.float64)


def classes_by_size(items: Sequence[Item]) -> list[list[Any]]:
    """Return each class as the constant prediction for all items, the most frequent class first."""
    return [[gold] * len(items) for gold, _ in Counter(item.gold for item in items).most_common()]


def class_names(labels: tuple[str, ...], number: int) -> dict[str, Any]:
    """Return the names of classes as config.json has them; their numbers where they have no names."""
    names = labels or tuple(map(str, range(number)))
    return {"id2label": {str(i): name for i, name in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}
