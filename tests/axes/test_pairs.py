"""Sentence order (ALBERT, Lan et al. 2020, Section 3.1): replayed slowly over the corpus; labels, balance, coverage."""

import dataclasses

import numpy as np
import pytest
from test_input_format import (
    FIRST,
    PAIRED,
    VOCABULARY,
    Corpus,
    explains,
    gathered,
    random_corpus,
    slow_pieces,
    store_of,
    unpadded,
)

from roberta_lab.axes import pairs
from roberta_lab.axes.examples import Plan, Rows, gather
from roberta_lab.axes.input_format import plan
from roberta_lab.axes.nsp import validate
from roberta_lab.config import ConfigError, InputFormatConfig, NspConfig


def make(name: str, corpus: Corpus, max_length: int, key: int = 1) -> tuple[Plan, Rows]:
    store = store_of(corpus)
    made = plan(store, InputFormatConfig(name, max_length), key, pairs="swapped")
    return made, gather(store, made, np.arange(made.num_examples), VOCABULARY)


def order_faults(corpus: Corpus, max_length: int, rows: Rows, single: bool) -> list[str]:
    """Walks over the chunks: each must give one pair, of its two parts, in the order that the label says."""
    pieces, cursor, found = slow_pieces(corpus, max_length - 3), 0, []
    assert rows.next_sentence_label is not None

    def end_of(first: int) -> int:
        """The piece after the chunk that starts at a piece."""
        if not single:
            return gathered(pieces, first, max_length - 3)
        return first + 1 + (first + 1 < len(pieces) and pieces[first + 1].document == pieces[first].document)

    for row, (ids, label) in enumerate(zip(unpadded(rows), rows.next_sentence_label.tolist(), strict=True)):
        while end_of(cursor) - cursor == 1 and pieces[cursor].last - pieces[cursor].first == 1:
            cursor += 1  # one token makes no pair
        end = end_of(cursor)
        cut = ids.index(2)
        texts = (ids[1:cut], ids[cut + 1 : -1])
        first, second = texts if label == 0 else texts[::-1]
        if end - cursor == 1:
            whole = list(range(pieces[cursor].first, pieces[cursor].last))
            fits = bool(first and second) and first + second == whole
        else:
            runs = ((range(cursor, split), range(split, end)) for split in range(cursor + 1, end))
            ordered = (run if label == 0 else run[::-1] for run in runs)
            fits = any(explains(pieces, a, b, texts, max_length - 3) for a, b in ordered)
        if not fits:
            found.append(f"row {row}")
        cursor = end
    return found


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_neighbours_in_the_order_that_the_label_says(seed: int, name: str) -> None:
    corpus, max_length = random_corpus(seed, documents=8), (12, 24, 48, 96)[seed % 4]
    made, rows = make(name, corpus, max_length, key=seed)
    assert order_faults(corpus, max_length, rows, name == "sentence_pair") == []
    assert made.counts["pairs_swapped"] == rows.next_sentence_label.sum()
    assert made.lengths.max() <= max_length
    seen = rows.input_ids[rows.input_ids >= FIRST]
    assert len(seen) == len(set(seen.tolist())), "a token is read twice"
    missing = sum(map(sum, corpus)) - len(seen)
    assert missing == made.counts["trimmed_tokens"] + made.counts["pairs_too_short"]


@pytest.mark.parametrize("name", PAIRED)
def test_labels_are_balanced_also_where_a_chunk_is_one_sentence(name: str) -> None:
    """A coin of 4,000 throws: five deviations are 158."""
    for corpus in ([[9, 9]] * 4000, [[9]] * 4000):
        label = make(name, corpus, 40)[1].next_sentence_label
        assert label is not None and len(label) == 4000 and abs(label.sum() - 2000) < 158


def test_a_sentence_is_cut_anywhere() -> None:
    """Each of eight places between nine tokens for an eighth of 4,000: five deviations are 105."""
    made, rows = make("sentence_pair", [[9]] * 4000, 40)
    lengths, swapped = made.spans_length.reshape(-1, 2), rows.next_sentence_label == 1
    first = np.where(swapped, lengths[:, 1], lengths[:, 0])
    assert np.abs(np.bincount(first, minlength=9)[1:] - 500).max() < 105


def test_the_label_cannot_be_told_from_lengths() -> None:
    """A and B of swapped pairs are as long as those of the others, for A is not always the first part."""
    corpus = random_corpus(3, documents=4000)
    made, rows = make("segment_pair", corpus, 60)
    a_lengths = made.spans_length[0::2]
    label = rows.next_sentence_label == 1
    both = [a_lengths[label], a_lengths[~label]]
    error = np.sqrt(sum(x.var() / len(x) for x in both))
    assert abs(both[0].mean() - both[1].mean()) < 4 * error


def test_one_document_is_enough() -> None:
    assert make("segment_pair", [[5, 5, 5, 5]], 12)[0].num_examples == 2


def test_planted_faults_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = random_corpus(4, documents=6)
    _, rows = make("segment_pair", corpus, 24)
    labels = 1 - rows.next_sentence_label
    assert order_faults(corpus, 24, dataclasses.replace(rows, next_sentence_label=labels), single=False)
    right = pairs._num_trimmed
    monkeypatch.setattr(pairs, "_num_trimmed", lambda a, b, room: right(a, b, room - 1))
    assert order_faults(corpus, 24, make("segment_pair", corpus, 24)[1], single=False)


@pytest.mark.parametrize(
    ("config", "words"),
    [(NspConfig("auto", pairs="swaped"), "Did you mean 'swapped'")],
)
def test_mistakes_are_named(config: NspConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        validate(config)
