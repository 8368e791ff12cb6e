"""What a pass holds: each source as often as the mix says, copies apart, and the same for every run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from roberta_lab.axes.data_mix import repeats, science, tokens_by_source, training_documents
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import ConfigError, DataMixConfig, SourceConfig
from roberta_lab.data import token_store
from roberta_lab.data.corpus.parts import document_hash
from roberta_lab.data.token_store import Part

NAMES = ["books", "web"]


def mix(books: dict[str, float], web: dict[str, float], **options: int) -> DataMixConfig:
    pair = zip(NAMES, (books, web), strict=True)
    return DataMixConfig({name: SourceConfig("text", **keys) for name, keys in pair}, **options)


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    """300 documents in two sources, one third and two thirds; the tokens of document i are i, in two sentences."""
    numbers = np.arange(300)
    tokens = np.repeat(numbers, 6).astype(np.uint16)
    hashes = np.array([document_hash(f"d{i}") for i in numbers], np.uint64)
    part = Part(tokens, np.tile([2, 4], 300), np.full(300, 2), hashes, (numbers % 3 > 0).astype(int))
    token_store.write(tmp_path / "s", [part], 1000, {"sources": NAMES})
    return token_store.open_store(tmp_path / "s")


def documents(store: TokenStore) -> list[int]:
    """The documents of a store by the number that all their tokens are."""
    found, first = [], 0
    for end in store.document_ends:
        tokens = store.gather_tokens(store.sentence_starts[first:end], store.sentence_lengths[first:end])
        assert len(tokens) == 6 and len(set(tokens.tolist())) == 1
        found.append(int(tokens[0]))
        first = int(end)
    return found


def test_without_numbers_every_document_is_read_once(store: TokenStore) -> None:
    assert training_documents(store, mix({}, {})) is store
    assert documents(store) == list(range(300))


def test_repeats_are_whole_passes_and_a_fraction_that_names_decide(store: TokenStore) -> None:
    found = documents(training_documents(store, mix({"repeats": 2.5}, {"repeats": 0.5})))
    times = Counter(found)
    books, web = ([times[i] for i in range(300) if (i % 3 > 0) == is_web] for is_web in (False, True))
    assert set(books) == {2, 3} and set(web) == {0, 1}
    assert books.count(3) == 50 and web.count(1) == 100
    second = next(i for i, number in enumerate(found) if number in found[:i])
    assert found[:second] == sorted(set(found)), "every document once before any comes again"
    assert found == documents(training_documents(store, mix({"repeats": 2.5}, {"repeats": 0.5})))
    more = Counter(documents(training_documents(store, mix({"repeats": 2.75}, {"repeats": 0.5}))))
    assert all(more[i] >= times[i] for i in range(300)), "more repeats take no document away"


def test_weights_are_shares_of_the_tokens(store: TokenStore) -> None:
    assert repeats(mix({"weight": 1}, {"weight": 1}), {"books": 600, "web": 1200}) == {"books": 1.5, "web": 0.75}
    assert repeats(mix({"weight": 2}, {"weight": 6}), {"books": 600, "web": 200}) == {"books": 1 / 3, "web": 3.0}
    found = training_documents(store, mix({"weight": 3}, {"weight": 1}))
    share = float((found.document_sources == 0).mean())
    assert abs(share - 0.75) < 0.005 and abs(len(found.document_ends) - 300) <= 1
    with pytest.raises(ConfigError, match=r"data_mix\.web\.weight=1: the source has no training text"):
        repeats(mix({"weight": 1}, {"weight": 1}), {"books": 600, "web": 0})


def test_a_limit_of_tokens_falls_on_each_source_by_its_share(store: TokenStore) -> None:
    found = training_documents(store, mix({"repeats": 4}, {"repeats": 1}, train_tokens=720))
    times = Counter(documents(found))
    assert set(times[i] for i in times if i % 3) == {1} and max(times.values()) == 4
    assert tokens_by_source(found) == {"books": 480, "web": 240}, "4 x 600 and 1200 tokens: two thirds and one"
    weighted = training_documents(store, mix({"weight": 3}, {"weight": 1}, train_tokens=720))
    assert tokens_by_source(weighted) == {"books": 540, "web": 180}


def test_few_documents_come_as_near_to_their_share_as_they_can(tmp_path: Path) -> None:
    """Four documents a source, one long: never none of a source that is asked for, never far from what is asked for."""
    lengths = np.array([10, 10, 10, 50] * 2)
    hashes = np.array([document_hash(f"d{i}") for i in range(8)], np.uint64)
    part = Part(np.zeros(160, np.uint16), lengths, np.ones(8, int), hashes, np.repeat([0, 1], 4))
    token_store.write(tmp_path / "s", [part], 10, {"sources": NAMES})
    whole = token_store.open_store(tmp_path / "s")
    for times in (0.01, 0.3, 0.5, 0.9, 1.0, 2.4):
        found = training_documents(whole, mix({"repeats": times}, {}))
        tokens = found.sentence_lengths[np.repeat(found.document_sources, 1) == 0].sum()
        assert tokens > 0 and abs(tokens - times * 80) <= 50, times


def test_settings_that_mean_the_same_are_the_same_science() -> None:
    assert science(mix({}, {})) == science(mix({"repeats": 1.0}, {})) != science(mix({"repeats": 2.0}, {}))
    assert science(mix({"weight": 1}, {"weight": 3})) == science(mix({"weight": 2}, {"weight": 6}))
    one = DataMixConfig({"a": SourceConfig("pydoc")})
    for keys in ({"weight": 3.0}, {"text_field": "zzz"}, {"min_characters": 5}, {"licence": "x"}):
        assert science(DataMixConfig({"a": SourceConfig("pydoc", **keys)})) == science(one), keys
    files = [DataMixConfig({"a": SourceConfig("jsonl", text_field=name)}) for name in ("text", "body")]
    assert science(files[0]) != science(files[1])
