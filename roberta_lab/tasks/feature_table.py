"""Features as flat arrays: a batch is a gather, a split is a file. Made once for items, tokenizer and lengths, whatever the seed."""

import hashlib
import zipfile
from array import array
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from roberta_lab.axes.examples import IGNORED
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError
from roberta_lab.data.storage import replacing
from roberta_lab.tasks.features import Feature, PairFormat, Sequence, generate
from roberta_lab.tasks.items import Item

VERSION = 1  # raised when features of the same items change


@dataclass(frozen=True)
class FeatureTable:
    """F features of `width` sequences each; sequences and places lie one after another."""

    ids: np.ndarray  # int32 (N,)
    types: np.ndarray  # uint8 (N,)
    lengths: np.ndarray  # int32 (F, width), of the sequences
    item: np.ndarray  # int32 (F,)
    target: np.ndarray  # float64 (F, K), K = 0 for words
    context: np.ndarray  # int32 (F, 2)
    places: np.ndarray  # int32 (M, 2): a context token's characters, or a word's first token and its number
    labels: np.ndarray  # int32 (M,) for words, else (0,)
    num_places: np.ndarray  # int32 (F,)

    @cached_property
    def starts(self) -> np.ndarray:  # int64 (F, width): where each sequence begins in `ids`
        return np.cumsum(self.lengths).reshape(self.lengths.shape) - self.lengths

    @cached_property
    def first_place(self) -> np.ndarray:  # int64 (F,): where each feature's places begin in `places`
        return np.cumsum(self.num_places) - self.num_places

    @cached_property
    def longest(self) -> np.ndarray:  # int32 (F,): the length of each feature's longest sequence
        return self.lengths.max(1)

    def __len__(self) -> int:
        return len(self.item)

    def places_of(self, feature: int) -> np.ndarray:
        """Return the places of a feature, int32 (m, 2)."""
        first = self.first_place[feature]
        return self.places[first : first + self.num_places[feature]]

    def __getitem__(self, number: int) -> Feature:
        """Return one feature as it was generated; for looking at, batches do not need it."""
        spans = [slice(s, s + n) for s, n in zip(self.starts[number], self.lengths[number], strict=True)]
        sequences = tuple(Sequence(self.ids[span].tolist(), self.types[span].tolist()) for span in spans)
        places, context = tuple(map(tuple, self.places_of(number).tolist())), tuple(self.context[number].tolist())
        target = tuple(self.target[number].tolist())
        if len(self.labels) or not self.target.shape[1]:
            first = self.first_place[number]
            labels = tuple(self.labels[first : first + len(places)].tolist())
            return Feature(int(self.item[number]), sequences, labels, words=places)
        return Feature(int(self.item[number]), sequences, target, context, places)

    def batch(self, rows: np.ndarray, pad_id: int) -> dict[str, np.ndarray]:
        """Return the arrays of some features, padded to the longest; S = len(rows) x width sequences of T tokens.

        Returns: input_ids, token_type_ids int64 (S, T); attention_mask bool (S, T) only if there is padding; target
        float32 (len(rows), K), as some devices know no float64; for spans context bool (S, T); for words labels int64 (S, T).
        """
        lengths, starts = self.lengths[rows].ravel(), self.starts[rows].ravel()
        column = np.arange(lengths.max())
        real, index = column < lengths[:, None], starts[:, None] + column
        np.minimum(index, len(self.ids) - 1, out=index)
        found = {
            "input_ids": np.where(real, self.ids[index], pad_id).astype(np.int64),
            "token_type_ids": np.where(real, self.types[index], 0).astype(np.int64),
            "target": self.target[rows].astype(np.float32),
        }
        if not real.all():
            found["attention_mask"] = real
        if not self.target.shape[1]:
            found["labels"] = self._labels(rows, real.shape)
        elif len(self.places):
            first, end = self.context[rows].T
            found["context"] = (column >= first[:, None]) & (column < end[:, None])
        return found

    def _labels(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        counts = self.num_places[rows]
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        flat = np.repeat(self.first_place[rows], counts) + inside
        labels = np.full(shape, IGNORED, np.int64)
        labels[np.repeat(np.arange(len(rows)), counts), self.places[flat, 0]] = self.labels[flat]
        return labels


def packed(features: Iterable[Feature]) -> FeatureTable:
    """Return the table of some features. Raises ConfigError when items have different numbers of candidates."""
    ids, types, lengths, item, context = array("i"), array("B"), array("i"), array("i"), array("i")
    target, places, labels, num_places, width = array("d"), array("i"), array("i"), array("i"), 0
    for feature in features:
        width = width or len(feature.sequences)
        if len(feature.sequences) != width:
            raise ConfigError(f"item {feature.item + 1} has {len(feature.sequences)} candidates, not {width}.")
        for sequence in feature.sequences:
            ids.extend(sequence.ids)
            types.extend(sequence.types)
            lengths.append(len(sequence.ids))
        item.append(feature.item)
        context.extend(feature.context)
        tags = feature.words or not feature.target
        if tags:
            labels.extend(map(int, feature.target))
        else:
            target.extend(feature.target)
        here = feature.words if tags else feature.offsets
        num_places.append(len(here))
        for place in here:
            places.extend(place)
    number = len(item)
    return FeatureTable(
        *(np.array(ids, np.int32), np.array(types, np.uint8), np.array(lengths, np.int32).reshape(number, width or 1)),
        *(np.array(item, np.int32), np.array(target, np.float64).reshape(number, len(target) // max(1, number))),
        *(np.array(context, np.int32).reshape(-1, 2), np.array(places, np.int32).reshape(-1, 2)),
        *(np.array(labels, np.int32), np.array(num_places, np.int32)),
    )


def key_of(head: str, items: SequenceOf[Item], encoding: Encoding, pairs: PairFormat) -> str:
    """Return hex digits that stand for all that features are made of."""
    found = hashlib.sha256(repr((VERSION, head, pairs, encoding.fingerprint)).encode())
    for item in items:
        found.update(repr(tuple(vars(item).values())).encode("utf-8", "backslashreplace"))
    return found.hexdigest()[:24]


def cached(
    head: str, items: SequenceOf[Item], encoding: Encoding, pairs: PairFormat, cache: Path | None
) -> FeatureTable:
    """Return the features of some items, from `cache/features/` if they were ever made there; None: made anew."""
    if cache is None:
        return packed(generate(head, items, encoding, pairs))
    path = cache / "features" / f"{key_of(head, items, encoding, pairs)}.npz"
    try:
        return _read(str(path), path.stat().st_mtime_ns)
    except (FileNotFoundError, zipfile.BadZipFile, ValueError, TypeError, EOFError):  # not there, or cut, or changed
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, **vars(packed(generate(head, items, encoding, pairs))))
    return _read(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)  # train, dev and what is evaluated beside it, when seeds run in a row
def _read(path: str, changed: int) -> FeatureTable:
    with np.load(path, allow_pickle=False) as arrays:
        return FeatureTable(**arrays)
