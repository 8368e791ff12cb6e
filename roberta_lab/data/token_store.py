"""Write and open tokenized text: `.npy` shards of token ids, sentence and document ends, and a manifest.

Text is tokenized once per tokenizer and data mix; every input format is a plan of spans over the same store. A `TokenStore`
addresses sentences by their place in the tokens, so a selection of documents copies addresses and no tokens.
"""

import json
import mmap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from roberta_lab.axes.sentence_store import Manifest, Shard, TokenStore
from roberta_lab.config import Damaged
from roberta_lab.data.file_hashes import sha256_of
from roberta_lab.data.growing_array import GrowingArray
from roberta_lab.data.verified import load_array, read_json, way_out

SHARD_TOKENS = 1 << 30  # 2 GB of uint16


class Part(NamedTuple):
    """Some documents of a store, encoded: P tokens in S sentences of D documents, no special tokens."""

    tokens: np.ndarray  # (P,) unsigned integers
    sentence_lengths: np.ndarray  # (S,) integers; a sentence may be empty
    document_sizes: np.ndarray  # (D,) integers, in sentences
    document_hashes: np.ndarray  # (D,) uint64, a random order of the documents
    document_sources: np.ndarray  # (D,) integers, places in the list of the mix's sources


def dtype_of(vocab_size: int) -> np.dtype:
    """Return the narrowest type that token ids are stored as."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


# ---------------------------------------------------------------- writing
def write(
    path: Path, parts: Iterable[Part], vocab_size: int, meta: Mapping[str, object], shard_tokens: int = SHARD_TOKENS
) -> None:
    """Write a store into the new folder `path`. How documents are cut into parts changes nothing.

    Ids are uint16 if `vocab_size` is 65,536 or less, else uint32. `meta` goes into the manifest.
    """
    path.mkdir(parents=True)
    every = [*parts]
    shards = [
        write_shard(path, number, (every[i].tokens[start:end] for i, start, end in runs), vocab_size)
        for number, runs in enumerate(shards_of([len(part.tokens) for part in every], shard_tokens))
    ]
    write_columns(path, every, shards, vocab_size, meta)


def shards_of(sizes: Iterable[int], shard_tokens: int = SHARD_TOKENS) -> list[list[tuple[int, int, int]]]:
    """Return what each shard holds, of parts with so many tokens: the number of a part, and the first and last token of it."""
    found, room = list[list[tuple[int, int, int]]](), 0
    for number, size in enumerate(sizes):
        start = 0
        while start < size:
            if not room:
                found.append([])
                room = shard_tokens
            end = min(size, start + room)
            found[-1].append((number, start, end))
            start, room = end, room - (end - start)
    return found


def write_shard(path: Path, number: int, runs: Iterable[np.ndarray], vocab_size: int) -> Shard:
    """Write one shard of a store: runs of tokens, in the memory of one of them."""
    file = path / f"tokens-{number:05d}.npy"
    with open(file, "wb") as out:
        shard = GrowingArray(out, dtype_of(vocab_size))
        for run in runs:
            shard.append(run)
    return Shard(file=file.name, tokens=shard.size, sha256=sha256_of(file))


def write_columns(
    path: Path, parts: Iterable[Part], shards: Sequence[Shard], vocab_size: int, meta: Mapping[str, object]
) -> None:
    """Write all of a store but its shards, in the memory of one part. The tokens of the parts are not looked at."""
    with ExitStack() as stack:
        columns = {
            name: GrowingArray(stack.enter_context(open(path / f"{name}.npy", "wb")), kind)
            for name, kind in _COLUMNS.items()
        }
        for column in columns.values():
            column.append(np.empty(0))  # also a store without documents has its files
        for part in parts:
            ends = columns["sentence_lengths"].size + np.cumsum(part.document_sizes, dtype=np.int64)
            values = (part.sentence_lengths, ends, part.document_hashes, part.document_sources)
            for column, added in zip(columns.values(), values, strict=True):
                column.append(added)
    manifest = {
        "vocab_size": vocab_size,
        "dtype": dtype_of(vocab_size).name,
        "tokens": sum(shard["tokens"] for shard in shards),
        "sentences": columns["sentence_lengths"].size,
        "documents": columns["document_ends"].size,
        "shards": [*shards],
        **meta,
    }
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


_COLUMNS: dict[str, np.dtype] = {
    "sentence_lengths": np.dtype(np.int32),
    "document_ends": np.dtype(np.int64),
    "document_hashes": np.dtype(np.uint64),
    "document_sources": np.dtype(np.uint16),
}


def open_store(path: Path) -> TokenStore:
    """Return the store in a folder that `write` made. Its tokens stay on disk until they are read.

    Raises: Damaged for a file that is not as it was written; each is hashed once in a process.
    """
    manifest = cast(Manifest, read_json(path / "manifest.json"))
    shards = tuple(_shard(path, shard) for shard in manifest["shards"])
    lengths = OnDisk(path / "sentence_lengths.npy")
    ends, hashes, sources = (load_array(path / f"document_{name}.npy") for name in ("ends", "hashes", "sources"))
    number, tokens = len(lengths), sum(map(len, shards))
    fits = [
        len(ends) == len(hashes) == len(sources),
        ends[-1] == number if len(ends) else not number,
        (np.diff(ends, prepend=0) >= 0).all(),
    ]
    with suppress(ValueError):
        if all(fits):
            store = TokenStore.whole(shards, lengths, ends, hashes, sources, manifest)
            if store.num_tokens == tokens:
                return store
    # of older code, without hashes
    raise Damaged.at(path, "is damaged: its parts do not fit together", way_out(path / "manifest.json"))


class OnDisk:
    """An array of a file of a made folder. What is asked for is read, and nothing of the file stays in memory."""

    def __init__(self, path: Path) -> None:
        self._array = load_array(path, "r")

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, places: slice | np.ndarray, /) -> np.ndarray:
        found = np.array(self._array[places])
        if isinstance(self._array.base, mmap.mmap) and hasattr(
            mmap, "MADV_DONTNEED"
        ):  # else pages stay in this process
            self._array.base.madvise(mmap.MADV_DONTNEED)
        return found


def _shard(path: Path, shard: Shard) -> np.ndarray:
    """Return a shard on disk. Its hash stands in the manifest, also in stores of older code."""
    file = path / shard["file"]
    found = load_array(file, "r")
    if sha256_of(file) != shard["sha256"]:
        raise Damaged.at(file, "is damaged: its SHA-256 is not the one in the manifest", way_out(file))
    return found
