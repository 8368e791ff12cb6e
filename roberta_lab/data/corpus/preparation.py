"""Prepare the data of a run: the corpus of sentences, the tokenizer, and the token store, each made once.

The name of every folder is a hash of its inputs (versions, config, contents), so a cached call reads no text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache as cache_once
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from roberta_lab.config import Config, ConfigError, Damaged, DataMixConfig, SourceConfig, TokenizerConfig
from roberta_lab.config.console import say
from roberta_lab.config.later_keys import settings
from roberta_lab.data import file_hashes, verified
from roberta_lab.data.corpus import hashing, parts, tokens, units, workers
from roberta_lab.data.corpus.folders import Folder, content_of, counts_of, inputs_of
from roberta_lab.data.corpus.parts import Manifest, read_documents
from roberta_lab.data.corpus.sources import files, kinds
from roberta_lab.data.corpus.sources.remote import is_url
from roberta_lab.data.corpus.sources.scanning import Scan
from roberta_lab.data.corpus.units import Unit
from roberta_lab.data.corpus.workers import Pieces
from roberta_lab.data.storage import digest
from roberta_lab.data.verified import MANIFEST

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VERSION = 4  # raised when the code makes other text of the same sources


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

    The result is the same for any number of workers: processes, None for one per core. Processes that prepare the same data at
    once, on any machines that see the cache, share the work.
    """
    corpus = _corpus(data_mix, cache, progress, num_workers).made()
    encoding = _tokenizer(tokenizer, corpus, cache, progress).made()
    return Prepared(
        corpus, encoding, _store([*data_mix.sources], corpus, encoding, cache, progress, num_workers).made()
    )


def prepare_stage(config: Config) -> list[Path]:
    """Do the stage `prepare.stage` of a config, and what it needs if that is missing; return the folders that are whole then.

    A stage of many jobs (corpus, tokens) makes pieces while there are some to take, and leaves the whole to the next one.
    """
    cache, progress, num_workers = Path(config.paths.cache), config.trainer.progress, config.prepare.workers
    corpus = _corpus(config.data_mix, cache, progress, num_workers)
    if config.prepare.stage == "corpus":
        corpus.help_out()
        return [corpus.path] if corpus.path.exists() else []
    found = [corpus.made()]
    found.append(_tokenizer(config.tokenizer, found[0], cache, progress).made())
    if config.prepare.stage == "tokens":
        store = _store([*config.data_mix.sources], found[0], found[1], cache, progress, num_workers)
        store.help_out()
        found += [store.path] if store.path.exists() else []
    return found


def check(data_mix: DataMixConfig) -> None:
    """Raise ConfigError for a mix that cannot be read, by the first record of the first file of each source."""
    units.check(data_mix)
    for source in data_mix.sources.values():
        if source.kind not in units.WITHOUT_FILES:
            kinds.look(source, files.find(source)[0])


def prepared_for(config: Config) -> Prepared:
    """Return the prepared data of a config, made if missing."""
    cache, progress = Path(config.paths.cache), config.trainer.progress
    return prepare(config.data_mix, config.tokenizer, cache, progress, config.prepare.workers)


def find_tokenizer(cache: Path, content: str) -> Path | None:
    """Return the prepared tokenizer with this content, the hash that runs note as their data; None if it is not there."""
    folders = (file.parent for file in sorted(cache.glob(f"tokenizer/[!.]*/{MANIFEST}")))
    return next((folder for folder in folders if content_of(folder) == content), None)


def is_other_text(config: Config, content: str) -> bool:
    """Return whether the files of a config hold other text than the corpus with this content was made of. Nothing is prepared.

    Only files on a disk are compared, by their hashes; those that were read for this before are not read again. The answer is False
    where it cannot be known: the files are not there, or the corpus is not in the cache any more.
    """
    cache, mix = Path(config.paths.cache), config.data_mix
    made_of = [inputs for folder in cache.glob("corpus/[!.]*") if (inputs := _inputs_of(folder, content)) is not None]
    own = {name for name, source in mix.sources.items() if source.path and not is_url(source.path)}
    if not made_of or not own:
        return False
    try:
        scans = {name: units.scan(mix.sources[name], cache, config.trainer.progress) for name in own}
        whole = scans if own == mix.sources.keys() else {}
        if whole and (now := _corpus_folder(mix, whole, cache)).is_dir():
            return content_of(now) != content  # other files may hold the same text
    except (ConfigError, Damaged, OSError):
        return False
    found = json.loads(json.dumps({name: scan.fingerprint for name, scan in scans.items()}))
    return all(found != {name: then for name, then in inputs["sources"] if name in own} for inputs in made_of)


def _inputs_of(folder: Path, content: str) -> Mapping[str, Any] | None:
    """Return what a prepared corpus with this content was made of; None for another one, and for one that cannot be read."""
    try:
        inputs = inputs_of(folder) if content_of(folder) == content else None
        return inputs if inputs is not None and "sources" in inputs else None
    except (Damaged, OSError, KeyError):
        return None


def embedded(config: Config) -> Path:
    """Return the embedded corpus alone. The `pydoc` tasks are made of it, whatever pretraining has read."""
    return _corpus(_pydoc(config), Path(config.paths.cache), config.trainer.progress, config.prepare.workers).made()


def find_embedded(config: Config) -> Path | None:
    """Return the embedded corpus if it was prepared; None if it is not there. Nothing is made."""
    data_mix, cache = _pydoc(config), Path(config.paths.cache)
    scans = {name: units.scan(source, cache, False) for name, source in data_mix.sources.items()}
    folder = _corpus_folder(data_mix, scans, cache)
    return folder if folder.is_dir() else None


def _pydoc(config: Config) -> DataMixConfig:
    return DataMixConfig({"pydoc": SourceConfig("pydoc")}, held_out_share=config.data_mix.held_out_share)


# ---------------------------------------------------------------- corpus
def _corpus_inputs(data_mix: DataMixConfig, scans: dict[str, Scan]) -> dict[str, object]:
    segmentation = {"sentencex": metadata.version("sentencex")}  # decides where sentences end
    return {"version": VERSION, "segmentation": segmentation, **units.fingerprint(data_mix, scans)}


def _corpus_folder(data_mix: DataMixConfig, scans: dict[str, Scan], cache: Path) -> Path:
    return cache / "corpus" / digest(_corpus_inputs(data_mix, scans), 16)


def _corpus(data_mix: DataMixConfig, cache: Path, progress: bool, num_workers: int | None) -> Folder:
    units.check(data_mix)
    for source in data_mix.sources.values():
        if source.kind not in units.WITHOUT_FILES:
            hashing.share(source, cache, num_workers, progress)
    scans = {name: units.scan(source, cache, progress) for name, source in data_mix.sources.items()}

    @cache_once
    def every() -> list[Unit]:
        return units.units(data_mix, scans)

    def share(path: Path, leaves: bool) -> bool:
        sizes = {unit: unit.num_bytes for unit in every()}
        parts.make_folders(path)
        write_unit, mark = partial(parts.write_unit, path, data_mix=data_mix), partial(parts.mark, path)
        for unit in sizes:  # a mistake in the last file is said before the first is read
            for file in unit.files if not mark(unit).exists() else ():
                kinds.look(data_mix.sources[unit.source], file)
        return workers.share(Pieces("corpus", "unit", sizes, mark, write_unit), num_workers, progress, leaves)

    def make(path: Path) -> Manifest:
        share(path, False)
        _verify_units(path, every(), num_workers)
        share(path, False)  # those that were damaged
        if data_mix.deduplicate:
            parts.mark_duplicates(path)
        return _expect_text(parts.finish(path), data_mix)

    return Folder(cache / "corpus", _corpus_inputs(data_mix, scans), share, make, progress)


def _verify_units(path: Path, every: list[Unit], num_workers: int | None) -> None:
    """Read all units' files on all cores; remove the marks of units whose files are not as they were written."""
    for _, hashes in workers.run(partial(parts.verify, path), every, num_workers, "corpus", workers.QUICK):
        file_hashes.learn(hashes or {})


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
def _tokenizer(config: TokenizerConfig, corpus: Path, cache: Path, progress: bool) -> Folder:
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

    return Folder(cache / "tokenizer", inputs, None, make, progress)


def _train(corpus: Path, config: TokenizerConfig, progress: bool) -> Tokenizer:
    from roberta_lab.axes import tokenizer

    if config.kind not in tokenizer.KINDS:
        raise ConfigError(f"tokenizer.kind={config.kind!r} is unknown. Allowed: {', '.join(tokenizer.KINDS)}.")
    counts = counts_of(corpus)
    characters = counts["characters kept"] - counts["characters held out"]
    wanted = min(config.train_characters or characters, characters)
    if wanted < characters:
        say(f"tokenizer: of {wanted:,} of {characters:,} characters (tokenizer.train_characters)")
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
        with bar:
            for document in read_documents(self.corpus, "train", self._is_drawn):
                for sentence in document["sentences"]:
                    bar.update(len(sentence))
                    yield sentence

    def _is_drawn(self, name: str) -> bool:
        return self.wanted == self.characters or units.is_held_out(f"tokenizer:{name}", self.wanted / self.characters)


# ---------------------------------------------------------------- tokens
def _store(
    sources: list[str], corpus: Path, tokenizer: Path, cache: Path, progress: bool, num_workers: int | None
) -> Folder:
    verified.check_folder(tokenizer)
    contents = {"corpus": content_of(corpus), "tokenizer": content_of(tokenizer)}
    encoder = tokens.Encoder(corpus, tokenizer, sources, progress, num_workers)
    inputs = {"version": VERSION, "sources": sources, **contents}
    return Folder(cache / "tokens", inputs, encoder.share, encoder.write_stores, progress)
