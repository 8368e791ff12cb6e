"""The contract of a head: everything that one kind of prediction needs, from its items to its scores.

Defaults are those of a classifier on `<s>`; a head says where it differs. A head has no state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import TaskConfig
from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.features import Features, PairFormat
from roberta_lab.tasks.items import Item, Prediction, Predictions, TaskData
from roberta_lab.tasks.records import Record

if TYPE_CHECKING:
    from torch import Tensor, nn

ItemType = TypeVar("ItemType", bound=Item)
Batch: TypeAlias = "Mapping[str, Tensor]"  # of `FeatureTable.batch`
Outputs: TypeAlias = "dict[str, Tensor]"
Batches: TypeAlias = (
    "Iterator[tuple[np.ndarray, Batch, Outputs]]"  # rows of the table, their batch, what the model makes of it
)
Scores = dict[str, float]
Named = Mapping[str, object]  # a prediction in words
Pairs = Sequence[tuple[ItemType, Prediction]]  # each item with its own prediction
LayerNames = Mapping[str, str]  # layer here -> layer of transformers, where `{kind}` is roberta or bert


class Head(ABC, Generic[ItemType]):
    """All that is special about one head."""

    name: ClassVar[str]  # its key in `HEADS`, or a variant
    fields: ClassVar[tuple[str, ...]]  # of the item, that a line of new text has
    shape: ClassVar[str]  # what such a line looks like, for messages
    auto_class: ClassVar[str]  # Hugging Face's class: AutoModelFor...
    tensors: ClassVar[LayerNames] = {"classifier.dense": "{kind}.pooler.dense", "classifier.out": "classifier"}
    roberta_tensors: ClassVar[LayerNames] = {}  # those that have other names in models of RoBERTa's kind
    card_note: ClassVar[str] = ""  # a sentence for the README.md of an exported folder
    num_outputs: ClassVar[int | None] = None  # of the classifier; None: one for each class
    has_class_names: ClassVar[bool] = True  # whether config.json of an exported folder names its outputs

    @abstractmethod
    def item(self, record: Record) -> ItemType:
        """Return the item of a line of new text, without what is to be predicted. Raises ConfigError."""

    def plain_text(self, line: str) -> Mapping[str, object] | None:
        """Return the fields of a line of plain text; None where the head needs a JSON object."""
        return None

    @abstractmethod
    def features(self, items: Sequence[ItemType], first: int, encoding: Encoding, pairs: PairFormat) -> Features:
        """Yield the inputs of items in their order; `first` is the number of the first item."""

    def width(self, item: ItemType) -> int:
        """Return how many sequences each of an item's inputs has."""
        return 1

    def variant(self, task: TaskConfig, data: TaskData) -> str:
        """Return the key in `HEADS` of the head to train: this one, unless the data needs a variant. Raises ConfigError where the metric asks for another."""
        return self.name

    def limit(self, pairs: PairFormat) -> str:
        """Return what is cut if it is longer, for messages."""
        return f"{pairs.max_length} tokens"

    def layers(self, hidden: int, num_labels: int, dropout: float) -> dict[str, nn.Module]:
        """Return new layers; `head.NAME` is their place in a checkpoint."""
        from roberta_lab.tasks.task_model import Classifier  # torch: only when there is work

        return {"classifier": Classifier(hidden, self.num_outputs or num_labels, dropout)}

    def outputs(self, layers: nn.ModuleDict, hidden: Tensor, batch: Batch) -> Outputs:
        """Return named outputs for hidden states (S, T, H): here `logits` (S, C)."""
        return {"logits": layers["classifier"](hidden)}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, (): here cross-entropy."""
        from torch.nn import functional as F  # torch: only when there is work

        return F.cross_entropy(outputs["logits"].float(), batch["target"][:, 0].long())

    def decode(self, task: TaskConfig, items: Sequence[ItemType], table: FeatureTable, batches: Batches) -> Predictions:
        """Return one prediction for each item, in the items' order: here the class with the largest logit."""
        logits = logits_of(table, batches)
        return [
            {"id": item.id, "prediction": int(np.argmax(logits[i])), "logits": logits[i]}
            for i, item in enumerate(items)
        ]

    @abstractmethod
    def named(self, item: ItemType, prediction: Prediction, labels: tuple[str, ...]) -> Named:
        """Return a prediction in words, with its probabilities or scores."""

    def label_config(self, labels: tuple[str, ...], number: int) -> Mapping[str, object]:
        """Return what config.json of an exported folder says of `number` classes, which may have no names."""
        names = labels or tuple(map(str, range(number)))
        return {"id2label": {str(i): n for i, n in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}

    def rows(self, task: TaskConfig, pairs: Pairs[ItemType]) -> np.ndarray:
        """Return float64 (N, K), what each item contributes to the scores: here what is predicted, and what is right."""
        return np.array([(p["prediction"], item.gold) for item, p in pairs], np.float64)

    @abstractmethod
    def scores(self, task: TaskConfig, table: np.ndarray) -> Scores:
        """Return the scores, 0 to 100, of a table of rows."""

    def more_scores(self, task: TaskConfig, pairs: Pairs[ItemType], table: np.ndarray) -> Scores:
        """Return scores that need more than the rows."""
        return {}

    def right(self, table: np.ndarray) -> np.ndarray | None:
        """Return which items of a table of rows are predicted right, bool (N,); None where nothing is wholly right or wrong."""
        found: np.ndarray = table[:, 0] == table[:, 1]
        return found

    def points(self, metric: str, table: np.ndarray) -> np.ndarray | None:
        """Return what each item adds to a score that is their mean, float64 (N,), 0 to 100; None where it is no mean over items."""
        right = self.right(table)
        return None if metric != "accuracy" or right is None else 100.0 * right

    def constants(self, items: Sequence[ItemType]) -> Sequence[Sequence[object]]:
        """Return candidates for the best constant prediction, for each one value an item: here each class, by frequency."""
        return [[gold] * len(items) for gold, _ in Counter(item.gold for item in items).most_common()]

    def unreachable(self, task: TaskConfig, items: Sequence[ItemType], table: FeatureTable) -> Mapping[str, str] | None:
        """Return the items that no prediction can get right, each with the reason; None for heads where all can be."""
        return None


# ---------------------------------------------------------------- what several heads do
def logits_of(table: FeatureTable, batches: Batches) -> dict[int, list[float]]:
    """Return the logits of each item by its index; what is no number becomes 0 or a large number, for JSON has neither.

    They are finite, as JSON needs: a model whose weights are NaN predicts 0, and its run is marked as diverged.
    """
    found: dict[int, list[float]] = {}
    for rows, _, outputs in batches:
        found |= zip(table.item[rows].tolist(), outputs["logits"].float().nan_to_num().tolist(), strict=True)
    return found


def softmax(logits: Sequence[float]) -> list[float]:
    """Return probabilities."""
    shares = np.exp(np.array(logits) - max(logits))
    return (shares / shares.sum()).tolist()
