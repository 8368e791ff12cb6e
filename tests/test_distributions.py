"""Every random draw has the distribution that the paper or BERT names, and a wrong one would be seen.

Each check is a p-value under the right distribution, for fixed keys: above 1e-4 as the code stands, and below it with a fault
put in by hand (a rate of 0.14, a modulo bias, a key cut to 20 bits ...). A check that no fault can fail shows nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fake_store import examples
from test_input_format import FIRST, Corpus, make

from roberta_lab.axes import Bools, Ints, batch_size, masking, pairs
from roberta_lab.axes.batch_size import BatchPlan
from roberta_lab.axes.examples import IGNORED, Vocabulary
from roberta_lab.axes.mask_positions import POSITIONS, Chosen, Positions, span_lengths
from roberta_lab.axes.masking import mask, num_masked
from roberta_lab.axes.rng import hashed, stream_key
from roberta_lab.config import MaskingConfig

P = 1e-4
VOCABULARY = Vocabulary(size=1000, mask_id=999, special_ids=(0, 1, 2, 3, 999))
DRAWABLE = 995  # ids 4 to 998
DYNAMIC = MaskingConfig("dynamic")


# ---------------------------------------------------------------- p-values
def chi_square_p(statistic: float, degrees: int) -> float:
    """The share of a chi-square distribution above the statistic (Wilson and Hilferty's cube root)."""
    width = 2 / (9 * degrees)
    return normal_p(((statistic / degrees) ** (1 / 3) - (1 - width)) / math.sqrt(width), sides=1)


def normal_p(z: float, sides: int = 2) -> float:
    return math.erfc((abs(z) if sides == 2 else z) / math.sqrt(2)) * sides / 2


def uniform_p(counts: np.ndarray, variance_factor: float = 1.0) -> float:
    """Of counts in cells that are equally likely; the factor is the variance's share of independent draws' variance."""
    expected = counts.mean()
    return chi_square_p(float(((counts - expected) ** 2).sum() / (expected * variance_factor)), counts.size - 1)


def share_p(hits: int, trials: int, share: float) -> float:
    return normal_p((hits - trials * share) / math.sqrt(trials * share * (1 - share)))


def test_p_values_are_those_of_the_tables() -> None:
    """Critical values of the chi-square and normal distributions as printed in any table of them."""
    for degrees, statistic in ((1, 10.828), (5, 20.515), (10, 29.588), (30, 59.703), (100, 149.449)):
        assert chi_square_p(statistic, degrees) == pytest.approx(0.001, rel=0.2)
    assert chi_square_p(18.307, 10) == pytest.approx(0.05, rel=0.02)
    assert normal_p(1.95996) == pytest.approx(0.05, rel=1e-4) and share_p(60, 100, 0.5) == pytest.approx(
        0.0455, rel=1e-2
    )
    assert uniform_p(np.array([90, 110, 100, 100])) == pytest.approx(0.572, rel=0.02)


# ---------------------------------------------------------------- masking
def masked_text(
    config: MaskingConfig, num_rows: int, width: int, token: int = 500, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one repeated token, masked: what the model sees, and where it was selected."""
    ids = np.full((num_rows, width), token)
    rows = np.arange(num_rows)
    masked, labels = mask(ids, np.ones_like(ids, bool), rows, rows % 7, config, seed, VOCABULARY)
    return masked, labels != IGNORED


LENGTHS = np.repeat(np.arange(8, 520), 60)


def test_the_exact_count_is_rounded_up_as_often_as_its_fraction_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def p(config: MaskingConfig) -> float:
        counts = num_masked(LENGTHS, np.arange(len(LENGTHS)), np.zeros_like(LENGTHS), config, seed=1)
        if (np.abs(counts - 0.15 * LENGTHS) >= 1).any():
            return 0.0  # more than one from the rate: no exact count
        ups = (counts - np.floor(0.15 * LENGTHS + 1e-9)).reshape(-1, 60).sum(axis=1)
        fraction = (0.15 * LENGTHS[::60] + 1e-9) % 1
        drawn = fraction > 1e-6
        variance = 60 * fraction[drawn] * (1 - fraction[drawn])
        return chi_square_p(float(((ups[drawn] - 60 * fraction[drawn]) ** 2 / variance).sum()), int(drawn.sum()))

    assert p(DYNAMIC) > P
    assert p(replace(DYNAMIC, mask_prob=0.149)) < P
    for wrong in (np.floor, np.round):
        with monkeypatch.context() as patch:
            patch.setitem(
                masking.SELECTIONS, "exact", lambda n, words, config, wrong=wrong: wrong(0.15 * n).astype(np.int64)
            )
            assert p(DYNAMIC) < P, "rounded without a draw"


@pytest.mark.parametrize("selection", ["exact", "bernoulli", "fairseq"])
def test_over_all_examples_the_rate_is_the_rate(selection: str) -> None:
    def p(mask_prob: float) -> float:
        config = replace(DYNAMIC, selection=selection, mask_prob=mask_prob)
        counts = num_masked(LENGTHS, np.arange(len(LENGTHS)), np.zeros_like(LENGTHS), config, seed=2)
        fraction = 0.15 * LENGTHS % 1
        variance = 0.15 * 0.85 * LENGTHS if selection == "bernoulli" else fraction * (1 - fraction)
        return normal_p((counts - 0.15 * LENGTHS).sum() / math.sqrt(variance.sum()))

    assert p(0.15) > P > max(p(0.14), p(0.1505) if selection != "bernoulli" else p(0.152))


def test_bernoulli_counts_are_binomial() -> None:
    def p(selection: str) -> float:
        ones = np.ones(30_000, int)
        counts = num_masked(20 * ones, np.arange(30_000), 0 * ones, replace(DYNAMIC, selection=selection), seed=1)
        cells = np.array([math.comb(20, k) * 0.15**k * 0.85 ** (20 - k) for k in range(9)])
        expected = 30_000 * np.append(cells, 1 - cells.sum())
        observed = np.bincount(np.minimum(counts, 9), minlength=10)
        return chi_square_p(float(((observed - expected) ** 2 / expected).sum()), 9)

    assert p("bernoulli") > P > p("exact")


def test_80_10_10() -> None:
    def p(**shares: float) -> float:
        masked, chosen = masked_text(replace(DYNAMIC, **shares), 2000, 200)
        seen = masked[chosen]
        observed = np.array([(seen == 999).sum(), ((seen != 999) & (seen != 500)).sum(), (seen == 500).sum()])
        share = np.array([0.8, 0.1 - 0.1 / DRAWABLE, 0.1 + 0.1 / DRAWABLE])  # a random token may be the token itself
        return chi_square_p(float(((observed - chosen.sum() * share) ** 2 / (chosen.sum() * share)).sum()), 2)

    assert p() > P
    assert max(p(mask_share=0.79), p(random_share=0.11), p(mask_share=0.81, random_share=0.095)) < P


def contiguous(ids: Ints, maskable: Bools, keys: Ints, counts: Ints, *_: object) -> Chosen:
    """Fault: a run of neighbours from a uniform place on; each position by itself is as likely as any other."""
    width = maskable.shape[1]
    return Chosen((np.arange(width) - (keys % np.uint64(width)).astype(int)[:, None]) % width < counts[:, None])


def early(ids: Ints, maskable: Bools, keys: Ints, counts: Ints, *_: object) -> Chosen:
    """Fault: draws of 6 bits in a row of 40: the first 24 places are twice as likely to be the start of the run."""
    width = maskable.shape[1]
    starts = (keys & np.uint64(63)).astype(int)[:, None] % width
    return Chosen((np.arange(width) - starts) % width < counts[:, None])


def test_positions_are_uniform_and_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    num_rows, width, count = 20_000, 40, 6

    def p_values() -> tuple[float, float]:
        chosen = masked_text(DYNAMIC, num_rows, width)[1]
        assert (chosen.sum(axis=1) == count).all()
        # Without replacement, counts vary by (1 - count / width) x width / (width - 1) as much as with it.
        factor = (1 - count / width) * width / (width - 1)
        together = np.array([(chosen & np.roll(chosen, k, axis=1)).sum() for k in range(1, width // 2)])
        pairs = num_rows * width * (count * (count - 1)) / (width * (width - 1))  # expected at each distance
        # Rows are independent, so each distance's count has the spread of the rows' own counts.
        spread = math.sqrt(num_rows * (chosen & np.roll(chosen, 1, axis=1)).sum(axis=1).var())
        worst = min(normal_p((n - pairs) / max(spread, 1.0)) for n in together.tolist())
        return uniform_p(chosen.sum(axis=0), factor), min(1.0, worst * len(together))

    assert min(p_values()) > P
    monkeypatch.setitem(POSITIONS, "uniform", Positions(contiguous, is_exact=True, is_uniform=True))
    assert p_values()[0] > P > p_values()[1], "neighbours"
    monkeypatch.setitem(POSITIONS, "uniform", Positions(early, is_exact=True, is_uniform=True))
    assert p_values()[0] < P, "modulo bias"


def test_lengths_of_spans_are_spanberts() -> None:
    """SpanBERT, Section 3.1: geometric with p = 0.2, no longer than 10 words, 3.8 on average."""

    def p(**keys: float) -> float:
        lengths = span_lengths(hashed(7, np.arange(100_000)), replace(DYNAMIC, **keys))
        shares = np.array([0.2 * 0.8 ** (length - 1) for length in range(1, 11)])
        expected = 100_000 * shares / shares.sum()
        observed = np.bincount(lengths, minlength=11)[1:]
        return chi_square_p(float(((observed[:10] - expected) ** 2 / expected).sum()), 9)

    assert p() > P > max(p(span_p=0.205), p(max_span=9), p(max_span=11))
    assert abs(span_lengths(hashed(7, np.arange(100_000)), DYNAMIC).mean() - 3.797) < 0.03


def test_random_tokens_are_uniform_over_the_text_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    def p() -> float:
        masked, _ = masked_text(replace(DYNAMIC, mask_prob=1.0, mask_share=0.0, random_share=1.0), 1000, 128)
        counts = np.bincount(masked.ravel(), minlength=VOCABULARY.size)
        return uniform_p(counts[4:999]) if counts[4:999].sum() == counts.sum() else 0.0

    assert p() > P
    uniform = masking.uniform
    for wrong in (
        lambda words: (words & np.uint64(4095)) % np.uint64(DRAWABLE) / DRAWABLE + 1e-9,  # 116 ids 5 times, others 4
        lambda words: uniform(words) ** 1.1,
        lambda words: uniform(words) * (996 / 995),  # reaches past the vocabulary
    ):
        monkeypatch.setattr(masking, "uniform", wrong)
        assert p() < P


def test_every_example_has_a_pattern_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a million examples: as many keys, none of the collapse of fairseq's `hash(...) % 1e6`; static has ten of each."""
    examples = np.arange(500_000)
    zeros = np.zeros_like(examples)

    def num_distinct(config: MaskingConfig) -> int:
        return len(np.unique(masking._pattern_keys(examples, zeros, config, seed=1)))

    def patterns(config: MaskingConfig, num_rows: int = 50) -> int:
        ids, rows = np.full((num_rows, 200), 500), np.arange(num_rows)
        some = [
            mask(ids, ids > 0, rows, np.full(num_rows, e), config, 1, VOCABULARY)[1] != IGNORED for e in range(10, 30)
        ]
        return len({row.tobytes() for epoch in some for row in epoch})

    assert num_distinct(DYNAMIC) == num_distinct(MaskingConfig("static")) == 500_000
    assert patterns(MaskingConfig("static")) == 50 * 10 and patterns(DYNAMIC) == 50 * 20
    keys = masking._pattern_keys
    for wrong in (lambda words: words >> np.uint64(44), lambda words: words % np.uint64(1_000_000)):
        monkeypatch.setattr(masking, "_pattern_keys", lambda *a, wrong=wrong, **k: wrong(keys(*a, **k)))
        assert num_distinct(DYNAMIC) < 410_000
    monkeypatch.setattr(masking, "_pattern_keys", lambda e, epochs, config, seed: keys(e // 2, epochs, config, seed))
    assert patterns(MaskingConfig("static")) < 500, "two examples share a pattern"


# ---------------------------------------------------------------- pairs
SENTENCES = 6
PAIRS: Corpus = [[1] * SENTENCES] * 9000  # one input holds a document: the first chunk of each has all draws to test
UNEVEN: Corpus = [[1] * (2 + 10 * (i % 3 == 0)) for i in range(30)]  # every third document is six times as long


def first_pairs(corpus: Corpus, max_length: int = 40, key: int = 1) -> tuple[np.ndarray, ...]:
    """Of the first example of each document: the document, |A|, label, document of B."""
    _, rows = make("segment_pair", corpus, max_length, key)
    document_of = np.repeat(np.arange(len(corpus)), list(map(len, corpus)))
    place = np.maximum(rows.input_ids - FIRST, 0)
    opens = np.diff(document_of, prepend=-1) > 0
    first = np.flatnonzero(opens[place[:, 1]])
    length = (rows.input_ids[first] == 2).argmax(axis=1) - 1
    b = document_of[place[first, length + 2]]
    assert rows.next_sentence_label is not None
    return document_of[place[first, 1]], length, rows.next_sentence_label[first], b


def wrong_below(stream: str, wrong: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The draws of input formats with one stream replaced."""
    right = pairs._below

    def below(bounds: np.ndarray, key: int, name: str, counters: np.ndarray) -> np.ndarray:
        words = hashed(stream_key(key, name), counters)
        return wrong(bounds, words) if name.endswith(stream) else right(bounds, key, name, counters)

    return below


def modulo(bits: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Fault: a draw of few bits, modulo the bound."""
    return lambda bounds, words: ((words >> np.uint64(64 - bits)) % np.maximum(bounds, 1).astype(np.uint64)).astype(int)


def test_half_of_the_pairs_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    def p() -> float:
        label = first_pairs(PAIRS)[2]
        return share_p(int(label.sum()), len(label), 0.5)

    assert p() > P
    monkeypatch.setattr(pairs, "_below", wrong_below("coin", lambda bounds, words: (words % 100 < 47).astype(int)))
    assert p() < P


def test_the_split_of_a_is_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    def p() -> float:
        counts = np.bincount(first_pairs(PAIRS)[1], minlength=SENTENCES + 1)
        return 0.0 if counts[0] or counts[SENTENCES] else uniform_p(counts[1:SENTENCES])

    assert p() > P
    for wrong in (
        modulo(4),  # of 16 words, 4 give 0 and 3 each of the others
        lambda bounds, words: (words % np.maximum(bounds - 1, 1).astype(np.uint64)).astype(int),  # never the last
    ):
        monkeypatch.setattr(pairs, "_below", wrong_below("split", wrong))
        assert p() < P
        monkeypatch.undo()


def test_a_random_b_is_of_any_other_document_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of short documents as often as of long ones, and of the document before as often as of any."""

    def p() -> float:
        drawn = [first_pairs(UNEVEN, key=key) for key in range(250)]
        own, label, b = (np.concatenate([d[k] for d in drawn]) for k in (0, 2, 3))
        own, b = own[label == 1], b[label == 1]
        if (own == b).any():
            return 0.0  # B is of A's own document
        steps = np.bincount((b - own) % len(UNEVEN), minlength=len(UNEVEN))[1:]
        return 2 * min(uniform_p(steps), uniform_p(np.bincount(b, minlength=len(UNEVEN))))

    assert p() > P
    sentences = np.cumsum(list(map(len, UNEVEN)))

    def by_sentence(bounds: np.ndarray, words: np.ndarray) -> np.ndarray:
        return np.minimum(
            np.searchsorted(sentences, (words % np.uint64(sentences[-1])).astype(int), "right"), bounds - 1
        )

    for wrong in (
        modulo(7),
        by_sentence,
        lambda bounds, words: (words % bounds.astype(np.uint64)).astype(int) // 2 * 2,  # odd ones never
    ):
        monkeypatch.setattr(pairs, "_below", wrong_below("document", wrong))
        assert p() < P
        monkeypatch.undo()


# ---------------------------------------------------------------- order
def swapped_with_any(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """Fault: the shuffle that swaps each item with any other, whose orders are not equally likely."""
    draw = np.random.default_rng([seed, epoch])
    order = np.arange(num_examples)
    for i, j in enumerate(draw.integers(0, num_examples, num_examples)):
        order[i], order[j] = order[j], order[i]
    return order


def rotated(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """Fault: the same order from a random place on; each example is in each place equally often."""
    return np.roll(np.arange(num_examples), np.random.default_rng([seed, epoch]).integers(num_examples))


def test_all_orders_of_an_epoch_are_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    num_examples, epochs = 4, 6000

    def p_values() -> tuple[float, float]:
        plan = BatchPlan(examples(num_examples), num_examples, seed=5)
        orders = np.array([plan.batch(epoch)[0] for epoch in range(epochs)])
        cells = np.array([np.bincount(column, minlength=num_examples) for column in orders.T])
        expected = epochs / num_examples
        places = float(((cells - expected) ** 2 / expected).sum()) * (num_examples - 1) / num_examples
        found = Counter(map(tuple, orders.tolist()))
        counts = np.array([*found.values(), *[0] * (math.factorial(num_examples) - len(found))])
        return chi_square_p(places, (num_examples - 1) ** 2), uniform_p(counts)

    assert min(p_values()) > P
    monkeypatch.setattr(batch_size, "_epoch_order", swapped_with_any)
    assert p_values()[1] < P
    monkeypatch.setattr(batch_size, "_epoch_order", rotated)
    assert p_values()[0] > P > p_values()[1], "every place is right, the order is not"
