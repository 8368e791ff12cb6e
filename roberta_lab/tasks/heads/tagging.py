"""Tagging: a class for each word of a sentence (named entities; not in the paper).

Entities are counted as conlleval and seqeval do (Tjong Kim Sang and De Meulder 2003). Classes are numbered as in the family
`ner`: 0 is O, 2t-1 begins an entity of type t, 2t continues it. A class that continues nothing begins an entity, and a change
of type ends one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from roberta_lab.axes.examples import IGNORED
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import TaskConfig
from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.features import UNLABELLED, Feature, Features, PairFormat, encode_once
from roberta_lab.tasks.heads.base import Batch, Batches, Head, LayerNames, Named, Outputs, Pairs, Scores
from roberta_lab.tasks.items import Prediction, Predictions, Tagging
from roberta_lab.tasks.records import Record

if TYPE_CHECKING:
    from torch import Tensor, nn


class TaggingHead(Head[Tagging]):
    """Dropout and a linear layer on each token; only words' first pieces have labels. `tags` (B, T, C)."""

    name = "tagging"
    fields = ("words",)
    shape = '{"words": [WORD, WORD, ...]}, or words with white space between them'
    auto_class = "TokenClassification"
    tensors: ClassVar[LayerNames] = {"out": "classifier"}

    def plain_text(self, line: str) -> Mapping[str, object]:
        return {"words": line.split()}

    def item(self, record: Record) -> Tagging:
        return Tagging(record.id, record.texts("words"), None)

    def features(self, items: Sequence[Tagging], first: int, encoding: Encoding, pairs: PairFormat) -> Features:
        """Yield windows of whole words. Each word is labelled on its first piece, in the one window where it has most around it.

        A word without pieces is `<unk>`; one that is longer than the input loses its end.
        """
        room = pairs.max_length - 2
        pieces = encode_once([text for item in items for text in _spelled(item.words)], encoding.encode_batch)
        for number, item in enumerate(items, first):
            spelled = [pieces[text] for text in _spelled(item.words)]
            words = [own[:room] or [encoding.unk_id] for own in spelled]
            cut = any(len(own) > room for own in spelled)
            for window, own in word_windows([len(word) for word in words], room):
                places, ids = [], list[int]()
                for word in window:
                    if word in own:
                        places.append((1 + len(ids), word))
                    ids += words[word]
                labels = tuple(UNLABELLED if item.gold is None else item.gold[word] for word in own)
                joined = pairs.join(ids, None, encoding)
                yield Feature(number, (joined,), (), places=tuple(places), labels=labels, cut=cut)

    def limit(self, pairs: PairFormat) -> str:
        return f"{pairs.max_length - 2} tokens a word"

    def layers(self, hidden: int, num_labels: int, dropout: float) -> dict[str, nn.Module]:
        from torch import nn  # only when there is work

        return {"dropout": nn.Dropout(dropout), "out": nn.Linear(hidden, num_labels)}

    def outputs(self, layers: nn.ModuleDict, hidden: Tensor, batch: Batch) -> Outputs:
        return {"tags": layers["out"](layers["dropout"](hidden))}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return cross-entropy, a mean over the words of the batch."""
        from torch.nn import functional as F  # torch: only when there is work

        tags, labels = outputs["tags"].float(), batch["labels"]
        total = F.cross_entropy(tags.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return total / (labels != IGNORED).sum().clamp(min=1)

    def decode(self, task: TaskConfig, items: Sequence[Tagging], table: FeatureTable, batches: Batches) -> Predictions:
        """Return the class of each word, and its probability."""
        chosen: list[list[int]] = [[-1] * len(item.words) for item in items]
        scores: list[list[float]] = [[0.0] * len(item.words) for item in items]
        for rows, _, found in batches:
            best, tags = (t.cpu().numpy() for t in found["tags"].float().softmax(-1).nan_to_num().max(-1))
            for i, row in enumerate(rows):
                number, places = int(table.item[row]), table.places_of(int(row))
                for token, word in places.tolist():
                    chosen[number][word], scores[number][word] = int(tags[i, token]), float(best[i, token])
        assert all(tag >= 0 for tags in chosen for tag in tags), "every word is in one window"
        return [{"id": item.id, "prediction": chosen[i], "scores": scores[i]} for i, item in enumerate(items)]

    def named(self, item: Tagging, prediction: Prediction, labels: tuple[str, ...]) -> Named:
        return {"prediction": [labels[number] for number in prediction["prediction"]], "scores": prediction["scores"]}

    def rows(self, task: TaskConfig, pairs: Pairs[Tagging]) -> np.ndarray:
        return np.array([entity_counts(p["prediction"], item.gold or ()) for item, p in pairs])

    def scores(self, task: TaskConfig, table: np.ndarray) -> Scores:
        """Return precision, recall and F1 of entities, and the accuracy of words, of a table (N, 5) of `entity_counts`."""
        correct, found, true, right, words = (int(total) for total in table.sum(0))
        precision, recall = correct / max(1, found), correct / max(1, true)
        f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
        shares = {"precision": precision, "recall": recall, "f1": f1, "accuracy": right / max(1, words)}
        return {name: 100 * share for name, share in shares.items()}

    def right(self, table: np.ndarray) -> np.ndarray:
        found: np.ndarray = table[:, 3] == table[:, 4]  # every word of the sentence
        return found

    def points(self, metric: str, table: np.ndarray) -> None:
        return None  # scores are of entities and of words, not of sentences

    def constants(self, items: Sequence[Tagging]) -> Sequence[Sequence[object]]:
        classes = {0} | {number for item in items for number in item.gold or ()}
        return [[[number] * len(item.words) for item in items] for number in sorted(classes)]


def _spelled(words: tuple[str, ...]) -> list[str]:
    """Return each word as it stands in running text: all but the first have a space before them."""
    return [f" {word}" if i else word for i, word in enumerate(words)]


def word_windows(lengths: list[int], room: int) -> Iterator[tuple[range, range]]:
    """Yield the words of each window, and those labelled in it: every word once. `lengths`: pieces of each word, `room` at most.

    Windows overlap by a quarter of the room at most; of the words in two, the first half is the first window's.
    """
    before = list(accumulate(lengths, initial=0))  # pieces in front of each word, and of all
    start = own = 0
    while (end := bisect_right(before, before[start] + room) - 1) < len(lengths):
        following = bisect_left(before, before[end] - room // 4, lo=start + 1)
        middle = (following + end + 1) // 2
        yield range(start, end), range(own, middle)
        start, own = following, middle
    yield range(start, end), range(own, end)


# ---------------------------------------------------------------- entities
Entity = tuple[int, int, int]  # first word, the word after the last, type


def entities(classes: Sequence[int]) -> set[Entity]:
    """Return the entities of a sentence."""
    found: set[Entity] = set()
    first, kind = 0, 0  # of the entity that is open; kind 0: none
    for i, number in enumerate([*classes, 0]):
        here = (number + 1) // 2
        if kind and (here != kind or number % 2):
            found.add((first, i, kind))
            kind = 0
        if here and not kind:
            first, kind = i, here
    return found


def entity_counts(predicted: Sequence[int], true: Sequence[int]) -> tuple[int, int, int, int, int]:
    """Return five counts of a sentence: correct, predicted and true entities; correct words; all words."""
    ours, theirs = entities(predicted), entities(true)
    right = sum(a == b for a, b in zip(predicted, true, strict=True))
    return len(ours & theirs), len(ours), len(theirs), right, len(true)


HEADS = {"tagging": TaggingHead()}
