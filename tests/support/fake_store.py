"""A token store in memory, for tests of what is planned over one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roberta_lab.axes.epochs import Epochs
from roberta_lab.axes.examples import Plan

FIRST = 10  # the n-th token of a corpus has the id FIRST + n, so that an id tells its place
Corpus = list[list[int]]  # sentence lengths, per document


@dataclass(frozen=True)
class FakeStore:
    """What a format needs of a token store."""

    tokens: np.ndarray
    sentence_starts: np.ndarray
    sentence_lengths: np.ndarray
    document_ends: np.ndarray

    def gather_tokens(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        runs = [self.tokens[s : s + n] for s, n in zip(starts, lengths, strict=True)]
        return np.concatenate(runs) if runs else self.tokens[:0]

    def documents(self, first: int, last: int) -> FakeStore:
        ends = np.concatenate([[0], self.document_ends])
        some = slice(ends[first], ends[last])
        own = self.document_ends[first:last] - ends[first]
        return FakeStore(self.tokens, self.sentence_starts[some], self.sentence_lengths[some], own)


def store_of(corpus: Corpus) -> FakeStore:
    lengths = np.array([n for document in corpus for n in document], np.int32)
    ends = np.cumsum(lengths, dtype=np.int64)
    tokens = np.arange(FIRST, FIRST + lengths.sum(), dtype=np.uint32)
    return FakeStore(tokens, ends - lengths, lengths, np.cumsum([len(d) for d in corpus], dtype=np.int64))


def epochs_of_lengths(*lengths: np.ndarray | list[int]) -> Epochs:
    """Epochs of examples with these lengths, (N,) tokens each; several are copies in turn."""

    def plan(copy: int, block: int) -> Plan:
        own = np.asarray(lengths[copy], np.int32)
        zeros = np.zeros(len(own), np.int64)
        return Plan(len(own), zeros, own, zeros, np.arange(1, len(own) + 1), own, None, {})

    return Epochs(plan, len(lengths))


def examples(number: int) -> Epochs:
    """Epochs of so many examples of one token."""
    return epochs_of_lengths(np.ones(number))
