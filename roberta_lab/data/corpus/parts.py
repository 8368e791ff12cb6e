"""Write and read a corpus on disk: each unit of work has parts, and each part has its documents and a record of each.

A unit counts as written when its own file is there, which comes last.

    units/000017.json                    counts, number of parts
    parts/000017-000000.train.jsonl      {"id", "title", "package", "sentences"} a line
    parts/000017-000000.validation.jsonl
    parts/000017-000000.records.npy      RECORD of each document, in the order in which they were read
    parts/000017-000000.duplicates.npy   bool of each document, if any of them is one
    docstrings/000017.jsonl              of the embedded source only
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.lib.recfunctions import repack_fields

from roberta_lab.config import Damaged, DataMixConfig
from roberta_lab.config.console import say
from roberta_lab.data.corpus.sources.text import Document, segment
from roberta_lab.data.corpus.units import Unit, documents, is_held_out
from roberta_lab.data.file_hashes import hashes_of, sha256_of
from roberta_lab.data.storage import replacing, write, write_json
from roberta_lab.data.verified import check, load_array, read_sealed, sealed

SPLITS = ("train", "validation")
PART_CHARACTERS = 1 << 24
PART = (
    *(f"{split}.jsonl" for split in SPLITS),
    "records.npy",
)  # files of a part; its duplicates come when all are written
AGAIN = "the same command makes it again"
DUPLICATES_AT_ONCE = 1 << 22  # documents whose texts are compared in one pass, some 200 MB
RECORD = np.dtype(
    [
        ("text", "<u8", (2,)),  # hash of the text, by which duplicates are found
        ("name", "<u8"),  # hash of the name, by which documents are drawn at random
        ("source", "<u2"),  # place in the mix
        ("held_out", "?"),
        ("sentences", "<u4"),
        ("characters", "<u4"),
    ]
)


class Manifest(TypedDict):
    """What a prepared folder holds: a hash of its content, and counts by name."""

    content: str
    counts: dict[str, int]


class Line(TypedDict):
    """A document as a line of JSON."""

    id: str
    title: str
    package: str
    sentences: list[str]


# ---------------------------------------------------------------- writing
def make_folders(folder: Path) -> None:
    """Make the folders in which units are written."""
    for name in ("parts", "units", "docstrings"):
        (folder / name).mkdir(exist_ok=True)


def write_unit(folder: Path, unit: Unit, data_mix: DataMixConfig) -> None:
    """Read a unit and write its parts, in memory that does not grow with it."""
    counts, docstrings, number = Counter[str](), list[str](), 0
    found = _with_text(documents(unit, data_mix, counts, docstrings), counts)
    while first := next(found, None):
        _write_part(folder / "parts", f"{unit.number:06d}-{number:06d}", chain([first], found), unit.source, data_mix)
        number += 1
    if docstrings:
        write(folder / "docstrings" / f"{unit.number:06d}.jsonl", "".join(docstrings))
    made = [f"parts/{unit.number:06d}-{part:06d}.{name}" for part in range(number) for name in PART]
    made += [f"docstrings/{unit.number:06d}.jsonl"] * bool(docstrings)
    files = {name: sha256_of(folder / name) for name in made}
    # makes no folder: once all is made a whole, a process that comes late finds none
    write_json(mark(folder, unit), sealed({"counts": dict(counts), "parts": number, "files": files}))


def mark(folder: Path, unit: Unit) -> Path:
    """Return the file that is there once a unit is written; it names the unit's other files, with their SHA-256."""
    return _unit_file(folder, unit.number)


def verify(folder: Path, unit: Unit) -> dict[tuple[int, ...], str] | None:
    """Return the hashes of a unit's files, for `file_hashes.learn`; None where one is not as it was written.

    That is said, and the unit's mark is removed: it is to be written again.
    """
    file = mark(folder, unit)
    try:
        files = _check_unit(folder, file).get("files", {})
    except Damaged as damage:
        say(f"{str(damage).partition(';')[0]}; it is made again")
        file.unlink()
        return None
    return hashes_of(*(folder / name for name in files))


def _unit_file(folder: Path, number: int) -> Path:
    return folder / "units" / f"{number:06d}.json"


def _check_unit(folder: Path, file: Path) -> dict[str, Any]:
    """Return what a unit's file says, once the files that it names are as they were written. Raises Damaged."""
    found = read_sealed(file, AGAIN)
    for name, sha256 in found.get("files", {}).items():
        if not (folder / name).is_file() or sha256_of(folder / name) != sha256:
            raise Damaged.at(folder / name, "is damaged or missing", AGAIN)
    return found


def _with_text(found: Iterable[Document], counts: Counter[str]) -> Iterator[tuple[Document, list[str]]]:
    """Yield the documents that have text, each with its sentences."""
    for document in found:
        if sentences := _sentences(document):
            yield document, sentences
        else:
            counts["documents without text"] += 1


def _write_part(
    folder: Path, stem: str, found: Iterator[tuple[Document, list[str]]], source: str, data_mix: DataMixConfig
) -> None:
    """Write the next documents of a unit, until they have PART_CHARACTERS."""
    place, records, characters = list(data_mix.sources).index(source), list[tuple[object, ...]](), 0
    with ExitStack() as stack:
        out = [stack.enter_context(replacing(folder / f"{stem}.{split}.jsonl")) for split in SPLITS]
        for document, sentences in found:
            held_out = is_held_out(document.whole, data_mix.held_out_share)
            line = Line(id=document.id, title=document.title, package=document.package, sentences=sentences)
            out[held_out].write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            digest, size = hashlib.blake2b("\n".join(sentences).encode(), digest_size=16), sum(map(len, sentences))
            text = tuple(np.frombuffer(digest.digest(), "<u8"))
            records.append((text, document_hash(document.id), place, held_out, len(sentences), size))
            characters += size
            if characters >= PART_CHARACTERS:
                break
        np.save(stack.enter_context(replacing(folder / f"{stem}.records.npy")), np.array(records, RECORD))


def document_hash(name: str) -> int:
    """Return 64 bits that order documents at random, the same on every machine and for every run."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def _sentences(document: Document) -> list[str]:
    """Return the sentences of a document. All but its first begin with a space: the start of a sentence or line is the start
    of a word, which byte-level BPE would otherwise join to the word before."""
    found = [sentence for paragraph in document.paragraphs for sentence in segment(paragraph)]
    return [*found[:1], *(" " + sentence for sentence in found[1:])]


# ---------------------------------------------------------------- duplicates
def mark_duplicates(folder: Path) -> None:
    """Mark all documents whose text an earlier document has, in any source.

    All documents are compared in bounded memory: each pass compares the texts whose hashes fall into one range.
    """
    stems = names(folder)
    sizes = [len(load_array(folder / "parts" / f"{stem}.records.npy", "r")) for stem in stems]
    borders = np.cumsum([0, *sizes])
    found = np.zeros(borders[-1], bool)
    passes = -(-len(found) // DUPLICATES_AT_ONCE)
    for number in range(passes):
        each_text, each_place = [], []
        for stem, start in zip(stems, borders[:-1], strict=True):
            text = records(folder, stem)["text"]
            here = np.flatnonzero(text[:, 0] % np.uint64(passes) == number)
            each_text.append(text[here])
            each_place.append(start + here)
        texts, places = np.concatenate(each_text), np.concatenate(each_place)
        order = np.lexsort((texts[:, 1], texts[:, 0]))  # stable: equal texts keep their order
        is_repeated = (texts[order[1:]] == texts[order[:-1]]).all(axis=1)
        found[places[order[1:][is_repeated]]] = True
    for stem, (start, end) in zip(stems, pairwise(borders), strict=True):
        if found[start:end].any():
            with replacing(folder / "parts" / f"{stem}.duplicates.npy") as file:
                np.save(file, found[start:end])


# ---------------------------------------------------------------- reading
def names(folder: Path) -> list[str]:
    """Return the names of the parts of a corpus, in the order of its documents."""
    return sorted(file.name.split(".")[0] for file in (folder / "parts").glob("*.records.npy"))


def records(folder: Path, stem: str) -> np.ndarray:
    """Return the RECORD of each document of a part, duplicates included."""
    return load_array(folder / "parts" / f"{stem}.records.npy")


def kept(folder: Path, stem: str) -> np.ndarray:
    """Return which documents of a part are no duplicates, bool."""
    duplicates = folder / "parts" / f"{stem}.duplicates.npy"
    return ~load_array(duplicates) if duplicates.is_file() else np.ones(len(records(folder, stem)), bool)


def lines(
    folder: Path,
    stem: str,
    split: str,
    only: Collection[int] | None = None,
    is_wanted: Callable[[str], bool] | None = None,
) -> Iterator[Line]:
    """Yield the documents of one part and split: all, those whose names have one of these hashes, or whose id is wanted."""
    found, stays = records(folder, stem), kept(folder, stem)
    if only is not None:
        stays &= np.isin(found["name"], np.array([*only], np.uint64))
    stays = stays[found["held_out"] == SPLITS.index(split)]
    with open(check(folder / "parts" / f"{stem}.{split}.jsonl"), "rb") as file:
        for line, is_kept in zip(file, stays, strict=True):
            if is_kept and (is_wanted is None or is_wanted(_id_of(line))):
                yield json.loads(line)


def _id_of(line: bytes) -> str:
    """Return the id of a document's line, which comes first; the rest is not parsed."""
    found: str = json.loads(line[len('{"id": ') : line.index(b'", "title": ') + 1])
    return found


def read_documents(corpus: Path, split: str, is_wanted: Callable[[str], bool] | None = None) -> Iterator[Line]:
    """Yield the documents of one split, or those whose id is wanted. The sentences of a paragraph, joined, are its text."""
    return (line for stem in names(corpus) for line in lines(corpus, stem, split, is_wanted=is_wanted))


def finish(folder: Path) -> Manifest:
    """Join the docstrings and return the manifest of the whole corpus. How it was cut into parts changes no hash."""
    counts: Counter[str] = Counter()
    content = hashlib.sha256()
    for file in sorted((folder / "units").glob("*.json")):
        unit = _check_unit(folder, file)
        counts.update(unit["counts"])
        for number in range(unit["parts"]):
            stem = f"{file.stem}-{number:06d}"
            found, stays = records(folder, stem), kept(folder, stem)
            counts["documents duplicate"] += int((~stays).sum())
            found = found[stays]
            content.update(repack_fields(found[["text", "name", "held_out"]]).tobytes())
            counts["documents kept"] += len(found)
            counts["sentences"] += int(found["sentences"].sum())
            counts["characters kept"] += int(found["characters"].sum())
            counts["characters held out"] += int((found["characters"] * found["held_out"]).sum())
            counts["held out"] += int(found["held_out"].sum())
    docstrings = b"".join(file.read_bytes() for file in sorted((folder / "docstrings").glob("*.jsonl")))
    write(folder / "docstrings.jsonl", docstrings)
    content.update(docstrings)
    counted = {name: number for name, number in sorted(counts.items()) if number}
    return {"content": content.hexdigest()[:16], "counts": counted}
