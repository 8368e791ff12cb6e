"""Text -> documents -> sentences -> tokenizer -> token store, each made once and found again by the hash of what made it.

The key of every folder is a hash of its inputs (versions, config), so a cached call reads no text. A folder is made beside
its place under a lock and renamed, so it is whole or absent, and processes that start at once make it once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from filelock import FileLock

from roberta_lab import token_store
from roberta_lab.config import ConfigError, DataMixConfig, TokenizerConfig
from roberta_lab.corpus import pydoc, sentences
from roberta_lab.corpus.document import Document

VERSION = 1  # raised when the code makes other text of the same sources
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Prepared:
    """Where the prepared data of a config lie."""

    corpus: Path  # train.jsonl, validation.jsonl, docstrings.jsonl, manifest.json
    tokenizer: Path  # tokenizer.json
    store: Path  # train/, validation/: a token store each

    def fingerprints(self) -> dict[str, str]:
        """What a run notes of its data: hashes of the content itself."""
        return {path.parent.name: _content(path) for path in (self.corpus, self.tokenizer, self.store)}


def prepare(data_mix: DataMixConfig, tokenizer: TokenizerConfig, cache: Path, progress: bool = True) -> Prepared:
    """Makes what is missing, says what it makes, and returns where it lies. With everything made it reads no text."""
    if data_mix.source != "pydoc":
        raise ConfigError(f"data_mix.source={data_mix.source!r} is unknown. Allowed: pydoc.")
    say = _say if progress else lambda line: None
    versions = {**pydoc.fingerprint(), **sentences.fingerprint()}
    source = {"version": VERSION, "source": "pydoc", "versions": versions, "held_out_share": data_mix.held_out_share}
    corpus = _made(cache / "corpus", source, lambda path: _write_corpus(path, data_mix.held_out_share), say)
    trained = {**asdict(tokenizer), "corpus": _content(corpus), "tokenizers": metadata.version("tokenizers")}
    encoding = _made(cache / "tokenizer", trained, lambda path: _train(path, corpus, tokenizer), say)
    store = _made(
        cache / "tokens",
        {"corpus": _content(corpus), "tokenizer": _content(encoding)},
        lambda path: _encode(path, corpus, encoding),
        say,
    )
    return Prepared(corpus, encoding, store)


def _content(path: Path) -> str:
    """The hash of what a prepared folder holds, noted when it was made."""
    return json.loads((path / "manifest.json").read_text(encoding="utf-8"))["content"]


def is_held_out(document_id: str, share: float) -> bool:
    """Whether a document belongs to the validation split: a fixed share of the hashes of all possible names."""
    return int.from_bytes(hashlib.sha256(f"split:{document_id}".encode()).digest()[:8], "big") < share * 2**64


def read_documents(corpus: Path, split: str) -> Iterator[dict[str, Any]]:
    """The documents of one split: {"id", "title", "package", "sentences"}. The sentences of a paragraph, joined, are its text."""
    with open(corpus / f"{split}.jsonl", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


# ---------------------------------------------------------------- made once
def _made(
    parent: Path, inputs: dict[str, Any], make: Callable[[Path], dict[str, Any]], say: Callable[[str], None]
) -> Path:
    """The folder of these inputs under `parent`; `make` fills it and returns its manifest if it is not there yet."""
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    path = parent / key
    if path.is_dir():
        return path
    parent.mkdir(parents=True, exist_ok=True)
    with FileLock(parent / f".{key}.lock"):
        for left_by_the_dead in parent.glob(f".{key}.making-*"):
            shutil.rmtree(left_by_the_dead)
        if not path.is_dir():
            say(f"preparing {parent.name} ...")
            start, making = time.monotonic(), parent / f".{key}.making-{os.getpid()}"
            making.mkdir()
            manifest = {"inputs": inputs, **make(making)}
            (making / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            os.replace(making, path)
            counts = ", ".join(f"{number:,} {name}" for name, number in manifest["counts"].items())
            say(f"prepared {parent.name}: {counts}; {time.monotonic() - start:.1f} s; {path}")
    return path


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the three makers
def _write_corpus(path: Path, held_out_share: float) -> dict[str, Any]:
    """One line per document in its split, and one per docstring for the tasks that are made of them."""
    counts: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    files = {name: open(path / f"{name}.jsonl", "w", encoding="utf-8") for name in (*SPLITS, "docstrings")}  # noqa: SIM115
    try:
        for module, group in groupby(pydoc.docstrings(), key=lambda record: record.module):
            records = list(group)
            held_out = is_held_out(module, held_out_share)
            for record in records:
                files["docstrings"].write(_line({**asdict(record), "held_out": held_out}))
            document = pydoc.document(records)
            if not document.paragraphs:
                counts["documents dropped"] += 1
                continue
            split = _sentences(document)
            files[SPLITS[held_out]].write(_line({"id": document.id, "title": document.title, "package": document.package, "sentences": split}))  # fmt: skip
            counts += Counter({"documents": 1, "held out": held_out, "sentences": len(split), "characters": sum(map(len, split)), "docstrings": len(records)})  # fmt: skip
            packages[document.package] += sum(map(len, split))
    finally:
        for file in files.values():
            file.close()
    content = hashlib.sha256()
    for name in sorted(files):
        with open(path / f"{name}.jsonl", "rb") as written:
            content.update(hashlib.file_digest(written, "sha256").digest())
    return {
        "content": content.hexdigest()[:16],
        "counts": dict(counts),
        "characters_by_package": dict(packages),
    }


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _sentences(document: Document) -> list[str]:
    """A sentence that goes on a paragraph begins with a space, as byte-level BPE wants it."""
    found = []
    for paragraph in document.paragraphs:
        first, *rest = sentences.segment(paragraph)
        found += [first, *(" " + sentence for sentence in rest)]
    return found


def _train(path: Path, corpus: Path, config: TokenizerConfig) -> dict[str, Any]:
    from roberta_lab import tokenizer

    texts = (sentence for document in read_documents(corpus, "train") for sentence in document["sentences"])
    if config.kind not in tokenizer.KINDS:
        raise ConfigError(f"tokenizer.kind={config.kind!r} is unknown. Allowed: {', '.join(tokenizer.KINDS)}.")
    trained = tokenizer.KINDS[config.kind](texts, config.vocab_size)
    trained.save(str(path / "tokenizer.json"))
    return {"content": tokenizer.load(path).fingerprint[:16], "counts": {"pieces": trained.get_vocab_size()}}


def _encode(path: Path, corpus: Path, tokenizer_path: Path) -> dict[str, Any]:
    from roberta_lab import tokenizer

    encoding = tokenizer.load(tokenizer_path)
    counts, contents = {}, []
    for split in SPLITS:
        encoded = (
            token_store.EncodedDocument(document["id"], encoding.encode_batch(document["sentences"]))
            for document in read_documents(corpus, split)
        )
        meta = {"split": split, "corpus": _content(corpus), "tokenizer": encoding.fingerprint}
        token_store.write(path / split, encoded, encoding.vocab_size, meta)
        store = token_store.open_store(path / split)
        counts[f"{split} tokens"] = store.num_tokens
        contents.append(store.fingerprint)
    return {"content": hashlib.sha256("".join(contents).encode()).hexdigest()[:16], "counts": counts}
