"""Write and open tokenized text: `.npy` shards of token ids, sentence and document ends, and a manifest.

Text is tokenized once per tokenizer and data mix; every input format is a plan of spans over the same store. A `TokenStore`
addresses sentences by their place in the tokens, so a selection of documents copies addresses and no tokens.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from roberta_lab.axes.sentence_store import Shard, TokenStore

SHARD_TOKENS = 1 << 30  # 2 GB of uint16


class Part(NamedTuple):
    """Some documents of a store, encoded: P tokens in S sentences of D documents, no special tokens."""

    tokens: np.ndarray  # (P,) unsigned integers
    sentence_lengths: np.ndarray  # (S,) integers; a sentence may be empty
    document_sizes: np.ndarray  # (D,) integers, in sentences
    document_hashes: np.ndarray  # (D,) uint64, a random order of the documents
    document_sources: np.ndarray  # (D,) integers, places in the list of the mix's sources

    def save(self, path: Path) -> None:
        """Write the part as one `.npz` file."""
        np.savez(path, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the part that `save` wrote."""
        with np.load(path) as found:
            return cls(**found)


# ---------------------------------------------------------------- writing
def write(
    path: Path, parts: Iterable[Part], vocab_size: int, meta: Mapping[str, object], shard_tokens: int = SHARD_TOKENS
) -> None:
    """Write a store into the new folder `path`, in the memory of one part. How documents are cut into parts changes nothing.

    Ids are uint16 if `vocab_size` is 65,536 or less, else uint32. `meta` goes into the manifest.
    """
    path.mkdir(parents=True)
    dtype = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
    with ExitStack() as stack:
        columns = {name: stack.enter_context(_Column(path / f"{name}.npy", kind)) for name, kind in _COLUMNS.items()}
        shards: list[_Column] = []
        for part in parts:
            rest = part.tokens
            while len(rest):
                if not shards or shards[-1].size == shard_tokens:
                    shards.append(stack.enter_context(_Column(path / f"tokens-{len(shards):05d}.npy", dtype)))
                room = shard_tokens - shards[-1].size
                shards[-1].append(rest[:room])
                rest = rest[room:]
            ends = columns["document_ends"].last + np.cumsum(part.document_sizes, dtype=np.int64)
            values = (part.sentence_lengths, ends, part.document_hashes, part.document_sources)
            for column, added in zip(columns.values(), values, strict=True):
                column.append(added)
    manifest = {
        "vocab_size": vocab_size,
        "dtype": dtype.name,
        "tokens": sum(shard.size for shard in shards),
        "sentences": columns["sentence_lengths"].size,
        "documents": columns["document_ends"].size,
        "shards": [_described(shard) for shard in shards],
        **meta,
    }
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


_COLUMNS: dict[str, np.dtype] = {
    "sentence_lengths": np.dtype(np.int32),
    "document_ends": np.dtype(np.int64),
    "document_hashes": np.dtype(np.uint64),
    "document_sources": np.dtype(np.uint16),
}


class _Column:
    """A one-dimensional `.npy` file that grows. Its header has room to grow too and is written again at the end."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path, self._dtype, self.size, self.last = path, dtype, 0, 0

    def __enter__(self) -> Self:
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


def _described(shard: _Column) -> Shard:
    with open(shard.path, "rb") as file:
        return Shard(file=shard.path.name, tokens=shard.size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def open_store(path: Path) -> TokenStore:
    """Return the store in a folder that `write` made. Its tokens stay on disk until they are read."""
    manifest = json.loads((path / "manifest.json").read_text())
    shards = tuple(np.load(path / shard["file"], mmap_mode="r") for shard in manifest["shards"])
    lengths = np.load(path / "sentence_lengths.npy")
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    ends, hashes, sources = (np.load(path / f"document_{name}.npy") for name in ("ends", "hashes", "sources"))
    return TokenStore(shards, starts, lengths, ends, hashes, sources, manifest)
