"""Tokenized text on disk: memory-mapped `.npy` shards of token ids, sentence and document ends, and a manifest.

Text is tokenized once per tokenizer and data mix; every input format is a plan of spans over the same store. A `TokenStore`
addresses sentences by their place in the tokens, so a selection of documents copies addresses and no tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SHARD_TOKENS = 1 << 27  # 256 MB of uint16


class EncodedDocument(NamedTuple):
    """The token ids of a document's sentences, no specials; a sentence may be empty."""

    id: str
    sentences: list[list[int]]


def document_hash(document_id: str) -> int:
    """64 bits that order documents at random, the same on every machine and for every run."""
    return int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:8], "little")


# ---------------------------------------------------------------- writing
def write(
    path: Path,
    documents: Iterable[EncodedDocument],
    vocab_size: int,
    meta: dict[str, Any],
    shard_tokens: int = SHARD_TOKENS,
) -> None:
    """Writes a store into the new folder `path`, in memory bounded by a shard; a document lies in one shard.

    Args:
        vocab_size: decides the type of the ids: uint16 up to 65,536 of them, else uint32.
        meta: what the manifest says of the store's origin.
    """
    path.mkdir(parents=True)
    dtype = np.uint16 if vocab_size <= 1 << 16 else np.uint32
    lengths, document_ends, hashes, shards = [], [], [], []
    for number, shard in enumerate(_shards(documents, shard_tokens)):
        sentences = [sentence for document in shard for sentence in document.sentences]
        tokens = np.fromiter((token for s in sentences for token in s), dtype, sum(map(len, sentences)))
        name = f"tokens-{number:05d}.npy"
        np.save(path / name, tokens)
        digest = hashlib.sha256((path / name).read_bytes()).hexdigest()
        shards.append({"file": name, "tokens": len(tokens), "sha256": digest})
        lengths.append(np.array([len(s) for s in sentences], np.int32))
        document_ends.append(np.array([len(d.sentences) for d in shard], np.int64))
        hashes.append(np.array([document_hash(d.id) for d in shard], np.uint64))
    np.save(path / "sentence_lengths.npy", np.concatenate([*lengths, np.empty(0, np.int32)]))
    np.save(path / "document_ends.npy", np.cumsum(np.concatenate([*document_ends, np.empty(0, np.int64)])))
    np.save(path / "document_hashes.npy", np.concatenate([*hashes, np.empty(0, np.uint64)]))
    counts = {
        "tokens": sum(shard["tokens"] for shard in shards),
        "sentences": sum(map(len, lengths)),
        "documents": sum(map(len, hashes)),
    }
    manifest = {"vocab_size": vocab_size, "dtype": np.dtype(dtype).name, **counts, "shards": shards, **meta}
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _shards(documents: Iterable[EncodedDocument], shard_tokens: int) -> Iterator[list[EncodedDocument]]:
    shard, size = [], 0
    for document in documents:
        shard.append(document)
        size += sum(map(len, document.sentences))
        if size >= shard_tokens:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


# ---------------------------------------------------------------- reading
@dataclass(frozen=True)
class TokenStore:
    """Sentences of documents, by their place in the shards' tokens (see `input_format.SentenceStore`)."""

    shards: tuple[np.ndarray, ...]  # memory maps, uint16 or uint32
    sentence_starts: np.ndarray  # (S,) int64, offset in the shards joined end to end
    sentence_lengths: np.ndarray  # (S,) int32
    document_ends: np.ndarray  # (D,) int64, cumulative, in sentences
    document_hashes: np.ndarray  # (D,) uint64
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

    def gather_tokens(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The runs of tokens at `starts` (M,) with `lengths` (M,), joined; a run lies in one shard."""
        places = ranges(starts, lengths)
        if len(self.shards) == 1:
            return self.shards[0][places]
        shard_of = np.searchsorted(self._shard_starts, places, side="right") - 1
        tokens = np.empty(len(places), self.manifest["dtype"])
        for shard in np.unique(shard_of):
            here = shard_of == shard
            tokens[here] = self.shards[shard][places[here] - self._shard_starts[shard]]
        return tokens

    def select(self, num_tokens: int | None) -> TokenStore:
        """The first `num_tokens` tokens of the documents in the order of their hashes, to the end of a sentence.

        None takes everything, as it lies. The selected documents keep the order in which they lie.
        """
        if num_tokens is None or num_tokens >= self.num_tokens:
            return self
        firsts = np.concatenate([[0], self.document_ends])
        order = np.argsort(self.document_hashes, kind="stable")
        shuffled = ranges(firsts[order], np.diff(firsts)[order])  # sentences, document by document
        enough = np.searchsorted(np.cumsum(self.sentence_lengths[shuffled], dtype=np.int64), num_tokens) + 1
        sentences = np.sort(shuffled[:enough])
        counts = np.diff(np.searchsorted(sentences, firsts))
        return replace(
            self,
            sentence_starts=self.sentence_starts[sentences],
            sentence_lengths=self.sentence_lengths[sentences],
            document_ends=np.cumsum(counts[counts > 0]),
            document_hashes=self.document_hashes[counts > 0],
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
    ends, hashes = np.load(path / "document_ends.npy"), np.load(path / "document_hashes.npy")
    return TokenStore(shards, starts, lengths, ends, hashes, manifest)
