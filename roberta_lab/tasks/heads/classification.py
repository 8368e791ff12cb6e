"""Classification and regression: a class, or a score, of one text or of two (GLUE; RoBERTa, Section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.features import UNLABELLED, Feature, Features, PairFormat, encode_once
from roberta_lab.tasks.heads import base
from roberta_lab.tasks.heads.base import Batch, Batches, Head, LayerNames, Named, Outputs, Scores
from roberta_lab.tasks.items import Prediction, Predictions, TextItem
from roberta_lab.tasks.records import Record

if TYPE_CHECKING:
    from torch import Tensor


class TextHead(Head[TextItem]):
    """A head on the `<s>` of one text or two."""

    fields = ("text_a", "text_b")
    shape = '{"text_a": TEXT}'
    pair_shape = '{"text_a": TEXT, "text_b": TEXT}'
    auto_class = "SequenceClassification"
    roberta_tensors: ClassVar[LayerNames] = {
        "classifier.dense": "classifier.dense",
        "classifier.out": "classifier.out_proj",
    }
    unlabelled: ClassVar[float]  # the target of an item without a label

    def plain_text(self, line: str) -> Mapping[str, object]:
        return {"text_a": line}

    def item(self, record: Record) -> TextItem:
        """Return the item of a line. Raises ConfigError when the task has one text more or less."""
        text_a = record.text("text_a")
        text_b = record.text("text_b") if record.fields.get("text_b") is not None else None
        if record.is_pair is not None and record.is_pair != (text_b is not None):
            found, wanted = ("one text", self.pair_shape) if text_b is None else ("two texts", self.shape)
            raise ConfigError(f"line {record.number} has {found}; the task's items are {wanted}.")
        return TextItem(record.id, text_a, text_b, None)

    def features(self, items: Sequence[TextItem], first: int, encoding: Encoding, pairs: PairFormat) -> Features:
        texts = [text for item in items for text in (item.text_a, item.text_b) if text is not None]
        ids = encode_once(texts, encoding.encode_batch)
        for number, item in enumerate(items, first):
            a, b = ids[item.text_a], None if item.text_b is None else ids[item.text_b]
            target = self.unlabelled if item.gold is None else item.gold
            yield Feature(number, (pairs.join(a, b, encoding),), (target,), cut=pairs.cuts(a, b))


class ClassificationHead(TextHead):
    """The class with the largest logit, trained with cross-entropy."""

    name = "classification"
    unlabelled = UNLABELLED

    def named(self, item: TextItem, prediction: Prediction, labels: tuple[str, ...]) -> Named:
        shares = base.softmax(prediction["logits"])
        return {"prediction": labels[prediction["prediction"]], "probabilities": dict(zip(labels, shares, strict=True))}

    def scores(self, task: TaskConfig, table: np.ndarray) -> Scores:
        """Return accuracy, mcc, f1_macro, and of two classes f1, that of class 1."""
        predicted, true = table.astype(np.int64).T
        size = int(table.max()) + 1
        confusion = np.bincount(true * size + predicted, minlength=size**2).reshape(size, size).astype(np.float64)
        hits, of_true, of_predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
        occurring = of_true + of_predicted > 0
        f1 = 100 * 2 * hits[occurring] / (of_true + of_predicted)[occurring]
        found = {"accuracy": 100 * float(hits.sum()) / len(table), "mcc": _matthews(hits, of_true, of_predicted)}
        found["f1_macro"] = float(f1.mean())
        if task.num_labels == 2 or (task.num_labels == 0 and size <= 2):
            found["f1"] = float(f1[-1]) if size == 2 and occurring[1] else 0.0
        return found


def _matthews(hits: np.ndarray, of_true: np.ndarray, of_predicted: np.ndarray) -> float:
    """Return the correlation of two classifications of any number of classes (Gorodkin 2004; scikit-learn)."""
    total = of_true.sum()
    covariance = hits.sum() * total - of_true @ of_predicted
    variances = (total**2 - of_true @ of_true) * (total**2 - of_predicted @ of_predicted)
    return 100 * float(covariance / np.sqrt(variances)) if variances > 0 else 0.0


class RegressionHead(TextHead):
    """The only logit is the score, trained with the mean squared error."""

    name = "regression"
    unlabelled = math.nan
    num_outputs = 1

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        from torch.nn import functional as F  # torch: only when there is work

        return F.mse_loss(outputs["logits"][:, 0].float(), batch["target"][:, 0].float())

    def decode(self, task: TaskConfig, items: Sequence[TextItem], table: FeatureTable, batches: Batches) -> Predictions:
        scores = base.logits_of(table, batches)
        return [{"id": item.id, "prediction": scores[i][0]} for i, item in enumerate(items)]

    def named(self, item: TextItem, prediction: Prediction, labels: tuple[str, ...]) -> Named:
        return {"prediction": prediction["prediction"]}

    def label_config(self, labels: tuple[str, ...], number: int) -> Mapping[str, object]:
        return {**super().label_config(("score",), 1), "problem_type": "regression"}

    def scores(self, task: TaskConfig, table: np.ndarray) -> Scores:
        """Return the correlations of Pearson and Spearman; 0 where a column does not vary."""
        if not np.isfinite(table).all() or (table.max(0) == table.min(0)).any():
            return {"pearson": 0.0, "spearman": 0.0}
        ranks = np.stack([_ranks(column) for column in table.T])
        return {name: 100 * float(np.corrcoef(x)[0, 1]) for name, x in (("pearson", table.T), ("spearman", ranks))}

    def right(self, table: np.ndarray) -> None:
        return None  # scores are nearer or farther

    def constants(self, items: Sequence[TextItem]) -> Sequence[Sequence[object]]:
        return [[float(np.mean([item.gold for item in items]))] * len(items)]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


HEADS = {"classification": ClassificationHead(), "regression": RegressionHead()}
