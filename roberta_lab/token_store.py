"""Tokenized text on disk: memory-mapped `.npy` shards of token ids, sentence and document ends, and a manifest.

Text is tokenized once per tokenizer and data mix; every input format is a plan of spans over the same store. A `TokenStore`
addresses sentences by their place in the tokens, so a selection of documents copies addresses and no tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SHARD_TOKENS = 1 << 30  # 2 GB of uint16
_LONG_RUN = 128  # tokens, from which on copying a run is faster than indexing its tokens


class Part(NamedTuple):
    """Some documents of a store, encoded: P tokens in S sentences of D documents, no special tokens."""

    tokens: np.ndarray  # (P,) unsigned integers
    sentence_lengths: np.ndarray  # (S,) integers; a sentence may be empty
    document_sizes: np.ndarray  # (D,) integers, in sentences
    document_hashes: np.ndarray  # (D,) uint64, which order documents at random
    document_sources: np.ndarray  # (D,) integers, places in the list of the mix's sources

    def save(self, path: Path) -> None:
        """As one `.npz` file."""
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Part:
        """What `save` wrote."""
        with np.load(path) as found:
            return cls(**found)


# ---------------------------------------------------------------- writing
def write(
    path: Path, parts: Iterable[Part], vocab_size: int, meta: dict[str, Any], shard_tokens: int = SHARD_TOKENS
) -> None:
    """Writes a store into the new folder `path`, in memory bounded by a part. How documents are cut into parts leaves no trace.

    Args:
        vocab_size: decides the type of the ids: uint16 up to 65,536 of them, else uint32.
        meta: what the manifest says of the store's origin.
    """
    path.mkdir(parents=True)
    dtype = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
    with ExitStack() as stack:
        columns = {name: stack.enter_context(_Column(path / f"{name}.npy", kind)) for name, kind in _COLUMNS.items()}
        shards = stack.enter_context(_Shards(path, dtype, shard_tokens))
        for part in parts:
            shards.append(part.tokens)
            columns["sentence_lengths"].append(part.sentence_lengths)
            columns["document_ends"].append(
                columns["document_ends"].last + np.cumsum(part.document_sizes, dtype=np.int64)
            )
            columns["document_hashes"].append(part.document_hashes)
            columns["document_sources"].append(part.document_sources)
    counts = {
        "tokens": shards.size,
        "sentences": columns["sentence_lengths"].size,
        "documents": columns["document_ends"].size,
    }
    manifest = {"vocab_size": vocab_size, "dtype": dtype.name, **counts, "shards": shards.described(), **meta}
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


_COLUMNS = {
    "sentence_lengths": np.dtype(np.int32),
    "document_ends": np.dtype(np.int64),
    "document_hashes": np.dtype(np.uint64),
    "document_sources": np.dtype(np.uint16),
}


class _Column:
    """A one-dimensional `.npy` file that grows; its header, which has room to grow too, is written again at the end."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path, self._dtype, self.size, self.last = path, dtype, 0, 0

    def __enter__(self) -> _Column:
        self._file = open(self.path, "wb")
        self._header()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._header()
        self._file.close()

    def _header(self) -> None:
        described = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self._file, described)

    def append(self, values: np.ndarray) -> None:
        if len(values):
            self.size, self.last = self.size + len(values), int(values[-1])
            self._file.write(np.ascontiguousarray(values, self._dtype).data)


class _Shards:
    """Tokens in files of `shard_tokens` each, but for the last."""

    def __init__(self, path: Path, dtype: np.dtype, shard_tokens: int) -> None:
        self._path, self._dtype, self._room = path, dtype, shard_tokens
        self._shards: list[_Column] = []

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *error: object) -> None:
        if self._shards:
            self._shards[-1].__exit__(*error)

    @property
    def size(self) -> int:
        """Tokens of all shards."""
        return sum(shard.size for shard in self._shards)

    def append(self, tokens: np.ndarray) -> None:
        while len(tokens):
            if not self._shards or self._shards[-1].size == self._room:
                self.__exit__(None, None, None)
                self._shards.append(
                    _Column(self._path / f"tokens-{len(self._shards):05d}.npy", self._dtype).__enter__()
                )
            room = self._room - self._shards[-1].size
            self._shards[-1].append(tokens[:room])
            tokens = tokens[room:]

    def described(self) -> list[dict[str, Any]]:
        """Name, size and SHA-256 of each file, for the manifest."""
        found = []
        for shard in self._shards:
            with open(shard.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append({"file": shard.path.name, "tokens": shard.size, "sha256": digest})
        return found


# ---------------------------------------------------------------- reading
@dataclass(frozen=True)
class TokenStore:
    """Sentences of documents, by their place in the shards' tokens (see `input_format.SentenceStore`)."""

    shards: tuple[np.ndarray, ...]  # memory maps, uint16 or uint32
    sentence_starts: np.ndarray  # (S,) int64, offset in the shards joined end to end
    sentence_lengths: np.ndarray  # (S,) int32
    document_ends: np.ndarray  # (D,) int64, cumulative, in sentences
    document_hashes: np.ndarray  # (D,) uint64
    document_sources: np.ndarray  # (D,) uint16, places in manifest["sources"]
    manifest: dict[str, Any]

    @property
    def num_tokens(self) -> int:
        """Tokens of the documents in this store or selection."""
        return int(self.sentence_lengths.sum(dtype=np.int64))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the hashes of the shards: the tokens' identity."""
        return hashlib.sha256(json.dumps([s["sha256"] for s in self.manifest["shards"]]).encode()).hexdigest()

    @cached_property
    def _shard_starts(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.shards)])

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """The shards as plain arrays over the same memory: slicing a `memmap` takes several times as long."""
        return tuple(shard.view(np.ndarray) for shard in self.shards)

    def gather_tokens(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The runs of tokens at `starts` (M,) with `lengths` (M,), joined.

        Long runs are copied whole: an index of every token takes four times the bytes of the tokens. For short ones the
        index costs less than a step of Python.
        """
        starts, lengths = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
        if len(self.shards) == 1 and lengths.sum() < _LONG_RUN * len(starts):
            return self._arrays[0].take(ranges(starts, lengths))
        ends = starts + lengths
        edges = np.ones(len(starts) + 1, bool)  # not between runs that lie side by side, which are one
        edges[1:-1] = starts[1:] != ends[:-1]
        pieces = self._cut(starts[edges[:-1]], ends[edges[1:]])
        arrays = self._arrays
        runs = [arrays[k][start:end] for k, start, end in zip(*(x.tolist() for x in pieces), strict=True)]
        return np.concatenate(runs) if runs else np.empty(0, self.manifest["dtype"])

    def _cut(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Runs cut where shards end: the shard of each piece, and its start and end there. Empty runs go."""
        if len(self.shards) == 1:
            return np.zeros_like(starts), starts, ends
        borders = self._shard_starts
        firsts = borders[1:-1].searchsorted(starts, side="right")
        num_pieces = np.maximum(borders[1:-1].searchsorted(ends - 1, side="right") - firsts + 1, 0)
        shard, run = ranges(firsts, num_pieces), np.repeat(np.arange(len(starts)), num_pieces)
        lows, highs = np.maximum(starts[run], borders[shard]), np.minimum(ends[run], borders[shard + 1])
        return shard, lows - borders[shard], highs - borders[shard]

    def select(self, num_tokens: int | None) -> TokenStore:
        """The first `num_tokens` tokens of the documents in the order of their hashes, to the end of a sentence.

        None takes everything, as it lies. The selected documents keep the order in which they lie.
        """
        if num_tokens is None or num_tokens >= self.num_tokens:
            return self
        return self.keep(self.first_sentences(np.arange(len(self.document_ends)), num_tokens))

    def first_sentences(self, documents: np.ndarray, num_tokens: int) -> np.ndarray:
        """The sentences that hold the first `num_tokens` tokens of these documents in the order of their hashes, (S,) int64."""
        firsts = np.concatenate([[0], self.document_ends])
        order = documents[np.argsort(self.document_hashes[documents], kind="stable")]
        shuffled = ranges(firsts[order], np.diff(firsts)[order])  # sentences, document by document
        enough = np.searchsorted(np.cumsum(self.sentence_lengths[shuffled], dtype=np.int64), num_tokens) + 1
        return shuffled[:enough]

    def keep(self, sentences: np.ndarray) -> TokenStore:
        """These sentences alone, in the order in which they lie; documents without any go."""
        sentences = np.sort(sentences)
        counts = np.diff(np.searchsorted(sentences, np.concatenate([[0], self.document_ends])))
        return replace(
            self,
            sentence_starts=self.sentence_starts[sentences],
            sentence_lengths=self.sentence_lengths[sentences],
            document_ends=np.cumsum(counts[counts > 0]),
            document_hashes=self.document_hashes[counts > 0],
            document_sources=self.document_sources[counts > 0],
        )


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, ..., for `lengths[0]` numbers, then starts[1], ..., joined. int64."""
    ends = np.cumsum(lengths, dtype=np.int64)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(np.asarray(starts, np.int64) - (ends - lengths), lengths)


def open_store(path: Path) -> TokenStore:
    """The store in a folder that `write` made; tokens stay on disk until they are read."""
    manifest = json.loads((path / "manifest.json").read_text())
    shards = tuple(np.load(path / shard["file"], mmap_mode="r") for shard in manifest["shards"])
    lengths = np.load(path / "sentence_lengths.npy")
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    ends, hashes, sources = (np.load(path / f"document_{name}.npy") for name in ("ends", "hashes", "sources"))
    return TokenStore(shards, starts, lengths, ends, hashes, sources, manifest)
