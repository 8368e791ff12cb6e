"""Prepare the data of a run: the corpus of sentences, the tokenizer, and the token store, each made once.

The name of every folder is a hash of its inputs (versions, config, contents), so a cached call reads no text. A folder is
whole or absent (`storage.make_once`). What a killed process had finished is kept, and the next one goes on from there.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from tqdm import tqdm

from roberta_lab.config import Config, ConfigError, DataMixConfig, SourceConfig, TokenizerConfig
from roberta_lab.config.later_keys import settings
from roberta_lab.data import verified
from roberta_lab.data.corpus import parts, tokens, units, workers
from roberta_lab.data.corpus.parts import Manifest, read_documents
from roberta_lab.data.corpus.sources import files, kinds
from roberta_lab.data.corpus.sources.scanning import Scan
from roberta_lab.data.storage import digest, make_once
from roberta_lab.data.storage import write as write_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VERSION = 4  # raised when the code makes other text of the same sources
MANIFEST = "manifest.json"


class Prepared(NamedTuple):
    """The folders with the prepared data of a config."""

    corpus: Path  # documents, sentence by sentence (see `parts`), docstrings.jsonl, manifest.json
    tokenizer: Path  # tokenizer.json
    store: Path  # train/, validation/: a token store each

    def fingerprints(self) -> dict[str, str]:
        """Return the hashes of the content itself, which a run notes in its provenance."""
        return {path.parent.name: content_of(path) for path in self}


def prepare(
    data_mix: DataMixConfig,
    tokenizer: TokenizerConfig,
    cache: Path,
    progress: bool = True,
    num_workers: int | None = None,
) -> Prepared:
    """Make what is missing, print what is made, and return where it lies. With everything made, no text is read.

    The result is the same for any number of workers: processes, None for one per core.
    """
    corpus = _corpus(data_mix, cache, progress, num_workers)
    encoding = _tokenizer(tokenizer, corpus, cache, progress)
    sources = list(data_mix.sources)
    store = _prepare_folder(
        cache / "tokens",
        {"version": VERSION, "sources": sources, "corpus": content_of(corpus), "tokenizer": content_of(encoding)},
        lambda path: tokens.write_stores(path, corpus, encoding, sources, progress, num_workers),
        progress,
    )
    return Prepared(corpus, encoding, store)


def check(data_mix: DataMixConfig) -> None:
    """Raise ConfigError for a mix that cannot be read, by the first record of the first file of each source."""
    units.check(data_mix)
    for source in data_mix.sources.values():
        if source.kind not in ("pydoc", "hub"):
            kinds.look(source, files.find(source)[0])


def prepared_for(config: Config) -> Prepared:
    """Return the prepared data of a config, made if missing."""
    cache, progress = Path(config.paths.cache), config.trainer.progress
    return prepare(config.data_mix, config.tokenizer, cache, progress, config.prepare.workers)


def manifest_of(path: Path) -> Manifest:
    """Return what a prepared folder notes of itself. Raises Damaged."""
    return cast(Manifest, verified.read_json(path / MANIFEST))


def content_of(path: Path) -> str:
    """Return the hash of what a prepared folder holds, noted when it was made. Raises Damaged."""
    return manifest_of(path)["content"]


def find_tokenizer(cache: Path, content: str) -> Path | None:
    """Return the prepared tokenizer with this content, the hash that runs note as their data; None if it is not there."""
    folders = (file.parent for file in sorted(cache.glob(f"tokenizer/[!.]*/{MANIFEST}")))
    return next((folder for folder in folders if content_of(folder) == content), None)


def counts_of(path: Path) -> dict[str, int]:
    """Return what a prepared folder holds, by name."""
    return manifest_of(path)["counts"]


def counts_text(path: Path) -> str:
    """Return the counts of a prepared folder for the console."""
    return ", ".join(f"{number:,} {name}" for name, number in counts_of(path).items())


def embedded(config: Config) -> Path:
    """Return the embedded corpus alone. The `pydoc` tasks are made of it, whatever pretraining has read."""
    return _corpus(_pydoc(config), Path(config.paths.cache), config.trainer.progress, config.prepare.workers)


def find_embedded(config: Config) -> Path | None:
    """Return the embedded corpus if it was prepared; None if it is not there. Nothing is made."""
    data_mix, cache = _pydoc(config), Path(config.paths.cache)
    scans = {name: units.scan(source, cache, False) for name, source in data_mix.sources.items()}
    folder = cache / "corpus" / digest(_corpus_inputs(data_mix, scans), 16)
    return folder if folder.is_dir() else None


def _pydoc(config: Config) -> DataMixConfig:
    return DataMixConfig({"pydoc": SourceConfig("pydoc")}, held_out_share=config.data_mix.held_out_share)


# ---------------------------------------------------------------- corpus
def _corpus_inputs(data_mix: DataMixConfig, scans: dict[str, Scan]) -> dict[str, object]:
    segmentation = {"sentencex": metadata.version("sentencex")}  # decides where sentences end
    return {"version": VERSION, "segmentation": segmentation, **units.fingerprint(data_mix, scans)}


def _corpus(data_mix: DataMixConfig, cache: Path, progress: bool, num_workers: int | None) -> Path:
    units.check(data_mix)
    scans = {name: units.scan(source, cache, progress) for name, source in data_mix.sources.items()}
    inputs = _corpus_inputs(data_mix, scans)

    def write(path: Path) -> Manifest:
        sizes = {unit: unit.num_bytes for unit in units.units(data_mix, scans)}
        for unit in sizes:  # a mistake in the last file is said before the first is read
            for file in unit.files if not parts.is_written(path, unit) else ():
                kinds.look(data_mix.sources[unit.source], file)
        finished = {unit for unit in sizes if parts.is_written(path, unit)}
        write_unit = partial(parts.write_unit, path, data_mix=data_mix)
        workers.run(write_unit, sizes, finished, num_workers, "corpus", progress)
        if data_mix.deduplicate:
            parts.mark_duplicates(path)
        return _expect_text(parts.finish(path), data_mix)

    return _prepare_folder(cache / "corpus", inputs, write, progress)


def _expect_text(manifest: Manifest, data_mix: DataMixConfig) -> Manifest:
    """Return the manifest of a corpus. Raise ConfigError unless there are documents in both splits."""
    counts = manifest["counts"]
    number, held_out = counts.get("documents kept", 0), counts.get("held out", 0)
    if number > held_out > 0:
        return manifest
    found = ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "no files"
    if not number:
        raise ConfigError(f"{' + '.join(data_mix.sources)}: no document with text ({found}).")
    share = f"data_mix.held_out_share={data_mix.held_out_share} holds {held_out} of {number} documents out"
    more = "Give more documents (of text files, document_separator=blank_line or line makes more), or another share."
    raise ConfigError(f"{share}: both training and validation need some. {more}")


# ---------------------------------------------------------------- tokenizer
def _tokenizer(config: TokenizerConfig, corpus: Path, cache: Path, progress: bool) -> Path:
    from roberta_lab.data import tokenizer_files

    inputs: dict[str, object]
    if config.path:
        published = tokenizer_files.fingerprint(config.path)
        inputs = {"kind": config.kind, "published": published, "reading": tokenizer_files.READING}
    else:
        inputs = {**settings(config), "corpus": content_of(corpus)}
    inputs |= {"version": VERSION, "tokenizers": metadata.version("tokenizers")}

    def make(path: Path) -> Manifest:
        from roberta_lab.axes.tokenizer import load

        found = tokenizer_files.load(config) if config.path else _train(corpus, config, progress)
        found.save(str(path / "tokenizer.json"))
        encoding = load(path)
        return {"content": encoding.fingerprint[:16], "counts": {"pieces": encoding.vocab_size}}

    path = _prepare_folder(cache / "tokenizer", inputs, make, progress)
    verified.check_folder(path)
    return path


def _train(corpus: Path, config: TokenizerConfig, progress: bool) -> Tokenizer:
    from roberta_lab.axes import tokenizer

    if config.kind not in tokenizer.KINDS:
        raise ConfigError(f"tokenizer.kind={config.kind!r} is unknown. Allowed: {', '.join(tokenizer.KINDS)}.")
    counts = counts_of(corpus)
    characters = counts["characters kept"] - counts["characters held out"]
    wanted = min(config.train_characters or characters, characters)
    if wanted < characters:
        _print(f"tokenizer: of {wanted:,} of {characters:,} characters (tokenizer.train_characters)")
    return tokenizer.KINDS[config.kind](_Sample(corpus, wanted, characters, progress), config.vocab_size)


@dataclass(frozen=True)
class _Sample:
    """The sentences of about `wanted` of all training characters; the name of a document decides whether it is in."""

    corpus: Path
    wanted: int
    characters: int
    progress: bool

    def __iter__(self) -> Iterator[str]:
        """Yield them, from the first on each time, with a bar of the characters that were read."""
        bar = tqdm(
            total=self.wanted, unit="B", unit_scale=True, desc="tokenizer", mininterval=0.5, disable=not self.progress
        )
        share = self.wanted / self.characters
        with bar:
            for document in read_documents(self.corpus, "train"):
                if share == 1 or units.is_held_out(f"tokenizer:{document['id']}", share):
                    for sentence in document["sentences"]:
                        bar.update(len(sentence))
                        yield sentence


# ---------------------------------------------------------------- made once
def _prepare_folder(
    parent: Path, inputs: Mapping[str, object], make: Callable[[Path], Manifest], progress: bool
) -> Path:
    """Return the folder of these inputs under `parent`. If it is missing, `make` fills it and returns its manifest.

    `make` may find there what an earlier attempt finished.
    """
    path = parent / digest(inputs, 16)
    start = time.monotonic()

    def fill(making: Path) -> None:
        if progress:
            _print(f"preparing {parent.name} ..." if not making.is_dir() else f"going on with {parent.name} ...")
        making.mkdir(parents=True, exist_ok=True)
        try:
            manifest = make(making)
        except ConfigError:
            if not any(making.glob("*/[!.]*")):  # nothing was finished that would be kept
                shutil.rmtree(making)
            raise
        for unfinished in making.glob("*/.*"):  # of processes that were killed
            unfinished.unlink(missing_ok=True)
        content = json.dumps({"inputs": inputs, **manifest}, indent=2)
        write_file(making / MANIFEST, content + "\n")
        verified.seal(making)

    waiting = f"waiting for another process that prepares {path} ..."  # printed even without progress
    if make_once(path, fill, on_wait=lambda: _print(waiting)) and progress:
        _print(f"prepared {parent.name}: {counts_text(path)}; {time.monotonic() - start:.1f} s; {path}")
    verified.check_sizes(path)
    verified.check(path / MANIFEST)
    return path


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
