"""Define the token store: sentences and documents, each as a place in one long row of tokens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self, TypedDict

import numpy as np

from roberta_lab.axes import Ints

CHUNK = 1 << 24  # sentences whose lengths are read at once
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


class Lengths(Protocol):
    """The lengths of all sentences of a store, int32, in memory or on disk: what is asked for is read."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: slice | Ints, /) -> Ints: ...


def fingerprint_of(shards: Sequence[Shard]) -> str:
    """Return the SHA-256 over the hashes of shards: the identity of their tokens."""
    return hashlib.sha256(json.dumps([shard["sha256"] for shard in shards]).encode()).hexdigest()


@dataclass(frozen=True)
class TokenStore:
    """Some documents as places in the shards' tokens; a `SentenceStore`.

    In memory are 42 bytes a document. Starts and lengths of sentences are read when they are asked for: of a corpus that is
    large, ask for those of some `documents`.
    """

    shards: tuple[Ints, ...]  # memory maps, uint16 or uint32
    lengths: Lengths  # of all sentences on disk, those of documents that are not selected too
    document_firsts: Ints  # (D,) int64, the place of each document's first sentence in `lengths`
    document_starts: Ints  # (D,) int64, offset in the shards joined end to end
    document_tokens: Ints  # (D,) int64
    document_ends: Ints  # (D,) int64, cumulative, in sentences
    document_hashes: Ints  # (D,) uint64
    document_sources: Ints  # (D,) uint16, places in manifest["sources"]
    manifest: Manifest

    @classmethod
    def whole(
        cls, shards: tuple[Ints, ...], lengths: Lengths, ends: Ints, hashes: Ints, sources: Ints, manifest: Manifest
    ) -> Self:
        """Return the store of all documents, by the ends of each in sentences (D,). Raise ValueError for a negative length."""
        before = _tokens_before(lengths, ends)
        firsts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
        return cls(shards, lengths, firsts, before[:-1], np.diff(before), ends, hashes, sources, manifest)

    @property
    def num_tokens(self) -> int:
        """Return the number of tokens of the documents in this store or selection."""
        return int(self.document_tokens.sum())

    @cached_property
    def sentence_lengths(self) -> Ints:
        """Return the tokens of each sentence, (S,) int32."""
        sizes, firsts = np.diff(self.document_ends, prepend=0), self.document_firsts
        if (firsts[1:] == firsts[:-1] + sizes[:-1]).all():  # as on disk
            first = int(firsts[0]) if len(firsts) else 0
            return self.lengths[first : first + int(sizes.sum())]
        return self.lengths[ranges(firsts, sizes)]

    @cached_property
    def sentence_starts(self) -> Ints:
        """Return the offset of each sentence in the shards joined end to end, (S,) int64."""
        lengths, tokens = self.sentence_lengths, self.document_tokens
        within = self.document_starts - (np.cumsum(tokens) - tokens)
        within = np.repeat(within, np.diff(self.document_ends, prepend=0))
        starts: Ints = np.cumsum(lengths, dtype=np.int64) - lengths + within
        return starts

    def documents(self, first: int, last: int) -> Self:
        """Return a store of the documents `first` to `last` - 1."""
        before = self.document_ends[first - 1] if first else 0
        columns = ("firsts", "starts", "tokens", "hashes", "sources")
        some = {f"document_{name}": getattr(self, f"document_{name}")[first:last] for name in columns}
        return replace(self, document_ends=self.document_ends[first:last] - before, **some)

    @cached_property
    def fingerprint(self) -> str:
        """Return the identity of the tokens."""
        return fingerprint_of(self.manifest["shards"])

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

    def select(self, num_tokens: int | None, at_least: int = 1) -> Self:
        """Return the first `num_tokens` tokens of the documents in the order of their hashes, to the end of a sentence.

        None selects everything. The selected documents keep their order in the store. Where they would be fewer than `at_least`,
        so many are taken, each with its share of the tokens: a book alone may hold them all.
        """
        if num_tokens is None or num_tokens >= self.num_tokens:
            return self
        documents, sizes = self.first_documents(np.arange(len(self.document_ends)), num_tokens)
        if len(documents) < at_least:
            first = self.first_documents(np.arange(len(self.document_ends)), self.num_tokens)[0][:at_least]
            shares = [self.first_documents(first[i : i + 1], num_tokens // at_least) for i in range(len(first))]
            documents, sizes = (np.concatenate(column) for column in zip(*shares, strict=True))
        return self.keep(documents, sizes)

    def first_documents(self, documents: Ints, num_tokens: int) -> tuple[Ints, Ints]:
        """Return those of these documents that hold the first `num_tokens` tokens in the order of their hashes.

        Beside them, how many sentences of each: of the last one only those that begin within the limit. (D,) int64 each.
        """
        sizes = np.diff(self.document_ends, prepend=0)
        order = documents[np.argsort(self.document_hashes[documents], kind="stable")]
        order = order[sizes[order] > 0]
        reached = np.cumsum(self.document_tokens[order])
        last = int(np.searchsorted(reached, num_tokens))
        order, taken = order[: last + 1], sizes[order[: last + 1]]
        if last < len(reached):
            rest = num_tokens - (reached[last] - self.document_tokens[order[-1]])
            taken[-1] = np.searchsorted(np.cumsum(self._lengths_of(order[-1]), dtype=np.int64), rest) + 1
        return order, taken

    def keep(self, documents: Ints, sizes: Ints) -> Self:
        """Return a store of these documents alone, in their order in the store; of each, the first `sizes[i]` sentences."""
        order = np.argsort(documents, kind="stable")
        return self.subset(documents[order], sizes[order])

    def subset(self, documents: Ints, sizes: Ints) -> Self:
        """Return a store of these documents, which may repeat, in this order; of each, the first `sizes[i]` sentences."""
        tokens = self.document_tokens[documents]
        for i in np.flatnonzero(sizes < np.diff(self.document_ends, prepend=0)[documents]):
            tokens[i] = self._lengths_of(documents[i])[: sizes[i]].sum(dtype=np.int64)
        return replace(
            self,
            document_firsts=self.document_firsts[documents],
            document_starts=self.document_starts[documents],
            document_tokens=tokens,
            document_ends=np.cumsum(sizes),
            document_hashes=self.document_hashes[documents],
            document_sources=self.document_sources[documents],
        )

    def _lengths_of(self, document: int) -> Ints:
        return self.documents(int(document), int(document) + 1).sentence_lengths


def _tokens_before(lengths: Lengths, ends: Ints) -> Ints:
    """Return the tokens before each document and at the end, (D + 1,) int64, in the memory of some million sentences."""
    before, done = np.zeros(len(ends) + 1, np.int64), 0
    for first in range(0, len(lengths), CHUNK):
        some = lengths[first : first + CHUNK]
        if some.min() < 0:
            raise ValueError("a sentence has a negative length")
        sums = np.cumsum(some, dtype=np.int64)
        inside = slice(*np.searchsorted(ends, [first, first + len(sums)], side="right"))
        before[1:][inside] = done + sums[ends[inside] - first - 1]
        done += int(sums[-1])
    return before


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

    def documents(self, first: int, last: int) -> "SentenceStore": ...  # those alone; asked for of large stores only
