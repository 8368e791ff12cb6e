"""Text -> documents -> sentences -> tokenizer -> token store, each made once and found again by the hash of what made it.

The key of every folder is a hash of its inputs (versions, config, contents), so a cached call reads no text. A folder is made
in its place's hidden neighbour under a lock and renamed, so it is whole or absent, and processes that start at once make it
once. What a killed process had finished of it is kept, and the next one goes on from there.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from tqdm import tqdm

from roberta_lab.config import Config, ConfigError, DataMixConfig, SourceConfig, TokenizerConfig
from roberta_lab.data.corpus import parts, sentences, tokens, units, workers
from roberta_lab.data.corpus.parts import read_documents
from roberta_lab.data.storage import Timeout, digest, locked

VERSION = 3  # raised when the code makes other text of the same sources


@dataclass(frozen=True)
class Prepared:
    """Where the prepared data of a config lie."""

    corpus: Path  # documents, sentence by sentence (see `parts`), docstrings.jsonl, manifest.json
    tokenizer: Path  # tokenizer.json
    store: Path  # train/, validation/: a token store each

    def fingerprints(self) -> dict[str, str]:
        """What a run notes of its data: hashes of the content itself."""
        return {path.parent.name: _content(path) for path in (self.corpus, self.tokenizer, self.store)}


def prepare(
    data_mix: DataMixConfig,
    tokenizer: TokenizerConfig,
    cache: Path,
    progress: bool = True,
    num_workers: int | None = None,
) -> Prepared:
    """Makes what is missing, says what it makes, and returns where it lies. With everything made it reads no text.

    Args:
        num_workers: processes; None for one a core. The result is the same for any number.
    """
    corpus = _corpus(data_mix, cache, progress, num_workers)
    encoding = _tokenizer(tokenizer, corpus, cache, progress)
    sources = list(data_mix.sources)
    store = _made(
        cache / "tokens",
        {"version": VERSION, "sources": sources, "corpus": _content(corpus), "tokenizer": _content(encoding)},
        lambda path: tokens.write_stores(path, corpus, encoding, sources, progress, num_workers),
        progress,
    )
    return Prepared(corpus, encoding, store)


def prepared_for(config: Config) -> Prepared:
    """The data of a config."""
    cache, progress = Path(config.paths.cache), config.trainer.progress
    return prepare(config.data_mix, config.tokenizer, cache, progress, config.prepare.workers)


def _content(path: Path) -> str:
    """The hash of what a prepared folder holds, noted when it was made."""
    return json.loads((path / "manifest.json").read_text(encoding="utf-8"))["content"]


def embedded(config: Config) -> Path:
    """The embedded corpus alone, which the `pydoc` tasks are made of, whatever pretraining read."""
    pydoc = DataMixConfig({"pydoc": SourceConfig("pydoc")}, held_out_share=config.data_mix.held_out_share)
    return _corpus(pydoc, Path(config.paths.cache), config.trainer.progress, config.prepare.workers)


# ---------------------------------------------------------------- corpus
def _corpus(data_mix: DataMixConfig, cache: Path, progress: bool, num_workers: int | None) -> Path:
    units.check(data_mix)
    scans = {name: units.scan(source, cache, progress) for name, source in data_mix.sources.items()}
    inputs = {"version": VERSION, "segmentation": sentences.fingerprint(), **units.reading(data_mix, scans)}

    def write(path: Path) -> dict[str, Any]:
        todo = units.units(data_mix, scans)
        missing = {unit: unit.num_bytes for unit in todo if not parts.is_written(path, unit)}
        done = sum(unit.num_bytes for unit in todo) - sum(missing.values())
        workers.run(partial(parts.write_unit, path, data_mix=data_mix), missing, num_workers, "corpus", progress, done)
        if data_mix.deduplicate:
            parts.mark_duplicates(path)
        return _with_text(parts.finish(path), data_mix)

    return _made(cache / "corpus", inputs, write, progress)


def _with_text(manifest: dict[str, Any], data_mix: DataMixConfig) -> dict[str, Any]:
    """The manifest of a corpus that can be trained on and measured with: one with documents in both splits."""
    counts = manifest["counts"]
    number, held_out = counts.get("documents kept", 0), counts.get("held out", 0)
    if number > held_out > 0:
        return manifest
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "no files"
    if not number:
        raise ConfigError(f"{' + '.join(data_mix.sources)}: no document with text ({found}).")
    share = f"data_mix.held_out_share={data_mix.held_out_share} holds {held_out} of {number} documents out"
    raise ConfigError(
        f"{share}: both training and validation need some. Give more documents (of text files, "
        "document_separator=blank_line or line makes more), or another share."
    )


# ---------------------------------------------------------------- tokenizer
def _tokenizer(config: TokenizerConfig, corpus: Path, cache: Path, progress: bool) -> Path:
    """Published and loaded, or trained on the corpus."""
    from roberta_lab.data import tokenizer_files

    version = metadata.version("tokenizers")
    if config.path:
        inputs = {
            "version": VERSION,
            "kind": config.kind,
            "published": tokenizer_files.fingerprint(config.path),
            "tokenizers": version,
        }
        return _made(cache / "tokenizer", inputs, lambda path: _publish(path, config), progress)
    inputs = {"version": VERSION, **asdict(config), "corpus": _content(corpus), "tokenizers": version}
    return _made(cache / "tokenizer", inputs, lambda path: _train(path, corpus, config, progress), progress)


def _publish(path: Path, config: TokenizerConfig) -> dict[str, Any]:
    from roberta_lab.data import tokenizer_files

    tokenizer_files.load(config).save(str(path / "tokenizer.json"))
    return _described(path)


def _train(path: Path, corpus: Path, config: TokenizerConfig, progress: bool) -> dict[str, Any]:
    from roberta_lab.axes import tokenizer

    if config.kind not in tokenizer.KINDS:
        raise ConfigError(f"tokenizer.kind={config.kind!r} is unknown. Allowed: {', '.join(tokenizer.KINDS)}.")
    manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    characters = manifest["counts"]["characters kept"] - manifest["counts"]["characters held out"]
    wanted = min(config.train_characters or characters, characters)
    bar = {"total": wanted, "unit": "B", "unit_scale": True, "desc": "tokenizer", "mininterval": 0.5}
    with tqdm(disable=not progress, **bar) as shown:
        trained = tokenizer.KINDS[config.kind](_sample(corpus, wanted, characters, shown), config.vocab_size)
    trained.save(str(path / "tokenizer.json"))
    return _described(path)


def _described(path: Path) -> dict[str, Any]:
    """The manifest of a folder with a tokenizer, which has to load."""
    from roberta_lab.axes import tokenizer

    encoding = tokenizer.load(path)
    return {"content": encoding.fingerprint[:16], "counts": {"pieces": encoding.vocab_size}}


def _sample(corpus: Path, wanted: int, characters: int, bar: Any) -> Iterator[str]:
    """The sentences of training documents of about `wanted` of so many characters; each document is in or out by its name."""
    for document in read_documents(corpus, "train"):
        if wanted == characters or units.is_held_out(f"tokenizer:{document['id']}", wanted / characters):
            for sentence in document["sentences"]:
                bar.update(len(sentence))
                yield sentence


# ---------------------------------------------------------------- made once
def _made(parent: Path, inputs: dict[str, Any], make: Callable[[Path], dict[str, Any]], progress: bool) -> Path:
    """The folder of these inputs under `parent`; `make` fills it and returns its manifest if it is not there yet.

    `make` may find there what an earlier attempt finished; its unfinished files go into `.making`, which is emptied first.
    """
    key = digest(inputs, 16)
    path, making = parent / key, parent / f".{key}.making"
    if path.is_dir():
        return path
    parent.mkdir(parents=True, exist_ok=True)
    say = _say if progress else lambda line: None
    with _locked(parent / f".{key}.lock", f"waiting for another process that prepares {path} ..."):
        if path.is_dir():
            return path
        say(f"preparing {parent.name} ..." if not making.is_dir() else f"going on with {parent.name} ...")
        start = time.monotonic()
        shutil.rmtree(making / ".making", ignore_errors=True)
        (making / ".making").mkdir(parents=True, exist_ok=True)  # orphans of a killed process may hold a file there
        try:
            manifest = {"inputs": inputs, **make(making)}
        except ConfigError:
            if not any(file.is_file() for file in making.glob("*/*")):  # nothing was finished that would be kept
                shutil.rmtree(making)
            raise
        (making / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        os.replace(making, path)
        shutil.rmtree(path / ".making", ignore_errors=True)
        counts = ", ".join(f"{number:,} {name}" for name, number in manifest["counts"].items())
        say(f"prepared {parent.name}: {counts}; {time.monotonic() - start:.1f} s; {path}")
    return path


@contextmanager
def _locked(path: Path, waiting: str) -> Iterator[None]:
    """Holds the lock; `waiting` is said, even where progress is not, when somebody else holds it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, seconds=0))
        except Timeout:
            _say(waiting)
            stack.enter_context(locked(path))
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
