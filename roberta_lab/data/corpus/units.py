"""Cut a data mix into units of work: each is read by one process, and its documents depend on nothing else.

So any number of processes makes the same corpus, and a unit that was finished before a kill stays finished.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from roberta_lab.config import ConfigError, DataMixConfig, SourceConfig, nearest
from roberta_lab.data.corpus.sources import hub, kinds, pydoc, scanning
from roberta_lab.data.corpus.sources.files import SourceFile
from roberta_lab.data.corpus.sources.scanning import Scan
from roberta_lab.data.corpus.sources.text import Document

PYDOC_SLICES = 8
WITHOUT_FILES = ("pydoc", "hub")  # kinds of sources


@dataclass(frozen=True)
class Unit:
    """A part of one source: some files, or a slice of a source that has no files."""

    number: int
    source: str  # its name in the mix
    num_bytes: int  # on disk; 0 if that is not known
    files: tuple[SourceFile, ...] = ()
    slice: int = 0


def check(data_mix: DataMixConfig) -> None:
    """Raise ConfigError for a mix that cannot be read. Use no network."""
    if not data_mix.sources:
        raise ConfigError("data_mix.sources is empty: name at least one, or choose data_mix=pydoc.")
    for name in data_mix.common_sources or ():
        if name not in data_mix.sources:
            allowed = f"{nearest(name, [*data_mix.sources])} Allowed: {', '.join(data_mix.sources)}."
            raise ConfigError(f"data_mix.common_sources={name}: the mix has no such source.{allowed}")
    for name, source in data_mix.sources.items():
        where = f"data_mix.{name}"
        if source.kind == "hub":
            if source.hub is None:
                raise ConfigError(f"{where}.hub is missing: {{path: OWNER/NAME, revision: COMMIT}}.")
            try:
                hub.check(source.hub)
            except ConfigError as error:
                raise ConfigError(f"{where}.{error}") from None
        elif source.kind == "pydoc":
            if source.path:
                raise ConfigError(f"{where}.path={source.path}: the embedded corpus has none; choose a kind.")
        elif not source.path:
            what = f" (stands for {source.stands_for})" if source.stands_for else ""
            offer = f"; or {where}.kind=hub: {source.hub.path}, {source.hub.size}" if source.hub else ""
            raise ConfigError(f"{where}.path is missing{what}: a file, a folder or a glob of {source.kind}{offer}.")
        kinds.check(source)


def scan(source: SourceConfig, cache: Path, progress: bool) -> Scan:
    """Return what decides the documents of a source. Files that were read for this before are not read again."""
    if source.kind == "pydoc":
        return Scan(pydoc.fingerprint(), [([], 0)] * PYDOC_SLICES)
    if source.kind == "hub":
        assert source.hub is not None
        kept = {"min_characters": source.min_characters, "max_characters": source.max_characters}
        return Scan({"hub": hub.fingerprint(source.hub), **kept}, [])
    return scanning.scan(source, cache, progress=progress)


def units(data_mix: DataMixConfig, scans: dict[str, Scan]) -> list[Unit]:
    """Return the units of a mix, in the order of its documents. For a hub dataset, ask the hub for its files."""
    made: list[Unit] = []
    for name, found in scans.items():
        if (source := data_mix.sources[name]).kind == "hub":
            made += [Unit(len(made) + shard, name, 0, slice=shard) for shard in range(hub.num_shards(source.hub))]
        for place, (group, num_bytes) in enumerate(found.groups):
            made.append(Unit(len(made), name, num_bytes, tuple(group), place))
    return made


def documents(unit: Unit, data_mix: DataMixConfig, counts: Counter[str], docstrings: list[str]) -> Iterator[Document]:
    """Yield the documents of a unit under their names in the mix.

    `docstrings` receives one line per docstring of the embedded source, from which the `pydoc` tasks are made.
    """
    source = data_mix.sources[unit.source]
    if source.kind == "pydoc":
        yield from _modules(unit, data_mix.held_out_share, counts, docstrings)
        return
    if source.kind == "hub":
        found = kinds.hub_documents(source, counts, unit.source, unit.slice)
    else:
        found = kinds.documents(source, counts, unit.source, unit.files)
    for document in found:
        yield replace(document, id=f"{unit.source}:{document.id}", whole=f"{unit.source}:{document.whole}")


def _modules(unit: Unit, held_out_share: float, counts: Counter[str], docstrings: list[str]) -> Iterator[Document]:
    for module, group in groupby(pydoc.docstrings(unit.slice, PYDOC_SLICES), key=lambda record: record.module):
        records = list(group)
        held_out = is_held_out(module, held_out_share)
        noted = ({**asdict(record), "held_out": held_out} for record in records)
        docstrings += [json.dumps(record, ensure_ascii=False) + "\n" for record in noted]
        counts["docstrings"] += len(records)
        yield pydoc.document(records)


def is_held_out(name: str, share: float) -> bool:
    """Return whether a document belongs to the validation split: a fixed share of the hashes of all possible names."""
    return int.from_bytes(hashlib.sha256(f"split:{name}".encode()).digest()[:8], "big") < share * 2**64


def fingerprint(data_mix: DataMixConfig, scans: dict[str, Scan]) -> dict[str, object]:
    """Return everything that decides the corpus of a mix."""
    return {
        "sources": [[name, found.fingerprint] for name, found in scans.items()],  # in order, as records number them
        "deduplicate": data_mix.deduplicate,
        "held_out_share": data_mix.held_out_share,
    }
