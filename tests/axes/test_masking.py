"""Masking: exactly the pattern its key defines, and the statistics that the paper names (RoBERTa, Section 4.1)."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from mask_configs import EVERY_CONFIG

from roberta_lab.axes import Bools, Ints, masking, rng
from roberta_lab.axes.examples import IGNORED, Vocabulary
from roberta_lab.axes.mask_positions import POSITIONS, Chosen, Positions, spans, uniform_positions, word_of
from roberta_lab.axes.masking import mask, num_masked
from roberta_lab.config import ConfigError, MaskingConfig

VOCABULARY = Vocabulary(size=60, mask_id=59, special_ids=(0, 1, 2, 3, 59))
TEXT_IDS = [i for i in range(60) if i not in VOCABULARY.special_ids]
CONTINUES = np.arange(60) % 3 == 0  # every third id is a piece inside a word
WORDS = dataclasses.replace(VOCABULARY, continues_word=CONTINUES & ~np.isin(np.arange(60), VOCABULARY.special_ids))
DYNAMIC, STATIC = MaskingConfig("dynamic"), MaskingConfig("static", num_patterns=10)
every_config = pytest.mark.parametrize("config", EVERY_CONFIG, ids=lambda c: f"{c.name}-{c.selection}-{c.positions}")


def test_every_rule_of_positions_has_a_config() -> None:
    assert {masking.rule_of(config) for config in EVERY_CONFIG} == set(POSITIONS)


def inputs(num_rows: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows `<s> text </s> <pad>...` of various lengths, some with a `</s>` inside, and where text stands."""
    draw = np.random.default_rng(seed)
    ids = draw.choice(TEXT_IDS, (num_rows, width)).astype(np.int64)
    for row, length in zip(ids, draw.integers(3, width + 1, num_rows), strict=True):
        row[0], row[length // 2 if length > 5 else 0], row[length - 1], row[length:] = 0, 2, 2, 1
        row[0] = 0
    return ids, ~np.isin(ids, VOCABULARY.special_ids)


def run(
    config: MaskingConfig, num_rows: int = 400, width: int = 40, epoch: int = 0, seed: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    ids, maskable = inputs(num_rows, width)
    masked, labels = mask(ids, maskable, np.arange(num_rows), np.full(num_rows, epoch), config, seed, WORDS)
    return ids, maskable, masked, labels


def slow_mask(
    ids: list[int], maskable: list[bool], example: int, pattern: int, config: MaskingConfig, seed: int
) -> tuple[list[int], list[int]]:
    """The definition, one token at a time (the hash itself has a slow reference in test_rng.py)."""

    def word(name: str, *counters: int, seed: int = 0) -> int:
        return int(rng.hashed(rng.stream_key(seed, name), *map(np.array, counters)))

    def unit(name: str, *counters: int) -> float:
        return (word(name, *counters) >> 11) / 2**53

    key = np.uint64(word("masking", example, pattern, seed=seed))
    places = [i for i, is_text in enumerate(maskable) if is_text]
    count = min(math.floor(config.mask_prob * len(places) + unit("count", key)), len(places))
    masked, labels = list(ids), [-100] * len(ids)
    for i in sorted(places, key=lambda i: word("position", key, i))[:count]:
        labels[i] = ids[i]
        u = unit("action", key, i)
        if u < config.mask_share:
            masked[i] = VOCABULARY.mask_id
        elif u < config.mask_share + config.random_share:
            masked[i] = TEXT_IDS[int(unit("token", key, i) * len(TEXT_IDS))]
    return masked, labels


def faults(config: MaskingConfig) -> list[str]:
    """What is wrong with masking under this config, told from its inputs and outputs alone."""
    found = []
    patterns = {}
    for epoch in (0, 1, 3, 10, 13):
        ids, maskable, masked, labels = run(config, epoch=epoch)
        chosen = labels != IGNORED
        if not np.array_equal(labels[chosen], ids[chosen]):
            found.append("a label is not the original token")
        if not np.array_equal(masked[~chosen], ids[~chosen]):
            found.append("a token changed without a label")
        if (chosen & np.isin(ids, VOCABULARY.special_ids)).any():
            found.append("a special token is predicted")
        rate = chosen.sum() / maskable.sum()
        least = config.mask_prob - 0.01 if masking.positions_of(config).is_exact else 0.0  # a longer piece may not fit
        if not least < rate < config.mask_prob + 0.01:
            found.append(f"the rate is {rate:.3f}")
        patterns[epoch] = chosen
    same = {(a, b) for a, b in combinations(patterns, 2) if np.array_equal(patterns[a], patterns[b])}
    wanted = {(0, 10), (3, 13)} if config.name == "static" else set()
    if same != wanted:
        found.append(f"epochs with equal patterns: {sorted(same)}")
    return found


@every_config
def test_masking_keeps_its_promises(config: MaskingConfig) -> None:
    assert faults(config) == []


@pytest.mark.parametrize(
    "config", [DYNAMIC, STATIC, MaskingConfig("dynamic", mask_prob=0.6, mask_share=0.3, random_share=0.6)]
)
def test_equals_the_slow_reference(config: MaskingConfig) -> None:
    ids, maskable = inputs(40, 23, seed=5)
    examples, epochs = np.arange(40) * 977, np.arange(40) % 14
    masked, labels = mask(ids, maskable, examples, epochs, config, 11, VOCABULARY)
    for row in range(40):
        pattern = row % 14 % 10 if config.name == "static" else row % 14
        expected = slow_mask(ids[row].tolist(), maskable[row].tolist(), row * 977, pattern, config, 11)
        assert (masked[row].tolist(), labels[row].tolist()) == expected


def test_the_count_is_floor_of_rate_times_length_plus_u() -> None:
    num_maskable = np.repeat(np.arange(0, 130), 200)
    counts = num_masked(num_maskable, np.arange(26000), np.zeros(26000, int), DYNAMIC, seed=1)
    below = np.floor(0.15 * num_maskable + 1e-9)
    assert counts.dtype == np.int64 and ((counts == below) | (counts == below + 1)).all()
    means = counts.reshape(130, 200).mean(axis=1)  # sigma of each at most 0.5 / sqrt(200) = 0.035
    assert np.abs(means - 0.15 * np.arange(130)).max() < 0.15
    assert abs((counts - 0.15 * num_maskable).mean()) < 0.012


@every_config
@pytest.mark.parametrize("mask_prob", [0.0, 0.15, 0.5, 1.0])
def test_num_masked_is_what_mask_selects(config: MaskingConfig, mask_prob: float) -> None:
    config = dataclasses.replace(config, mask_prob=mask_prob)
    _, maskable, _, labels = run(config, epoch=6)
    counts = num_masked(maskable.sum(axis=1), np.arange(400), np.full(400, 6), config, seed=1)
    selected = (labels != IGNORED).sum(axis=1)
    assert (selected <= counts).all()
    assert (selected == counts).all() or not masking.positions_of(config).is_exact


def test_bernoulli_counts_spread_as_coins_do_and_exact_counts_do_not() -> None:
    lengths, zeros = np.full(20_000, 100), np.zeros(20_000, int)
    exact, coins = (
        num_masked(lengths, np.arange(20_000), zeros, MaskingConfig("dynamic", selection=s), seed=1)
        for s in ("exact", "bernoulli")
    )
    assert exact.var() == 0  # 0.15 x 100 is whole
    assert abs(coins.mean() - 15) < 0.15 and abs(coins.var() - 100 * 0.15 * 0.85) < 0.6


def test_every_set_of_positions_is_equally_likely() -> None:
    num_rows, config = 30_000, MaskingConfig("dynamic", mask_prob=0.4)
    ids = np.tile(np.array([0, 10, 11, 12, 13, 14, 2]), (num_rows, 1))
    _, labels = mask(ids, ids > 3, np.arange(num_rows), np.zeros(num_rows, int), config, 3, VOCABULARY)
    sets = Counter(tuple(np.flatnonzero(row).tolist()) for row in labels != IGNORED)
    assert set(sets) == set(combinations(range(1, 6), 2))
    assert sum((n - 3000) ** 2 / 3000 for n in sets.values()) < 30  # chi-square, 9 degrees of freedom: p = 0.0004


def test_80_10_10_and_uniform_random_tokens() -> None:
    num_rows, width = 2000, 100
    ids = np.full((num_rows, width), 20)
    text = np.ones_like(ids, bool)
    masked, labels = mask(ids, text, np.arange(num_rows), np.zeros(num_rows, int), DYNAMIC, 1, VOCABULARY)
    seen = np.bincount(masked[labels != IGNORED], minlength=60)
    total = seen.sum()  # 30,000: a share of 10% has a sigma of 0.0017
    assert abs(seen[59] / total - 0.8) < 0.01
    random = np.array([seen[i] for i in TEXT_IDS if i != 20])
    assert seen[list(VOCABULARY.special_ids)].sum() == seen[59]
    assert abs(random.sum() / total - 0.1 * 54 / 55) < 0.007  # a random token may be the token itself
    assert abs(seen[20] / total - 0.1 - 0.1 / 55) < 0.007
    assert ((random - random.mean()) ** 2 / random.mean()).sum() < 105  # chi-square, 53 degrees of freedom, 5 sigma


@pytest.mark.parametrize(("mask_share", "random_share", "kept"), [(1.0, 0.0, False), (0.0, 0.0, True)])
def test_shares_are_settings(mask_share: float, random_share: float, kept: bool) -> None:
    ids, _, masked, labels = run(MaskingConfig("dynamic", mask_share=mask_share, random_share=random_share))
    chosen = labels != IGNORED
    assert np.array_equal(masked, ids) if kept else (masked[chosen] == 59).all()


def test_static_has_num_patterns_patterns_and_dynamic_never_repeats() -> None:
    static = dataclasses.replace(STATIC, num_patterns=4)
    for config, num_patterns in ((static, 4), (DYNAMIC, 40)):
        patterns = [run(config, num_rows=50, epoch=e)[2].tobytes() for e in range(40)]
        assert len(set(patterns)) == num_patterns
        assert all(patterns[e] == patterns[e % num_patterns] for e in range(40))
    assert (
        run(STATIC, epoch=3)[2].tobytes() == run(DYNAMIC, epoch=3)[2].tobytes()
    )  # rows differ only once patterns return


@every_config
def test_a_mask_depends_on_nothing_but_its_key(config: MaskingConfig) -> None:
    """Not on the batch's other rows, their order, the padding, or the order of calls."""
    ids, maskable = inputs(300, 40)
    epochs = np.arange(300) % 5
    masked, labels = mask(ids, maskable, np.arange(300), epochs, config, 1, WORDS)
    order = np.random.default_rng(1).permutation(300)
    padded = np.pad(ids, ((0, 0), (0, 500)), constant_values=1)
    wide = np.pad(maskable, ((0, 0), (0, 500)))
    for part in np.array_split(order, [1, 2, 40]):
        again = mask(padded[part], wide[part], part, epochs[part], config, 1, WORDS)
        assert np.array_equal(again[0][:, :40], masked[part]) and np.array_equal(again[1][:, :40], labels[part])
        assert (again[0][:, 40:] == 1).all() and (again[1][:, 40:] == IGNORED).all()
    assert np.array_equal(ids, inputs(300, 40)[0])  # the caller's rows are left alone


def test_examples_and_seeds_have_patterns_of_their_own() -> None:
    ids = np.tile(np.arange(4, 54), (500, 1))
    zeros = np.zeros(500, int)
    patterns = {
        seed: mask(ids, ids > 3, np.arange(500), zeros, DYNAMIC, seed, VOCABULARY)[1].astype(np.int16)
        for seed in (1, 2)
    }
    assert len(np.unique(np.concatenate(list(patterns.values())), axis=0)) == 1000
    both = ((patterns[1] != IGNORED) & (patterns[2] != IGNORED)).mean()
    assert abs(both - 0.15**2) < 0.005  # as independent patterns overlap


def test_two_million_examples_have_two_million_keys() -> None:
    examples = np.arange(2_000_000)
    assert len(np.unique(masking._pattern_keys(examples, examples // 500_000, DYNAMIC, 1))) == 2_000_000


def test_rows_without_text_are_left_alone() -> None:
    ids = np.array([[0, 2, 1, 1], [0, 9, 2, 1]])
    config = MaskingConfig("dynamic", mask_prob=1.0)
    _, labels = mask(ids, ids > 3, np.arange(2), np.zeros(2, int), config, 1, VOCABULARY)
    assert labels.tolist() == [[-100] * 4, [-100, 9, -100, -100]]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"name": "frozen"}, ["masking.name", "frozen", "static, dynamic"]),
        ({"selection": "fairsec"}, ["masking.selection", "fairsec", "exact, bernoulli, fairseq"]),
        ({"mask_share": 0.95}, ["masking.mask_share", "0.95"]),
    ],
)
def test_mistakes_are_named(change: dict, names: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        run(dataclasses.replace(DYNAMIC, **change), num_rows=2)
    assert all(name in str(error.value) for name in names) and "\n" not in str(error.value)


class TestPlantedFaults:
    """Each fault is put into the code for one test, and the checks above must see it."""

    def test_wrong_epoch_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, wrong in (
            ("dynamic", lambda epochs, config: epochs * 0),
            ("dynamic", lambda epochs, config: epochs % config.num_patterns),
            ("static", lambda epochs, config: epochs),
            ("static", lambda epochs, config: epochs // config.num_patterns),
        ):
            with monkeypatch.context() as patch:
                patch.setitem(masking.PATTERNS, name, wrong)
                assert any("equal patterns" in f for f in faults(MaskingConfig(name))), name

    def test_specials_masked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def choose(ids: Ints, maskable: Bools, *rest: Any) -> Chosen:
            return uniform_positions(ids, np.ones_like(maskable), *rest)

        monkeypatch.setitem(POSITIONS, "uniform", Positions(choose, is_exact=True, is_uniform=True))
        assert "a special token is predicted" in faults(DYNAMIC)

    def test_wrong_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(masking.SELECTIONS, "exact", lambda n, words, config: (0.15 * n).astype(np.int64))
        assert any("the rate is" in f for f in faults(DYNAMIC))

    def test_random_tokens_outside_the_selection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        replace = masking._replace
        monkeypatch.setattr(
            masking, "_replace", lambda m, c, *rest: replace(m, Chosen(np.roll(c.selected, 1, axis=1)), *rest)
        )
        assert "a token changed without a label" in faults(DYNAMIC)


# ---------------------------------------------------------------- fairseq's selection, whole words
def test_fairseq_counts_specials_and_may_select_them_but_never_padding() -> None:
    config = MaskingConfig("dynamic", selection="fairseq")
    ids, text = inputs(4000, 40)
    lengths = (ids != 1).sum(axis=1)
    allowed = masking.maskable(~text, lengths, config)
    examples, epochs = np.arange(4000), np.zeros(4000, int)
    _, labels = mask(ids, allowed, examples, epochs, config, 1, VOCABULARY)
    chosen = labels != IGNORED
    assert not chosen[ids == 1].any()
    counts = chosen.sum(axis=1)
    assert (np.abs(counts - config.mask_prob * lengths) < 1).all()
    shares = [chosen[ids == i].mean() for i in (0, 2)]
    assert all(abs(share - 0.15) < 0.02 for share in shares), "specials are selected like text"
    assert (masking.maskable(~text, lengths, DYNAMIC) == text).all()


def test_a_special_token_that_may_be_selected_is_a_word_of_its_own() -> None:
    """As fairseq has it: what follows `<s>` or `</s>` begins a word, also where a tokenizer says that it continues one."""
    ids = np.array([[0, 4, 5, 2, 7, 2, 1]])
    continues = np.array([False] * 4 + [True] * 4)
    vocabulary = dataclasses.replace(
        VOCABULARY, continues_word=np.pad(continues, (0, VOCABULARY.size - 8)), special_ids=(0, 1, 2, 3)
    )
    allowed = np.array([[True] * 6 + [False]])
    word, sizes = word_of(ids, allowed, vocabulary)
    assert word[0, :6].tolist() == [0, 1, 1, 2, 3, 4] and sizes[0].tolist() == [1, 2, 1, 1, 1]
    config = MaskingConfig("dynamic", positions="span", span_p=0.01, max_span=10)
    for key in range(20):
        chosen = spans(ids, allowed, np.array([key], np.uint64), np.array([6]), vocabulary, config)
        assert chosen.selected[0, :6].all() and chosen.units is not None
        together = {tuple(ids[0][chosen.units[0] == unit].tolist()) for unit in {*chosen.units[0, :6].tolist()}}
        assert together == {(0,), (4, 5), (2,), (7,)}, "no span goes beyond one"


def words_of(ids: list[int], text: list[bool]) -> list[list[int]]:
    """Places of each word, token by token."""
    words: list[list[int]] = []
    for place, (token, is_text) in enumerate(zip(ids, text, strict=True)):
        if is_text and CONTINUES[token] and place and text[place - 1]:
            words[-1].append(place)
        elif is_text:
            words.append([place])
    return words


@pytest.mark.parametrize("mask_prob", [0.15, 0.5, 1.0])
def test_whole_words_are_taken_in_a_random_order_while_they_fit(mask_prob: float) -> None:
    config = MaskingConfig("dynamic", mask_prob=mask_prob, whole_words=True)
    ids, text = inputs(120, 40, seed=3)
    examples, epochs = np.arange(120), np.zeros(120, int)
    _, labels = mask(ids, text, examples, epochs, config, 1, WORDS)
    keys = rng.hashed(rng.stream_key(1, "masking"), examples, epochs)
    most = num_masked(text.sum(axis=1), examples, epochs, config, 1)
    for row in range(120):
        words = words_of(ids[row].tolist(), text[row].tolist())
        drawn = sorted(
            range(len(words)), key=lambda w: int(rng.hashed(rng.stream_key(0, "word"), keys[row], np.array(w)))
        )
        expected: list[int] = []
        for w in drawn:
            if len(expected) + len(words[w]) <= most[row]:
                expected += words[w]
        assert np.flatnonzero(labels[row] != IGNORED).tolist() == sorted(expected)


@pytest.mark.parametrize("mask_prob", [0.15, 0.5, 1.0])
def test_spans_are_drawn_word_by_word_until_the_count_is_reached(mask_prob: float) -> None:
    """Against a slow reading of SpanBERT, Section 3.1; also that a span is replaced as one."""
    config = MaskingConfig("dynamic", mask_prob=mask_prob, positions="span", mask_share=0.5, random_share=0.0)
    ids, text = inputs(150, 40, seed=4)
    examples, epochs = np.arange(150), np.zeros(150, int)
    masked, labels = mask(ids, text, examples, epochs, config, 1, WORDS)
    keys = rng.hashed(rng.stream_key(1, "masking"), examples, epochs)
    wanted = num_masked(text.sum(axis=1), examples, epochs, config, 1)
    shares = np.array([0.8**length for length in range(10)])

    def draw(name: str, row: int, number: int) -> int:
        return int(rng.hashed(rng.stream_key(0, name), keys[row], np.array(number)))

    for row in range(150):
        words = words_of(ids[row].tolist(), text[row].tolist())
        owner: dict[int, int] = {}  # place -> the word that its span begins with
        for first in sorted(range(len(words)), key=lambda word: draw("span", row, word)):
            if words[first][0] in owner:
                continue
            u = (draw("span length", row, first) >> 11) / 2**53
            length = 1 + int((np.cumsum(shares / shares.sum())[:-1] <= u).sum())
            for number in range(first, min(first + length, len(words))):
                if number > first and words[number][0] != words[number - 1][-1] + 1:
                    break  # a special token stands between
                for place in words[number]:
                    if len(owner) < wanted[row] and (place not in owner):
                        owner[place] = first
        assert np.flatnonzero(labels[row] != IGNORED).tolist() == sorted(owner)
        for first in set(owner.values()):
            seen = {bool(masked[row, p] == VOCABULARY.mask_id) for p, f in owner.items() if f == first}
            assert seen == {(draw("action", row, first) >> 11) / 2**53 < 0.5}


def test_words_of_all_lengths_are_selected_at_about_the_rate() -> None:
    config = MaskingConfig("dynamic", whole_words=True)
    ids, text = inputs(6000, 60)
    _, labels = mask(ids, text, np.arange(6000), np.zeros(6000, int), config, 1, WORDS)
    assert abs((labels != IGNORED).sum() / text.sum() - 0.15) < 0.01
