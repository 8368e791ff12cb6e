"""Features as flat arrays: a batch is a gather, a split is a file. Made once for items, tokenizer and lengths, whatever the seed."""

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from roberta_lab.axes.examples import IGNORED
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, Damaged
from roberta_lab.config.console import say
from roberta_lab.data.seals import load_arrays, save_arrays
from roberta_lab.data.storage import sweep
from roberta_lab.tasks.features import Feature, PairFormat, generate
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
    cut: np.ndarray  # uint8 (F,): 1 where a text lost its end

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

    @property
    def num_cut(self) -> int:
        """Return the number of items of which a text lost its end."""
        return len(np.unique(self.item[self.cut > 0]))

    def places_of(self, feature: int) -> np.ndarray:
        """Return the places of a feature, int32 (m, 2)."""
        first = self.first_place[feature]
        return self.places[first : first + self.num_places[feature]]

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
        labels, firsts, counts = np.full(shape, IGNORED, np.int64), self.first_place[rows], self.num_places[rows]
        for own, first, count in zip(labels, firsts, counts, strict=True):
            own[self.places[first : first + count, 0]] = self.labels[first : first + count]
        return labels


def packed(features: Iterable[Feature]) -> FeatureTable:
    """Return the table of some features. Raises ConfigError when items have different numbers of candidates."""
    flat: dict[str, array[Any]] = {
        name: array("i") for name in ("ids", "lengths", "item", "context", "places", "labels", "num_places")
    }
    flat |= {"types": array("B"), "cut": array("B"), "target": array("d")}
    width = 0
    for feature in features:
        width = width or len(feature.sequences)
        if len(feature.sequences) != width:
            raise ConfigError(f"item {feature.item + 1} has {len(feature.sequences)} candidates, not {width}.")
        for sequence in feature.sequences:
            flat["ids"].extend(sequence.ids)
            flat["types"].extend(sequence.types)
            flat["lengths"].append(len(sequence.ids))
        flat["item"].append(feature.item)
        flat["cut"].append(feature.cut)
        flat["num_places"].append(len(feature.places))
        flat["places"].extend(chain.from_iterable(feature.places))
        for name in ("target", "context", "labels"):
            flat[name].extend(getattr(feature, name))
    number = len(flat["item"])
    shapes = {"lengths": (number, width or 1), "context": (number, 2), "places": (-1, 2)}
    shapes["target"] = (number, len(flat["target"]) // max(1, number))
    return FeatureTable(**{name: np.array(values).reshape(shapes.get(name, -1)) for name, values in flat.items()})


def key_of(head: str, items: Sequence[Item], encoding: Encoding, pairs: PairFormat) -> str:
    """Return hex digits that stand for all that features are made of."""
    found = hashlib.sha256(repr((VERSION, head, pairs, encoding.fingerprint)).encode())
    for item in items:
        found.update(repr(tuple(vars(item).values())).encode("utf-8", "backslashreplace"))
    return found.hexdigest()[:24]


def cached(head: str, items: Sequence[Item], encoding: Encoding, pairs: PairFormat, cache: Path) -> FeatureTable:
    """Return the features of some items, from `cache/features/` if they were ever made there."""
    path = cache / "features" / f"{key_of(head, items, encoding, pairs)}.npz"
    try:
        return _read(path, path.stat().st_size, path.stat().st_mtime_ns)
    except FileNotFoundError:
        pass
    except Damaged as damage:
        say(str(damage))
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    save_arrays(path, vars(packed(generate(head, items, encoding, pairs))))
    return _read(path, path.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)  # train, dev and what is evaluated beside it, when seeds run in a row
def _read(path: Path, size: int, changed: int) -> FeatureTable:
    found = load_arrays(path, "it is made again")
    if found.keys() != FeatureTable.__dataclass_fields__.keys():
        raise Damaged.at(path, "is damaged: it has other arrays", "it is made again")
    return FeatureTable(**found)
