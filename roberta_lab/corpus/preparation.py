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
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock
from tqdm import tqdm

from roberta_lab import token_store
from roberta_lab.config import ConfigError, DataMixConfig, SourceConfig, TokenizerConfig
from roberta_lab.corpus import files, pydoc, sentences, sources
from roberta_lab.corpus.document import Document

VERSION = 1  # raised when the code makes other text of the same sources
SPLITS = ("train", "validation")
WRITTEN = (*SPLITS, "docstrings")


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
    say = _say if progress else lambda line: None
    corpus = _corpus(data_mix, cache, progress)
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


def embedded(held_out_share: float, cache: Path, progress: bool = True) -> Path:
    """The embedded corpus alone, which the `pydoc` tasks are made of, whatever pretraining read."""
    return _corpus(DataMixConfig({"pydoc": SourceConfig("pydoc")}, held_out_share=held_out_share), cache, progress)


def _corpus(data_mix: DataMixConfig, cache: Path, progress: bool) -> Path:
    if not data_mix.sources:
        raise ConfigError("data_mix.sources is empty: name at least one, or choose data_mix=pydoc.")
    for name, source in data_mix.sources.items():
        if source.kind != "pydoc" and not source.path:
            what = f" (stands for {source.stands_for})" if source.stands_for else ""
            raise ConfigError(
                f"data_mix.sources.{name}.path is missing{what}: a file, a folder or a glob of {source.kind}."
            )
    inputs = {
        "version": VERSION,
        "sources": {name: _fingerprint(source, cache) for name, source in data_mix.sources.items()},
        "segmentation": sentences.fingerprint(),
        "deduplicate": data_mix.deduplicate,
        "held_out_share": data_mix.held_out_share,
    }
    say = _say if progress else lambda line: None
    return _made(cache / "corpus", inputs, lambda path: _write_corpus(path, data_mix, progress), say)


def _fingerprint(source: SourceConfig, cache: Path) -> dict[str, Any]:
    return pydoc.fingerprint() if source.kind == "pydoc" else files.fingerprint(source, cache)


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
def _write_corpus(path: Path, data_mix: DataMixConfig, progress: bool) -> dict[str, Any]:
    """One line per document in its split; for the embedded source also one per docstring, of which its tasks are made."""
    counts: Counter[str] = Counter()
    by_package: Counter[str] = Counter()
    seen: set[bytes] = set()
    with ExitStack() as stack:
        out = {name: stack.enter_context(open(path / f"{name}.jsonl", "w", encoding="utf-8")) for name in WRITTEN}
        bar = stack.enter_context(tqdm(unit="B", unit_scale=True, desc="corpus", mininterval=1, disable=not progress))
        for document, key in _documents(data_mix, counts, out["docstrings"]):
            found = _sentences(document)
            if not found or (data_mix.deduplicate and _is_known(found, seen)):
                counts["documents duplicate" if found else "documents without text"] += 1
                continue
            held_out, size = is_held_out(key, data_mix.held_out_share), sum(map(len, found))
            line = {"id": document.id, "title": document.title, "package": document.package, "sentences": found}
            out[SPLITS[held_out]].write(_line(line))
            counts += Counter({"documents kept": 1, "held out": held_out, "sentences": len(found)})
            by_package[document.package] += size
            bar.update(size)
    content = hashlib.sha256()
    for name in sorted(WRITTEN):
        with open(path / f"{name}.jsonl", "rb") as written:
            content.update(hashlib.file_digest(written, "sha256").digest())
    counts["characters kept"] = by_package.total()
    return {"content": content.hexdigest()[:16], "counts": dict(counts), "characters_by_package": dict(by_package)}


def _documents(data_mix: DataMixConfig, counts: Counter[str], docstrings: TextIO) -> Iterator[tuple[Document, str]]:
    """Every document of the mix, source by source, and the name by which its split is chosen."""
    for name, source in data_mix.sources.items():
        if source.kind != "pydoc":
            for document in sources.documents(source, counts, name):
                yield document, f"{name}:{document.id}"
            continue
        for module, group in groupby(pydoc.docstrings(), key=lambda record: record.module):
            records = list(group)
            held_out = is_held_out(module, data_mix.held_out_share)
            for record in records:
                docstrings.write(_line({**asdict(record), "held_out": held_out}))
            counts["docstrings"] += len(records)
            yield pydoc.document(records), module


def _is_known(found: list[str], seen: set[bytes]) -> bool:
    """Whether a document of the same text came before; 16 bytes of memory a document."""
    digest = hashlib.blake2b("\n".join(found).encode(), digest_size=16).digest()
    known = digest in seen
    seen.add(digest)
    return known


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _sentences(document: Document) -> list[str]:
    """A sentence that goes on a paragraph begins with a space, as byte-level BPE wants it."""
    found = []
    for paragraph in document.paragraphs:
        for number, sentence in enumerate(sentences.segment(paragraph)):
            found.append(" " + sentence if number else sentence)
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
