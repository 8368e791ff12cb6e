"""Differences between rows: by hand, against a slow reference, and with the limits that few seeds have."""

import itertools
import random

import numpy as np
import pytest

from roberta_lab.reports.table import wording
from roberta_lab.reports.table.differences import Difference, difference, paired, sign_flip


def test_sign_flips_by_hand() -> None:
    # of +-1 +-2 +-3 only 1+2+3 and its opposite are as far from 0 as 6
    assert sign_flip(np.array([1.0, 2.0, 3.0])) == 2 / 8
    # 1 - 2 + 3 = 2: all but +-(1 + 2 - 3) = 0 are as far
    assert sign_flip(np.array([1.0, -2.0, 3.0])) == 6 / 8
    assert sign_flip(np.array([0.0, 0.0, 0.0])) == 1.0
    assert sign_flip(np.array([5.0])) == 1.0
    assert sign_flip(np.array([0.1] * 6)) == 2 / 64


@pytest.mark.parametrize("size", [2, 5, 8])
def test_sign_flips_against_a_slow_reference(size: int) -> None:
    drawn = random.Random(size)
    pairs = [drawn.randint(-9, 9) / 2 for _ in range(size)]
    flipped = [abs(sum(s * p for s, p in zip(signs, pairs, strict=True))) for signs in itertools.product((1, -1), repeat=size)]  # fmt: skip
    assert sign_flip(np.array(pairs)) == sum(f >= abs(sum(pairs)) for f in flipped) / 2**size


def test_many_pairs_are_sampled_by_key_and_never_give_zero() -> None:
    pairs = np.full(30, 1.0)
    assert 0 < sign_flip(pairs, "a") < 0.001 and sign_flip(pairs, "a") == sign_flip(pairs, "a")


def test_pairs_are_of_the_same_seed() -> None:
    ours, reference = {(1, 1): 5.0, (1, 2): 7.0, (1, 4): 100.0}, {(1, 2): 6.0, (1, 1): 3.0, (1, 3): 0.0}
    assert paired(ours, reference).tolist() == [2.0, 1.0]
    assert difference({(1, 1): 1.0}, {(1, 2): 1.0}, "") is None


def test_finetuning_seeds_of_one_pretraining_seed_count_as_one_when_there_are_several() -> None:
    ours = {(p, f): 10.0 * p + f for p in (1, 2) for f in (1, 2, 3)}
    reference = {key: 0.0 for key in ours}
    assert paired(ours, reference).tolist() == [12.0, 22.0]
    found = difference(ours, reference, "x")
    assert found is not None and found.n == 2 and found.p == 0.5


def test_the_interval_is_a_bootstrap_of_the_mean() -> None:
    values = dict(enumerate([0.4, 1.1, -0.2, 0.9, 2.0, 0.6, 1.4, 0.3, 0.8, 1.7]))
    found = difference({(1, k): v for k, v in values.items()}, {(1, k): 0.0 for k in values}, "x")
    assert found is not None and found.mean == pytest.approx(0.9)
    drawn = random.Random(0)
    means = sorted(sum(drawn.choices(list(values.values()), k=10)) / 10 for _ in range(20_000))
    assert found.low == pytest.approx(means[500], abs=0.03) and found.high == pytest.approx(means[-500], abs=0.03)
    assert found == difference({(1, k): v for k, v in values.items()}, {(1, k): 0.0 for k in values}, "x")


@pytest.mark.parametrize(("n", "apart"), [(1, False), (3, False), (5, False), (6, True), (20, True)])
def test_fewer_than_six_seeds_never_tell_rows_apart(n: int, apart: bool) -> None:
    found = difference({(1, k): 10.0 + k / 100 for k in range(n)}, {(1, k): 0.0 for k in range(n)}, "x")
    assert found is not None and found.apart is apart
    expected = "told apart" if apart else "one seed: no test" if n == 1 else f"not told apart: {n} seeds never can"
    assert found.verdict == expected


def test_equal_rows_are_rarely_told_apart() -> None:
    """The test's level: of 400 pairs of rows without a difference, 8 seeds each, about 1 in 20 may be called different."""
    draws = np.random.default_rng(0).normal(size=(400, 8))
    rejected = sum(sign_flip(pairs) <= 0.05 for pairs in draws)
    assert 4 <= rejected <= 40


def test_words() -> None:
    said = Difference(-1.25, -2.0, 0.04, 0.25, 3)
    assert (
        wording.interval(said) == "\N{MINUS SIGN}1.2 (\N{MINUS SIGN}2.0 to 0.0)"
        and wording.tested(said) == "n=3, p=0.250, not told apart: 3 seeds never can"
    )
    assert wording.tested(Difference(0.0, 0.0, 0.0, 1.0, 3, same_runs=True)) == "the same runs"
