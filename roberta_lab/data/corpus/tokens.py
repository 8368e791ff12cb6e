"""Encode a corpus with a tokenizer into a token store: part by part, on all cores, then joined in order."""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roberta_lab.axes import Ints
from roberta_lab.axes.data_mix import training_documents
from roberta_lab.config import Damaged, DataMixConfig, naming
from roberta_lab.data import token_store
from roberta_lab.data.corpus import parts, workers
from roberta_lab.data.corpus.parts import Manifest
from roberta_lab.data.token_store import Part
from roberta_lab.data.verified import load_arrays, save_arrays

if TYPE_CHECKING:
    from roberta_lab.axes.tokenizer import Encoding

SENTENCES_AT_ONCE = 1 << 13


def write_stores(
    path: Path, corpus: Path, tokenizer: Path, sources: list[str], progress: bool, num_workers: int | None
) -> Manifest:
    """Write a store of each split into `path` and return the manifest. `sources` are the names in the order of the mix."""
    stems = parts.names(corpus)
    (path / "parts").mkdir(exist_ok=True)
    sizes = {stem: int(parts.records(corpus, stem)["characters"].sum()) for stem in stems}
    finished = {stem for stem in stems if all(_is_whole(_encoded(path, stem, split)) for split in parts.SPLITS)}
    workers.run(partial(encode_part, path, corpus, tokenizer), sizes, finished, num_workers, "tokens", progress)
    encoding = _load(tokenizer)
    counts, contents = {}, []
    for split in parts.SPLITS:
        shutil.rmtree(path / split, ignore_errors=True)  # left by an attempt that ended here
        encoded = (_part(_encoded(path, stem, split)) for stem in stems)
        meta = {"split": split, "tokenizer": encoding.fingerprint, "sources": sources}
        with naming(path / split):
            token_store.write(path / split, encoded, encoding.vocab_size, meta)
        store = token_store.open_store(path / split)
        counts[f"{split} tokens"] = store.num_tokens
        contents.append(store.fingerprint)
    shutil.rmtree(path / "parts")
    return {"content": hashlib.sha256("".join(contents).encode()).hexdigest()[:16], "counts": counts}


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


def encode_part(path: Path, corpus: Path, tokenizer: Path, stem: str) -> None:
    """Write the tokens of one part of the corpus, split by split."""
    found, kept = parts.records(corpus, stem), parts.kept(corpus, stem)
    encoding = _load(tokenizer)
    dtype = token_store.dtype_of(encoding.vocab_size)
    for number, split in enumerate(parts.SPLITS):
        documents = found[kept & (found["held_out"] == number)]
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


def _part(file: Path) -> Part:
    return Part(**load_arrays(file, "delete it, and the same command goes on"))


def _is_whole(file: Path) -> bool:
    """Return whether an earlier attempt has made a part, and it is as it was written; a damaged one is made again."""
    try:
        _part(file)
    except FileNotFoundError:
        return False
    except Damaged as damage:
        print(f"{str(damage).partition(';')[0]}; it is made again", file=sys.stderr)
        return False
    return True


def _encoded(path: Path, stem: str, split: str) -> Path:
    return path / "parts" / f"{stem}.{split}.npz"


@lru_cache(maxsize=1)  # a process encodes many parts with the words it has met
def _load(tokenizer: Path) -> Encoding:
    from roberta_lab.axes.tokenizer import load

    return load(tokenizer)
