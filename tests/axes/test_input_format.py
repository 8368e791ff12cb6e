"""Input formats: exact ids, full coverage, and BERT's segment-pair algorithm replayed slowly (RoBERTa, Section 4.2)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from fake_store import FIRST, Corpus, FakeStore, store_of

from roberta_lab.axes import input_format, pairs
from roberta_lab.axes.examples import Plan, Rows, Vocabulary, gather
from roberta_lab.axes.input_format import FORMATS, plan
from roberta_lab.config import ConfigError, InputFormatConfig

PAIRED = ("segment_pair", "sentence_pair")  # BERT's algorithm
VOCABULARY = Vocabulary(size=1 << 20, mask_id=4, special_ids=(0, 1, 2, 3, 4))


def random_corpus(seed: int, documents: int = 12, longest: int = 25) -> Corpus:
    draw = np.random.default_rng(seed)
    return [draw.integers(1, longest, draw.integers(1, 12)).tolist() for _ in range(documents)]


def make(name: str, corpus: Corpus, max_length: int, key: int = 1) -> tuple[Plan, Rows]:
    store = store_of(corpus)
    made = plan(store, InputFormatConfig(name, max_length), key)
    return made, gather(store, made, np.arange(made.num_examples), VOCABULARY)


def unpadded(rows: Rows) -> list[list[int]]:
    return [row[:n].tolist() for row, n in zip(rows.input_ids, rows.lengths, strict=True)]


# ---------------------------------------------------------------- full_sentences
def slow_full_sentences(corpus: Corpus, max_length: int) -> list[list[int]]:
    """One sentence at a time, as lists of ids."""
    inputs: list[list[int]] = []
    current: list[int] = []
    previous_document, token = -1, FIRST
    for number, document in enumerate(corpus):
        for length in document:
            sentence = list(range(token, token + length))
            token += length
            while sentence:
                piece, sentence = sentence[: max_length - 2], sentence[max_length - 2 :]
                separator = [2] if current and previous_document != number else []
                if len(current) + len(separator) + len(piece) + 2 > max_length:
                    inputs.append([0, *current, 2])
                    current, separator = [], []
                current += separator + piece
                previous_document = number
    return [*inputs, [0, *current, 2]]


def full_faults(corpus: Corpus, max_length: int, rows: Rows) -> list[str]:
    """What is wrong with packed inputs: lengths and coverage from outside, then every id."""
    inputs, found = unpadded(rows), []
    if any(len(ids) > max_length for ids in inputs) or rows.input_ids.shape[1] > max_length:
        found.append("an input is longer than max_length")
    text = [i for ids in inputs for i in ids if i >= FIRST]
    if text != list(range(FIRST, FIRST + sum(map(sum, corpus)))):
        found.append("a token is not in exactly one input, in order")
    if inputs != slow_full_sentences(corpus, max_length):
        found.append("not the packing of the slow reference")
    return found


def test_full_sentences_by_hand() -> None:
    made, rows = make("full_sentences", [[2, 1], [1, 3], [8], [1]], max_length=8)
    assert rows.input_ids.tolist() == [
        [0, 10, 11, 12, 2, 13, 2, 1],  # two documents, one </s> between them; the next sentence would pass 8
        [0, 14, 15, 16, 2, 1, 1, 1],  # the next sentence is longer than 6: split in pieces of 6 and 2
        [0, 17, 18, 19, 20, 21, 22, 2],
        [0, 23, 24, 2, 25, 2, 1, 1],
    ]
    assert made.lengths.tolist() == rows.lengths.tolist() == [7, 5, 8, 6]
    assert made.num_text_tokens.tolist() == [4, 3, 6, 3]
    assert made.next_sentence_label is None and rows.next_sentence_label is None
    assert made.counts == {
        "sentences": 6,
        "sentences_empty": 0,
        "sentences_split": 1,
        "documents": 4,
        "documents_dropped": 0,
        "documents_crossed": 2,
        "text_tokens": 16,
    }


def test_no_separator_opens_an_input_and_an_exact_fit_fits() -> None:
    assert unpadded(make("full_sentences", [[6], [6], [3], [2, 1]], max_length=8)[1]) == [
        [0, *range(10, 16), 2],
        [0, *range(16, 22), 2],
        [0, 22, 23, 24, 2, 25, 26, 2],
        [0, 27, 2],
    ]


@pytest.mark.parametrize("seed", range(25))
def test_full_sentences_equals_the_slow_reference(seed: int) -> None:
    corpus, max_length = random_corpus(seed), (3, 8, 16, 32, 64)[seed % 5]
    assert full_faults(corpus, max_length, make("full_sentences", corpus, max_length)[1]) == []


def test_full_sentences_reads_no_key() -> None:
    one, two = (make("full_sentences", random_corpus(1), 32, key)[1] for key in (1, 2))
    assert np.array_equal(one.input_ids, two.input_ids)


@pytest.mark.parametrize("name", FORMATS)
def test_empty_sentences_and_documents_are_dropped_and_counted(name: str) -> None:
    made, rows = make(name, [[0], [3, 0, 2], [], [4], [0, 0]], max_length=16)
    assert made.counts["documents_dropped"] == 3 and made.counts["sentences_empty"] == 4
    assert np.array_equal(rows.input_ids, make(name, [[3, 2], [4]], max_length=16)[1].input_ids)


# ---------------------------------------------------------------- doc_sentences
def slow_doc_sentences(corpus: Corpus, max_length: int) -> list[list[int]]:
    """Each document packed by itself."""
    inputs, token = [], FIRST
    for document in corpus:
        packed = slow_full_sentences([document], max_length)
        inputs += [[i + token - FIRST if i >= FIRST else i for i in ids] for ids in packed]
        token += sum(document)
    return inputs


def test_doc_sentences_by_hand() -> None:
    _, rows = make("doc_sentences", [[2, 1], [1, 3], [8], [1]], max_length=8)
    assert unpadded(rows) == [
        [0, 10, 11, 12, 2],  # ends with its document
        [0, 13, 14, 15, 16, 2],
        [0, 17, 18, 19, 20, 21, 22, 2],
        [0, 23, 24, 2],
        [0, 25, 2],
    ]


SLOW = {
    "full_sentences": slow_full_sentences,
    "doc_sentences": slow_doc_sentences,
}  # real corpora are tried with them too


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("seed", range(12))
def test_inputs_equal_the_slow_reference(seed: int, name: str) -> None:
    corpus, max_length = random_corpus(seed), (8, 16, 64)[seed % 3]
    made, rows = make(name, corpus, max_length)
    assert unpadded(rows) == SLOW[name](corpus, max_length)
    assert made.lengths.max() <= max_length and (made.next_sentence_label is not None) == FORMATS[name].pairs


@pytest.mark.parametrize("seed", range(12))
def test_of_doc_sentences_every_token_is_in_exactly_one_input(seed: int) -> None:
    corpus = random_corpus(seed)
    rows = make("doc_sentences", corpus, (8, 16, 64)[seed % 3])[1]
    assert rows.input_ids[~rows.special_mask].tolist() == list(range(FIRST, FIRST + sum(map(sum, corpus))))


# ---------------------------------------------------------------- segment_pair, sentence_pair
def slow_trim(a: int, b: int, room: int) -> tuple[int, int]:
    while a + b > room:
        a, b = (a - 1, b) if a > b else (a, b - 1)
    return a, b


@dataclass(frozen=True)
class Piece:
    """A sentence, or a part of one that fits, as ids first..last-1."""

    first: int
    last: int
    document: int


def slow_pieces(corpus: Corpus, room: int) -> list[Piece]:
    pieces, token = [], FIRST
    for number, document in enumerate(corpus):
        for length in document:
            for start in range(token, token + length, room):
                pieces.append(Piece(start, min(start + room, token + length), number))
            token += length
    return pieces


def gathered(pieces: list[Piece], first: int, wanted: int) -> int:
    """The end of the run from `first` that reaches `wanted` tokens or its document's end, sentence by sentence."""
    end, total = first, 0
    while end < len(pieces) and pieces[end].document == pieces[first].document:
        total += pieces[end].last - pieces[end].first
        end += 1
        if total >= wanted:
            break
    return end


def explains(pieces: list[Piece], a: range, b: range, ids: tuple[list[int], list[int]], room: int) -> bool:
    """Whether trimming the runs of pieces `a` and `b` can leave exactly these ids."""
    full = [range(pieces[run[0]].first, pieces[run[-1]].last) for run in (a, b)]
    wanted = slow_trim(len(full[0]), len(full[1]), room)
    return all(
        len(kept) == n and kept[0] in whole and kept == list(range(kept[0], kept[0] + n)) and kept[-1] in whole
        for kept, whole, n in zip(ids, full, wanted, strict=True)
    )


def next_cursors(
    pieces: list[Piece], cursor: int, ids: tuple[list[int], list[int]], label: int, room: int, single: bool
) -> set[int]:
    """Where BERT's algorithm can stand after emitting this example from `cursor`; empty when it cannot have emitted it.

    With `single`, A and B are one sentence each (SENTENCE-PAIR).
    """
    end, after = gathered(pieces, cursor, room), set()
    if single:
        end = cursor + 1 + (cursor + 1 < len(pieces) and pieces[cursor + 1].document == pieces[cursor].document)
    if end - cursor == 1 and label == 0:
        return set()
    for split in range(cursor + 1, max(end, cursor + 2)):
        a = range(cursor, split)
        if label == 0 and explains(pieces, a, range(split, end), ids, room):
            after.add(end)
        size = pieces[split - 1].last - pieces[cursor].first
        for start in range(len(pieces)) if label == 1 else ():
            b = range(start, start + 1 if single else gathered(pieces, start, room - size))
            if pieces[start].document != pieces[cursor].document and explains(pieces, a, b, ids, room):
                after.add(split)
    return after


def pair_faults(corpus: Corpus, max_length: int, rows: Rows, single: bool = False) -> list[str]:
    """Replays BERT's walk over the corpus: each example must be one that it can emit next."""
    pieces, found, cursors = slow_pieces(corpus, max_length - 3), [], {0}
    document_of = {i: p.document for p in pieces for i in range(p.first, p.last)}
    assert rows.next_sentence_label is not None
    for row, (ids, label) in enumerate(zip(unpadded(rows), rows.next_sentence_label.tolist(), strict=True)):
        if len(ids) > max_length:
            found.append(f"row {row} is longer than max_length")
        if ids[0] != 0 or ids[-1] != 2 or ids.count(2) != 2 or ids.count(0) != 1:
            found.append(f"row {row} is not <s> A </s> B </s>")
            continue
        cut = ids.index(2)
        a, b = ids[1:cut], ids[cut + 1 : -1]
        if rows.token_type_ids[row, : len(ids)].tolist() != [0] * (cut + 1) + [1] * (len(b) + 1):
            found.append(f"row {row} has wrong token types")
        if not a or not b:
            found.append(f"row {row} has an empty segment")
            continue
        if (document_of[a[0]] != document_of[b[0]]) != (label == 1):
            found.append(f"row {row}: the label does not match the documents")
        here = [cursor for cursor in cursors if cursor < len(pieces)]
        cursors = {c for cursor in here for c in next_cursors(pieces, cursor, (a, b), label, max_length - 3, single)}
        if not cursors:
            return [*found, f"row {row} is none that BERT's algorithm emits here"]
    return found if len(pieces) in cursors else [*found, "sentences are left over"]


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("seed", range(16))
def test_pairs_are_a_walk_of_berts_algorithm(seed: int, name: str) -> None:
    corpus, max_length = random_corpus(seed, documents=6), (12, 24, 48, 96)[seed % 4]
    made, rows = make(name, corpus, max_length, key=seed)
    assert pair_faults(corpus, max_length, rows, name == "sentence_pair") == []
    assert made.lengths.max() <= max_length
    assert made.num_text_tokens.tolist() == (~rows.special_mask).sum(axis=1).tolist()
    assert made.counts["pairs_random"] == rows.next_sentence_label.sum()
    assert made.counts["text_tokens"] == made.num_text_tokens.sum()


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("seed", range(8))
def test_every_sentence_is_seen_as_a_or_as_next_b(seed: int, name: str) -> None:
    corpus, max_length = random_corpus(seed), 40
    made, rows = make(name, corpus, max_length, key=seed)
    seen: set[int] = set()
    for ids, kinds, label in zip(rows.input_ids, rows.token_type_ids, rows.next_sentence_label, strict=True):
        kept = (ids >= FIRST) & ((kinds == 0) | (label == 0))
        assert not seen & set(ids[kept].tolist()), "a token is read twice outside random B"
        seen |= set(ids[kept].tolist())
    assert sum(map(sum, corpus)) - len(seen) <= made.counts["trimmed_tokens"]
    # With room for whole documents nothing is trimmed but by a random B, so nothing at all is missing.
    small = [[2, 3, 1], [4, 1], [1, 1, 1, 1]]
    made, rows = make(name, small, max_length=60, key=seed)
    assert made.counts["trimmed_tokens"] == 0
    assert set(rows.input_ids[~rows.special_mask].tolist()) == set(range(FIRST, FIRST + 15))


@pytest.mark.parametrize("room", range(2, 12))
def test_trimming_counts_equal_the_loop(room: int) -> None:
    a, b = (x.ravel() for x in np.meshgrid(np.arange(1, 16), np.arange(1, 16)))
    a_cut, b_cut = pairs._num_trimmed(a, b, room)
    expected = [slow_trim(int(x), int(y), room) for x, y in zip(a, b, strict=True)]
    assert list(zip((a - a_cut).tolist(), (b - b_cut).tolist(), strict=True)) == expected


def test_a_long_sentence_is_split_and_no_piece_is_lost() -> None:
    made, rows = make("segment_pair", [[25], [3]], max_length=13)
    assert made.counts["sentences_split"] == 1
    assert pair_faults([[25], [3]], 13, rows) == []


# Documents of 9 sentences of 1 token, which one input holds: the first chunk of each has a split, a coin and a B to test.
EQUAL = [[1] * 9] * 4000


@pytest.fixture(scope="module")
def equal_pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each document's first example: |A|, label, document of B, start of B in it."""
    _, rows = make("segment_pair", EQUAL, max_length=20)
    first = (rows.input_ids[:, 1] - FIRST) % 9 == 0
    ids = rows.input_ids[first]
    a_length = (ids == 2).argmax(axis=1) - 1
    b = ids[np.arange(len(ids)), a_length + 2] - FIRST
    return a_length, rows.next_sentence_label[first], b // 9, b % 9


def chi_square(observed: np.ndarray) -> float:
    return float(((observed - observed.mean()) ** 2 / observed.mean()).sum())


def test_splits_are_uniform(equal_pairs: tuple[np.ndarray, ...]) -> None:
    splits = np.bincount(equal_pairs[0], minlength=10)
    assert splits.sum() == 4000 and splits[0] == splits[9] == 0
    assert chi_square(splits[1:9]) < 25  # 7 degrees of freedom: p = 0.0008


def test_half_of_the_labels_are_random(equal_pairs: tuple[np.ndarray, ...]) -> None:
    assert abs(equal_pairs[1].mean() - 0.5) < 0.03  # sigma 0.008


def test_random_b_is_uniform_over_documents_and_their_sentences(equal_pairs: tuple[np.ndarray, ...]) -> None:
    _, label, document, start = equal_pairs
    assert chi_square(np.bincount(start[label == 1], minlength=9)) < 27  # 8 degrees of freedom: p = 0.0007
    assert chi_square(np.bincount(document[label == 1] // 400, minlength=10)) < 29  # 9: p = 0.0006
    assert (document[label == 1] != np.flatnonzero(label == 1)).all()


def test_a_lone_sentence_takes_a_random_b() -> None:
    _, rows = make("segment_pair", [[3]] * 20, max_length=30)
    assert rows.next_sentence_label.tolist() == [1] * 20


def test_trimming_takes_from_front_and_back_alike() -> None:
    # Two sentences of 9 tokens in room for 10: each loses 4, as many from its front as four fair coins say.
    made, rows = make("segment_pair", [[9, 9]] * 3000, max_length=13)
    is_next = rows.next_sentence_label == 0
    assert (rows.input_ids[is_next, 6] == 2).all()
    for column in (1, 7):
        fronts = np.bincount((rows.input_ids[is_next, column] - FIRST) % 9, minlength=5) / is_next.sum()
        assert len(fronts) == 5 and np.abs(fronts - np.array([1, 4, 6, 4, 1]) / 16).max() < 0.04  # sigma 0.013
    assert made.counts["trimmed_tokens"] >= 8 * is_next.sum()


def test_segment_pair_is_a_function_of_its_key() -> None:
    corpus = random_corpus(3)
    one, again, other = (make("segment_pair", corpus, 32, key)[1] for key in (5, 5, 6))
    assert unpadded(one) == unpadded(again) != unpadded(other)


# ---------------------------------------------------------------- gather
@pytest.mark.parametrize("name", FORMATS)
def test_gather_takes_any_examples_in_any_order(name: str) -> None:
    store = store_of(random_corpus(2))
    made = plan(store, InputFormatConfig(name, 32), 1)
    every = gather(store, made, np.arange(made.num_examples), VOCABULARY)
    assert every.input_ids.dtype == every.token_type_ids.dtype == every.lengths.dtype == np.int64
    for indices in (np.array([3, 0, 3, made.num_examples - 1]), np.array([1])):
        some = gather(store, made, indices, VOCABULARY)
        width = int(every.lengths[indices].max())
        assert np.array_equal(some.input_ids, every.input_ids[indices, :width])
        assert np.array_equal(some.special_mask, every.special_mask[indices, :width])
        assert np.array_equal(some.token_type_ids, every.token_type_ids[indices, :width])
        assert some.lengths.tolist() == made.lengths[indices].tolist()
    assert np.array_equal(every.special_mask, every.input_ids < FIRST)
    assert gather(store, made, np.array([], int), VOCABULARY).input_ids.shape == (0, 0)


# ---------------------------------------------------------------- mistakes
@pytest.mark.parametrize(
    ("name", "corpus", "max_length", "words"),
    [
        ("segment_pair", [[3, 4, 5]], 16, "segment_pair.*another document"),
        ("segment_pair", [[3, 4, 5], [0]], 16, "segment_pair.*another document"),
        ("segment_pair", [[3], [4]], 4, "max_length=4.*5 and more"),
        ("full_sentences", [[3], [4]], 2, "max_length=2.*3 and more"),
        ("full_sentences", [[0]], 16, "no sentence"),
        ("full_sentence", [[3]], 16, "full_sentence'.*segment_pair, sentence_pair"),
    ],
)
def test_mistakes_are_named(name: str, corpus: Corpus, max_length: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(name, corpus, max_length)


# ---------------------------------------------------------------- planted faults
PAIRS = random_corpus(4, documents=6)


@pytest.mark.parametrize("row", [0, 3, -1])
def test_a_flipped_label_is_noticed(row: int) -> None:
    _, rows = make("segment_pair", PAIRS, 24)
    labels = rows.next_sentence_label.copy()
    labels[row] = 1 - labels[row]
    assert any("label" in f for f in pair_faults(PAIRS, 24, dataclasses.replace(rows, next_sentence_label=labels)))


def test_packing_past_max_length_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (input_format, pairs):
        monkeypatch.setattr(module, "capacity_of", lambda config, specials, least: config.max_length - specials + 1)
    corpus = random_corpus(5)
    assert "an input is longer than max_length" in full_faults(corpus, 16, make("full_sentences", corpus, 16)[1])
    assert any("longer than max_length" in f for f in pair_faults(PAIRS, 24, make("segment_pair", PAIRS, 24)[1]))


def test_a_lost_and_a_shifted_sentence_are_noticed() -> None:
    corpus = random_corpus(6)
    store = store_of(corpus)
    made = plan(store, InputFormatConfig("full_sentences", 32), 1)
    kept = gather(store, made, np.delete(np.arange(made.num_examples), 2), VOCABULARY)
    assert "a token is not in exactly one input, in order" in full_faults(corpus, 32, kept)
    shifted = dataclasses.replace(made, spans_start=np.maximum(made.spans_start - 1, 0))
    assert full_faults(corpus, 32, gather(store, shifted, np.arange(made.num_examples), VOCABULARY))


@pytest.mark.parametrize("fault", ["unused sentences are dropped", "B is from the same document", "A is trimmed first"])
def test_departures_from_bert_are_noticed(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    assert pair_faults(PAIRS, 24, make("segment_pair", PAIRS, 24)[1]) == []
    if fault == "unused sentences are dropped":
        segments, chain, seen = input_format.segments, pairs.chain, []
        monkeypatch.setattr(input_format, "segments", lambda *args: seen.append(segments(*args)) or seen[0])
        monkeypatch.setattr(pairs, "chain", lambda following: chain(seen[0][1]))
    elif fault == "B is from the same document":
        monkeypatch.setattr(pairs, "_random_b", lambda pieces, firsts, *rest: (firsts, firsts + 1))
    else:
        monkeypatch.setattr(pairs, "_num_trimmed", _trim_a_first)
    assert pair_faults(PAIRS, 24, make("segment_pair", PAIRS, 24)[1])


def _trim_a_first(a: np.ndarray, b: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    excess = np.maximum(a + b - room, 0)
    a_cut = np.minimum(excess, a - 1)
    return a_cut, excess - a_cut


def test_chunks_cover_what_counts_say() -> None:
    made, rows = make("segment_pair", PAIRS, 24)
    assert Counter(made.spans_kind.tolist()) == {0: made.num_examples, 1: made.num_examples}
    assert rows.lengths.sum() == made.counts["text_tokens"] + 3 * made.num_examples


@pytest.mark.parametrize("name", PAIRED)
def test_a_copy_of_a_document_is_no_other_document(name: str) -> None:
    """A mix may repeat documents: the addresses of three, each four times, pass after pass."""
    once = store_of([[5] * 6, [4] * 5, [6] * 7])
    sizes = np.diff(once.document_ends, prepend=0)
    again = FakeStore(
        once.tokens, np.tile(once.sentence_starts, 4), np.tile(once.sentence_lengths, 4), np.cumsum(np.tile(sizes, 4))
    )
    borders = once.sentence_starts[np.concatenate([[0], once.document_ends[:-1]])]
    others = set()
    for key in range(40):
        made = plan(again, InputFormatConfig(name, 24), key)
        a, b = (np.searchsorted(borders, made.spans_start.reshape(-1, 2)[:, side], "right") for side in (0, 1))
        assert made.next_sentence_label is not None
        assert ((a != b) == (made.next_sentence_label == 1)).all()
        others |= set(zip(a[a != b].tolist(), b[a != b].tolist(), strict=True))
    assert len(others) == 6
    alone = store_of([[5] * 6])
    doubled = FakeStore(
        alone.tokens, np.tile(alone.sentence_starts, 2), np.tile(alone.sentence_lengths, 2), np.array([6, 12])
    )
    with pytest.raises(ConfigError, match="another document"):
        plan(doubled, InputFormatConfig(name, 24), 1)
