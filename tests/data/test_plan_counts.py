"""Counts of large plans: made once, kept whole, gone on with after a stop, made again when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from roberta_lab.axes import blocks
from roberta_lab.axes.epochs import epochs_of
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import Config, InputFormatConfig, NspConfig, console
from roberta_lab.data import plan_counts, token_store
from roberta_lab.data.plan_counts import KeptCounts
from roberta_lab.data.token_store import Part

CONFIG = Config(seed=3, input_format=InputFormatConfig("segment_pair", 32), nsp=NspConfig("auto", copies=2))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokenStore:
    """150 documents of 900 sentences on disk, in blocks of about 50 sentences."""
    for name, value in (("WHOLE", 100), ("BLOCK", 50), ("WINDOW", 4)):
        monkeypatch.setattr(blocks, name, value)
    draw = np.random.default_rng(1)
    lengths = draw.integers(1, 9, 900)
    hashes, sources = draw.integers(0, 1 << 63, 150).astype(np.uint64), np.zeros(150, int)
    part = Part(np.arange(lengths.sum()) % 500, lengths, np.full(150, 6), hashes, sources)
    token_store.write(tmp_path / "s", [part], 500, {"sources": ["books"]})
    return token_store.open_store(tmp_path / "s")


def counted(store: TokenStore, cache: Path, config: Config = CONFIG) -> tuple[dict[str, list[int]], list[int]]:
    """The counts of an epoch, and the blocks that were planned for them."""
    kept, made = KeptCounts(store, cache), []

    def spied(about, number, of_block):
        return kept(about, number, lambda block: made.append(block) or of_block(block))

    return {name: column.tolist() for name, column in epochs_of(store, config, spied).counts(0).items()}, made


def test_counts_are_made_once_for_what_they_are_of(store: TokenStore, tmp_path: Path) -> None:
    expected = {name: column.tolist() for name, column in epochs_of(store, CONFIG).counts(0).items()}
    found, made = counted(store, tmp_path)
    assert found == expected and made == list(range(18)) and sum(found["sentences"]) == 900
    assert counted(store, tmp_path) == (expected, [])
    others = [
        (store, replace(CONFIG, seed=4)),
        (store, replace(CONFIG, input_format=InputFormatConfig("segment_pair", 40))),
        (store, replace(CONFIG, input_format=InputFormatConfig("full_sentences", 32))),
        (store.select(3000), CONFIG),
        (store.subset(np.arange(150)[::-1], np.full(150, 6)), CONFIG),
    ]
    for other, config in others:
        assert counted(other, tmp_path, config)[1], "another plan is counted"
        assert counted(other, tmp_path, config)[1] == []
    again = replace(CONFIG, seed=5, input_format=InputFormatConfig("full_sentences", 32))
    assert counted(store, tmp_path, again)[1] == [], "a format that draws nothing is the same for all seeds"


@pytest.mark.parametrize("saved_every", [0.0, 1e9])
def test_a_count_that_was_stopped_goes_on(
    store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved_every: float
) -> None:
    monkeypatch.setattr(plan_counts, "SAVED_EVERY", saved_every)
    kept = KeptCounts(store, tmp_path)

    def stopped(about, number, of_block):
        def until(block: int) -> dict[str, int]:
            if block == 7:
                raise KeyboardInterrupt
            return of_block(block)

        return kept(about, number, until)

    with pytest.raises(KeyboardInterrupt):
        epochs_of(store, CONFIG, stopped).counts(0)
    found, made = counted(store, tmp_path)
    assert made == list(range(7, 18))
    assert found == {name: column.tolist() for name, column in epochs_of(store, CONFIG).counts(0).items()}


def test_a_count_is_saved_now_and_then_and_blocks_of_another_size_are_counted_anew(
    store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed loses a few blocks; saving after each would take longer than counting."""
    now, saved = [0.0], []
    monkeypatch.setattr(plan_counts, "time", SimpleNamespace(monotonic=lambda: now[0]))
    save_arrays = plan_counts.save_arrays

    def save(file: Path, arrays: dict[str, np.ndarray]) -> None:
        saved.append(len(arrays["examples"]))
        save_arrays(file, arrays)

    monkeypatch.setattr(plan_counts, "save_arrays", save)
    kept = KeptCounts(store, tmp_path)

    def slow(about, number, of_block):
        def block_of(block: int) -> dict[str, int]:
            now[0] += 0.4 * plan_counts.SAVED_EVERY
            return of_block(block)

        return kept(about, number, block_of)

    epochs_of(store, CONFIG, slow).counts(0)
    assert saved == [3, 6, 9, 12, 15, 18, 18]
    monkeypatch.setattr(blocks, "BLOCK", 60)
    assert counted(store, tmp_path)[1] == list(range(15))


def test_a_half_count_that_is_damaged_is_made_again(store: TokenStore, tmp_path: Path) -> None:
    expected = counted(store, tmp_path)[0]
    [file] = (tmp_path / "plans").glob("*.npz")
    file.unlink()
    file.with_name(f".{file.name}.making").write_bytes(b"half of it")
    assert counted(store, tmp_path) == (expected, list(range(18)))


def test_a_damaged_count_is_made_again_and_said(
    store: TokenStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.forget()
    expected = counted(store, tmp_path)[0]
    [file] = (tmp_path / "plans").glob("*.npz")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found, made = counted(store, tmp_path)
    assert found == expected and len(made) == 18 and "it is counted again" in capsys.readouterr().err


def test_a_small_corpus_writes_no_file(store: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "WHOLE", 1000)
    counted(store, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# ---------------------------------------------------------------- stores whose sentences stay on disk
def test_documents_are_read_alone_also_of_selections(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the arrays of the whole, also where chunks of the file end within documents."""
    monkeypatch.setattr("roberta_lab.axes.sentence_store.CHUNK", 7)
    lengths = store.lengths[:]
    assert isinstance(store.lengths, token_store.OnDisk)
    again = TokenStore.whole(
        store.shards, lengths, store.document_ends, store.document_hashes, store.document_sources, store.manifest
    )
    assert np.array_equal(again.document_tokens, store.document_tokens)
    assert np.array_equal(again.document_starts, store.document_starts)
    for some in (store, store.select(1500), store.subset(np.array([9, 3, 9, 40]), np.array([6, 2, 6, 1]))):
        assert some.num_tokens == some.sentence_lengths.sum()
        starts, ends = some.sentence_starts, np.concatenate([[0], some.document_ends])
        for first, last in ((0, 2), (1, len(ends) - 1), (2, 3)):
            part, here = some.documents(first, last), slice(ends[first], ends[last])
            assert np.array_equal(part.sentence_starts, starts[here])
            assert np.array_equal(part.sentence_lengths, some.sentence_lengths[here])
            assert part.document_ends.tolist() == (ends[first + 1 : last + 1] - ends[first]).tolist()
    assert store.sentence_starts.tolist() == (np.cumsum(lengths) - lengths).tolist()
