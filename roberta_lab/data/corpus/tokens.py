"""Encode a corpus with a tokenizer into a token store: part by part, on all cores, then joined in order."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roberta_lab.axes import Ints
from roberta_lab.axes.data_mix import training_documents
from roberta_lab.axes.sentence_store import fingerprint_of
from roberta_lab.config import Damaged, DataMixConfig, naming
from roberta_lab.config.console import say
from roberta_lab.data import token_store
from roberta_lab.data.corpus import parts, workers
from roberta_lab.data.corpus.parts import Manifest
from roberta_lab.data.corpus.workers import Pieces
from roberta_lab.data.file_hashes import hashes_of, learn
from roberta_lab.data.seals import load_arrays, save_arrays
from roberta_lab.data.storage import remove_whole
from roberta_lab.data.token_store import Part, Shard

if TYPE_CHECKING:
    from roberta_lab.axes.tokenizer import Encoding

SENTENCES_AT_ONCE = 1 << 13
ATTEMPTS = 3  # to have all parts as they were written
WAY_OUT = "delete it, and the same command goes on"
PARTS = "parts"  # in the folder that is made: the tokens of each part of the corpus, until all are joined


@dataclass(frozen=True)
class Encoder:
    """How a corpus becomes tokens. `sources` are the names in the order of the mix."""

    corpus: Path
    tokenizer: Path
    sources: list[str]
    progress: bool
    num_workers: int | None

    def share(self, path: Path, leaves: bool) -> bool:
        """Encode parts of the corpus into `path` while there are some to take; return whether all are there."""
        (path / PARTS).mkdir(exist_ok=True)
        sizes = _sizes(self.corpus)
        encode, mark = partial(encode_part, path, self.corpus, self.tokenizer), partial(_mark, path)
        return workers.share(Pieces("tokens", "part", sizes, mark, encode), self.num_workers, self.progress, leaves)

    def write_stores(self, path: Path) -> Manifest:
        """Encode what is missing, join it to a store of each split in `path`, and return the manifest."""
        sizes, encoding = self._verified(path), _load(self.tokenizer)
        counts, contents = {}, []
        for place, split in enumerate(parts.SPLITS):
            shutil.rmtree(path / split, ignore_errors=True)  # left by an attempt that ended here
            meta = {"split": split, "tokenizer": encoding.fingerprint, "sources": self.sources}
            with naming(path / split):
                own = {stem: size[place] for stem, size in sizes.items()}
                shards = self._join(path, split, own, encoding.vocab_size, meta)
            counts[f"{split} tokens"] = sum(shard["tokens"] for shard in shards)
            contents.append(fingerprint_of(shards))
        remove_whole(path / PARTS)  # at once: no process takes a part that was removed for one that is missing
        return {"content": hashlib.sha256("".join(contents).encode()).hexdigest()[:16], "counts": counts}

    def _verified(self, path: Path) -> dict[str, list[int]]:
        """Return the number of tokens of each part, by split, once each is there as it was written. Raises Damaged."""
        stems, found = [*_sizes(self.corpus)], dict[str, list[int]]()
        for _ in range(ATTEMPTS):
            self.share(path, False)
            missing = [stem for stem in stems if stem not in found]
            for stem, sizes in workers.run(partial(_verify, path), missing, self.num_workers, "tokens", workers.QUICK):
                if sizes is not None:
                    found[stem] = sizes
            if len(found) == len(stems):
                return {stem: found[stem] for stem in stems}
        raise Damaged.at(path / PARTS, "is damaged again and again", "look at the disk")

    def _join(
        self, path: Path, split: str, sizes: dict[str, int], vocab_size: int, meta: Mapping[str, object]
    ) -> list[Shard]:
        """Write the store of a split and return its shards, written by all workers: each reads the parts that it needs."""
        (path / split).mkdir()
        runs = dict(enumerate(token_store.shards_of(sizes.values())))
        write = partial(_write_shard, path, split, [*sizes], runs, vocab_size)
        written = dict(workers.run(write, [*runs], self.num_workers, "tokens"))
        shards = [written[number] for number in runs]
        columns = (
            Part(np.empty(0), **load_arrays(_encoded(path, stem, split), WAY_OUT, without="tokens")) for stem in sizes
        )
        token_store.write_columns(path / split, columns, shards, vocab_size, meta)
        files = [path / split / shard["file"] for shard in shards]
        for _, found in workers.run(hashes_of, files, self.num_workers, "tokens"):  # of what lies on the disk now
            learn(found)
        return shards


def _write_shard(
    path: Path, split: str, stems: list[str], runs: dict[int, list[tuple[int, int, int]]], vocab_size: int, number: int
) -> Shard:
    tokens = (_part(_encoded(path, stems[i], split)).tokens[start:end] for i, start, end in runs[number])
    return token_store.write_shard(path / split, number, tokens, vocab_size)


@lru_cache(maxsize=1)
def _sizes(corpus: Path) -> dict[str, int]:
    """Return the bytes of text of each part of a corpus."""
    texts = {
        stem: [corpus / "parts" / f"{stem}.{split}.jsonl" for split in parts.SPLITS] for stem in parts.names(corpus)
    }
    return {stem: sum(file.stat().st_size for file in files) for stem, files in texts.items()}


def cut_of(store: Path, config: DataMixConfig) -> str:
    """Return how much of the prepared text a run reads, where that is not all of it: a line for the console, or nothing."""
    train, validation = (token_store.open_store(store / split) for split in parts.SPLITS)
    read, there = (
        training_documents(train, config).num_tokens,
        training_documents(train, replace(config, train_tokens=None)).num_tokens,
    )
    scored = validation.select(config.validation_tokens).num_tokens
    said = [
        *([f"trains on {read:,} of {there:,} tokens (data_mix.train_tokens)"] if read < there else []),
        *(
            [f"is scored on {scored:,} of {validation.num_tokens:,} held-out tokens (data_mix.validation_tokens)"]
            if scored < validation.num_tokens
            else []
        ),
    ]
    return ", and ".join(said)


def encode_part(path: Path, corpus: Path, tokenizer: Path, stem: str) -> int:
    """Write the tokens of one part of the corpus, split by split; return their number."""
    found, kept = parts.records(corpus, stem), parts.kept(corpus, stem)
    encoding, number = _load(tokenizer), 0
    dtype = token_store.dtype_of(encoding.vocab_size)
    for place, split in enumerate(parts.SPLITS):
        documents = found[kept & (found["held_out"] == place)]
        tokens: list[Ints] = [np.empty(0, dtype)]
        lengths: list[Ints] = [np.empty(0, np.int64)]
        rest = (sentence for document in parts.lines(corpus, stem, split) for sentence in document["sentences"])
        while block := list(islice(rest, SENTENCES_AT_ONCE)):
            ids, sizes = encoding.encode(block)
            tokens.append(ids.astype(dtype))
            lengths.append(sizes)
        columns = (documents["sentences"].astype(np.int64), documents["name"], documents["source"])
        part = Part(np.concatenate(tokens), np.concatenate(lengths), *columns)
        save_arrays(_encoded(path, stem, split), part._asdict())
        number += len(part.tokens)
    return number


def _part(file: Path) -> Part:
    return Part(**load_arrays(file, WAY_OUT))


def _verify(path: Path, stem: str) -> list[int] | None:
    """Return the number of tokens of a part, by split. None where a file is damaged, which is said, or missing: it is unmarked."""
    try:
        return [len(_part(_encoded(path, stem, split)).tokens) for split in parts.SPLITS]
    except FileNotFoundError:
        pass
    except Damaged as damage:
        say(f"{str(damage).partition(';')[0]}; it is made again")
    _mark(path, stem).unlink(missing_ok=True)
    return None


def _encoded(path: Path, stem: str, split: str) -> Path:
    return path / PARTS / f"{stem}.{split}.npz"


def _mark(path: Path, stem: str) -> Path:
    return _encoded(path, stem, parts.SPLITS[-1])  # which is written last


@lru_cache(maxsize=1)  # a process encodes many parts with the words it has met
def _load(tokenizer: Path) -> Encoding:
    from roberta_lab.axes.tokenizer import load

    return load(tokenizer)
