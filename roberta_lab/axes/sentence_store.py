"""Define the token store: sentences and documents, each as a place in one long row of tokens."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self, TypedDict

import numpy as np

from roberta_lab.axes import Ints

_LONG_RUN = 128  # tokens; copying longer runs is faster than indexing their tokens


class Shard(TypedDict):
    """A file of a token store, as its manifest describes it."""

    file: str
    tokens: int
    sha256: str


class Manifest(TypedDict):
    """The keys that `TokenStore` reads from a store's manifest; the file has further keys."""

    dtype: str
    shards: list[Shard]
    sources: list[str]  # of the data mix, in its order


@dataclass(frozen=True)
class TokenStore:
    """The sentences of some documents, as places in the shards' tokens; a `SentenceStore`."""

    shards: tuple[Ints, ...]  # memory maps, uint16 or uint32
    sentence_starts: Ints  # (S,) int64, offset in the shards joined end to end
    sentence_lengths: Ints  # (S,) int32
    document_ends: Ints  # (D,) int64, cumulative, in sentences
    document_hashes: Ints  # (D,) uint64
    document_sources: Ints  # (D,) uint16, places in manifest["sources"]
    manifest: Manifest

    @property
    def num_tokens(self) -> int:
        """Return the number of tokens of the documents in this store or selection."""
        return int(self.sentence_lengths.sum(dtype=np.int64))

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 over the hashes of the shards: the identity of the tokens."""
        return hashlib.sha256(json.dumps([s["sha256"] for s in self.manifest["shards"]]).encode()).hexdigest()

    @cached_property
    def _arrays(self) -> tuple[Ints, ...]:
        """Return the shards as plain arrays over the same memory: slicing a `memmap` takes several times as long."""
        return tuple(shard.view(np.ndarray) for shard in self.shards)

    def gather_tokens(self, starts: Ints, lengths: Ints) -> Ints:
        """Return the runs of tokens at `starts` (M,) with `lengths` (M,), joined.

        Long runs are copied whole: an index of every token takes four times the bytes of the tokens. For short runs, the
        index costs less than a step of Python.
        """
        starts, lengths = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
        if len(self.shards) == 1 and lengths.sum() < _LONG_RUN * len(starts):
            return self._arrays[0].take(ranges(starts, lengths))
        ends = starts + lengths
        edges = np.ones(len(starts) + 1, bool)  # runs that lie side by side are one: no edge between them
        edges[1:-1] = starts[1:] != ends[:-1]
        pieces = self._cut(starts[edges[:-1]], ends[edges[1:]])
        arrays = self._arrays
        runs = [arrays[k][start:end] for k, start, end in zip(*(x.tolist() for x in pieces), strict=True)]
        return np.concatenate(runs) if runs else np.empty(0, self.manifest["dtype"])

    def _cut(self, starts: Ints, ends: Ints) -> tuple[Ints, Ints, Ints]:
        """Cut runs where shards end: return the shard of each piece, and its start and end there. Empty runs are left out."""
        if len(self.shards) == 1:
            return np.zeros_like(starts), starts, ends
        borders = np.cumsum([0, *map(len, self.shards)])
        firsts = borders[1:-1].searchsorted(starts, side="right")
        num_pieces = np.maximum(borders[1:-1].searchsorted(ends - 1, side="right") - firsts + 1, 0)
        shard, run = ranges(firsts, num_pieces), np.repeat(np.arange(len(starts)), num_pieces)
        lows, highs = np.maximum(starts[run], borders[shard]), np.minimum(ends[run], borders[shard + 1])
        return shard, lows - borders[shard], highs - borders[shard]

    def select(self, num_tokens: int | None) -> Self:
        """Return the first `num_tokens` tokens of the documents in the order of their hashes, to the end of a sentence.

        None selects everything. The selected documents keep their order in the store.
        """
        if num_tokens is None or num_tokens >= self.num_tokens:
            return self
        return self.keep(self.first_sentences(np.arange(len(self.document_ends)), num_tokens))

    def first_sentences(self, documents: Ints, num_tokens: int) -> Ints:
        """Return the sentences of the first `num_tokens` tokens of these documents in the order of their hashes, (S,) int64."""
        firsts = np.concatenate([[0], self.document_ends])
        order = documents[np.argsort(self.document_hashes[documents], kind="stable")]
        shuffled = ranges(firsts[order], np.diff(firsts)[order])  # sentences, document by document
        enough = np.searchsorted(np.cumsum(self.sentence_lengths[shuffled], dtype=np.int64), num_tokens) + 1
        return shuffled[:enough]

    def keep(self, sentences: Ints) -> Self:
        """Return a store of these sentences alone, in their order in the store, without documents that have none."""
        sentences = np.sort(sentences)
        counts = np.diff(np.searchsorted(sentences, np.concatenate([[0], self.document_ends])))
        documents = np.flatnonzero(counts)
        return self.subset(sentences, documents, counts[documents])

    def subset(self, sentences: Ints, documents: Ints, sizes: Ints) -> Self:
        """Return a store of these sentences, which are `sizes[i]` of the i-th of these documents."""
        return replace(
            self,
            sentence_starts=self.sentence_starts[sentences],
            sentence_lengths=self.sentence_lengths[sentences],
            document_ends=np.cumsum(sizes),
            document_hashes=self.document_hashes[documents],
            document_sources=self.document_sources[documents],
        )


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """Return starts[0], starts[0] + 1, ..., for `lengths[0]` numbers, then starts[1], ..., joined. int64."""
    ends = np.cumsum(lengths, dtype=np.int64)
    offsets = np.repeat(np.asarray(starts, np.int64) - (ends - lengths), lengths)
    numbers: Ints = np.arange(ends[-1] if len(ends) else 0) + offsets
    return numbers


class SentenceStore(Protocol):
    """The parts of a token store that an input format needs."""

    @property
    def sentence_starts(self) -> Ints: ...  # (S,) int64, offset of each sentence in the tokens

    @property
    def sentence_lengths(self) -> Ints: ...  # (S,) int32

    @property
    def document_ends(self) -> Ints: ...  # (D,) int64, cumulative, in sentences

    def gather_tokens(self, starts: Ints, lengths: Ints) -> Ints: ...  # the runs, joined
