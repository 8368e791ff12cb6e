"""What is written is what is read, whatever the shards; a selection is a fixed share of whole documents."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from roberta_lab.axes import sentence_store
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.data import token_store
from roberta_lab.data.corpus.parts import document_hash
from roberta_lab.data.token_store import Part


class EncodedDocument(NamedTuple):
    id: str
    sentences: list[list[int]]


def write(
    path: Path, content: list[EncodedDocument], vocab_size: int, meta: dict, *shard_tokens: int, size: int = 7
) -> None:
    """In parts of `size` documents, of two sources in turn."""
    made = []
    for first in range(0, len(content), size):
        some = content[first : first + size]
        flat = [sentence for document in some for sentence in document.sentences]
        tokens = np.array([token for sentence in flat for token in sentence], np.uint32)
        hashes = np.array([document_hash(d.id) for d in some], np.uint64)
        sizes, sources = [len(d.sentences) for d in some], np.arange(first, first + len(some)) % 2
        made.append(Part(tokens, np.array(list(map(len, flat)), int), np.array(sizes), hashes, sources))
    token_store.write(path, made, vocab_size, meta, *shard_tokens)


def documents(number: int = 40) -> list[EncodedDocument]:
    draw = np.random.default_rng(0)
    return [
        EncodedDocument(
            f"doc{i}", [draw.integers(4, 900, draw.integers(0, 9)).tolist() for _ in range(draw.integers(1, 6))]
        )
        for i in range(number)
    ]


def sentences(store: TokenStore) -> list[list[list[int]]]:
    """The documents of a store, read one sentence at a time."""
    found, first = [], 0
    for end in store.document_ends:
        spans = zip(store.sentence_starts[first:end], store.sentence_lengths[first:end], strict=True)
        found.append([store.gather_tokens(np.array([s]), np.array([n])).tolist() for s, n in spans])
        first = end
    return found


@pytest.mark.parametrize("shard_tokens", [10, 97, 1 << 20])
@pytest.mark.parametrize(("vocab_size", "dtype"), [(1000, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_it_reads_what_was_written(tmp_path: Path, shard_tokens: int, vocab_size: int, dtype: str) -> None:
    write(tmp_path / "s", documents(), vocab_size, {"split": "train"}, shard_tokens)
    store = token_store.open_store(tmp_path / "s")
    assert sentences(store) == [d.sentences for d in documents()]
    assert {str(shard.dtype) for shard in store.shards} == {dtype}
    assert store.manifest["split"] == "train" and store.manifest["tokens"] == store.num_tokens
    assert store.document_hashes.tolist() == [document_hash(d.id) for d in documents()]
    assert (len(store.shards) > 1) == (shard_tokens < 1000)


@pytest.mark.parametrize("long_run", [1, 1 << 20])
@pytest.mark.parametrize("shard_tokens", [7, 50, 1 << 20])
def test_runs_are_gathered_in_the_order_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_tokens: int, long_run: int
) -> None:
    """Copied or indexed, apart or side by side, within a shard or across several."""
    monkeypatch.setattr(sentence_store, "_LONG_RUN", long_run)
    write(tmp_path / "s", documents(), 1000, {}, shard_tokens)
    store = token_store.open_store(tmp_path / "s")
    flat = [s for document in documents() for s in document.sentences]
    number = len(flat)
    shuffled = np.random.default_rng(1).permutation(number)
    for order in (np.arange(number), shuffled, np.sort(shuffled[: number // 2]), np.repeat(shuffled, 2), shuffled[:1]):
        joined = store.gather_tokens(store.sentence_starts[order], store.sentence_lengths[order])
        assert joined.dtype == np.uint16 and joined.tolist() == [token for i in order for token in flat[i]]
    assert len(store.gather_tokens(np.empty(0, np.int64), np.empty(0, np.int64))) == 0


@pytest.mark.parametrize("num_tokens", [1, 60, 200, 10**6])
def test_a_selection_is_of_documents_in_the_order_of_their_hashes(tmp_path: Path, num_tokens: int) -> None:
    write(tmp_path / "s", documents(), 1000, {}, 50)
    store = token_store.open_store(tmp_path / "s")
    taken, rest = {}, num_tokens
    for document in sorted(documents(), key=lambda d: document_hash(d.id)):  # a slow reference
        kept = []
        for sentence in document.sentences:
            if rest > 0:
                kept.append(sentence)
                rest -= len(sentence)
        if kept:
            taken[document.id] = kept
    selection = store.select(num_tokens)
    assert sentences(selection) == [taken[d.id] for d in documents() if d.id in taken]
    assert selection.document_hashes.tolist() == [document_hash(d.id) for d in documents() if d.id in taken]
    assert selection.shards is store.shards


def test_a_selection_has_as_many_documents_as_are_needed(tmp_path: Path) -> None:
    """A novel alone may hold all tokens that are wanted; a format of pairs takes B from another document."""
    books = [EncodedDocument(f"book{i}", [[5] * 10] * 100) for i in range(4)]
    write(tmp_path / "s", books, 1000, {})
    store = token_store.open_store(tmp_path / "s")
    assert len(store.select(200).document_ends) == 1
    two = store.select(200, at_least=2)
    assert np.diff(two.document_ends, prepend=0).tolist() == [10, 10] and two.num_tokens == 200
    assert {*two.document_hashes} >= {*store.select(200).document_hashes}
    assert sentences(store.select(2500, at_least=2)) == sentences(store.select(2500))
    assert store.select(None, at_least=9) is store


def test_a_larger_selection_contains_a_smaller_one(tmp_path: Path) -> None:
    write(tmp_path / "s", documents(), 1000, {})
    store = token_store.open_store(tmp_path / "s")
    small, large = store.select(60), store.select(120)
    assert set(small.sentence_starts[small.sentence_lengths > 0]) <= set(large.sentence_starts)


def test_the_fingerprint_is_of_the_tokens(tmp_path: Path) -> None:
    changed = [*documents()[:-1], EncodedDocument("doc39", [[5, 6]])]
    for name, content in (("a", documents()), ("b", documents()), ("c", changed)):
        write(tmp_path / name, content, 1000, {})
    a, b, c = (token_store.open_store(tmp_path / name).fingerprint for name in "abc")
    assert a == b != c
    assert json.loads((tmp_path / "a" / "manifest.json").read_text())["shards"][0]["sha256"]


def test_no_documents_make_an_empty_store(tmp_path: Path) -> None:
    write(tmp_path / "s", [], 1000, {})
    store = token_store.open_store(tmp_path / "s")
    assert store.num_tokens == 0 and len(store.select(10).document_ends) == 0
