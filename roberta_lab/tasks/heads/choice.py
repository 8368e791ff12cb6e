"""Multiple choice: which of several candidates fits a text (RACE; RoBERTa, Section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.features import UNLABELLED, Feature, Features, PairFormat, encode_once
from roberta_lab.tasks.heads import base
from roberta_lab.tasks.heads.base import Batch, Head, Named, Outputs, Pairs, Scores
from roberta_lab.tasks.items import Choice, Prediction
from roberta_lab.tasks.records import Record

if TYPE_CHECKING:
    from torch import Tensor, nn

CANDIDATE_TOKENS = 128  # RACE's question with an answer (RoBERTa, Section 5.3)


class ChoiceHead(Head[Choice]):
    """A linear score of each candidate beside the text, softmax over an item's. `logits` (B, candidates)."""

    name = "choice"
    fields = ("text", "choices")
    shape = '{"text": TEXT, "choices": [TEXT, TEXT, ...]}'
    auto_class = "MultipleChoice"
    has_class_names = False
    num_outputs = 1

    def item(self, record: Record) -> Choice:
        text, choices = record.text("text"), record.texts("choices")
        if len(choices) < 2:
            raise ConfigError(f"line {record.number}: {len(choices)} choices. Allowed: 2 or more.")
        return Choice(record.id, text, choices, None)

    def features(self, items: Sequence[Choice], first: int, encoding: Encoding, pairs: PairFormat) -> Features:
        """Yield the text beside each candidate. Candidates are cut to 128 tokens, then the text to what is left (Section 5.3);
        where 128 is more than half of the input, candidates are cut to half, or to what a short text leaves.
        """
        texts = encode_once([item.text for item in items], encoding.encode_batch)
        candidates = encode_once([choice for item in items for choice in item.choices], encoding.encode_batch)
        for number, item in enumerate(items, first):
            text = texts[item.text]
            most = min(CANDIDATE_TOKENS, max(pairs.room // 2, pairs.room - len(text)))
            given = [candidates[choice] for choice in item.choices]
            inputs = tuple(pairs.join(text[: pairs.room - min(len(c), most)], c[:most], encoding) for c in given)
            cut = any(len(c) > most or pairs.cuts(text, c) for c in given)
            yield Feature(number, inputs, (UNLABELLED if item.gold is None else item.gold,), cut=cut)

    def width(self, item: Choice) -> int:
        return len(item.choices)

    def outputs(self, layers: nn.ModuleDict, hidden: Tensor, batch: Batch) -> Outputs:
        return {"logits": layers["classifier"](hidden).view(len(batch["target"]), -1)}

    def named(self, item: Choice, prediction: Prediction, labels: tuple[str, ...]) -> Named:
        chosen = item.choices[prediction["prediction"]]
        return {"prediction": chosen, "probabilities": base.softmax(prediction["logits"])}

    def scores(self, task: TaskConfig, table: np.ndarray) -> Scores:
        return {"accuracy": 100 * float((table[:, 0] == table[:, 1]).sum()) / len(table)}

    def more_scores(self, task: TaskConfig, pairs: Pairs[Choice], table: np.ndarray) -> Scores:
        """Return accuracy_GROUP of each group."""
        groups = np.array([item.group for item, _ in pairs])
        return {
            f"accuracy_{group}": self.scores(task, table[groups == group])["accuracy"]
            for group in dict.fromkeys(groups[groups != ""].tolist())
        }


HEADS = {"choice": ChoiceHead()}
