"""Test whether seeds tell two rows apart: paired differences, a bootstrap interval, an exact test.

Runs of the same seed are paired: the same finetuning seed in both rows; or, where a row was pretrained with several seeds,
the same pretraining seed. Then finetuning seeds are averaged, since they share their weights and are not independent.
How little a few seeds can tell is in wording.TESTS, which readers of a table see.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from roberta_lab.axes.rng import generator

NUM_RESAMPLES = 10_000
LEVEL = 0.05
MOST_EXACT = 14  # seeds of which all 2^n sign flips are tried; beyond that as many as the bootstrap draws
Seeds = tuple[int, int | None]  # of pretraining, of finetuning


@dataclass(frozen=True)
class Difference:
    """The difference of a row from its reference row in one column, over the seeds that both have."""

    mean: float
    low: float  # 95% bootstrap interval of the mean
    high: float
    p: float  # of the two-sided sign-flip test
    n: int  # pairs
    same_runs: bool = False

    @property
    def apart(self) -> bool:
        """Return whether the seeds tell the rows apart."""
        return self.p <= LEVEL and not self.same_runs

    @property
    def was_tested(self) -> bool:
        """Return whether there was something to test: other runs, and more than one seed."""
        return self.n > 1 and not self.same_runs

    @property
    def verdict(self) -> str:
        """Return the outcome in words."""
        if self.same_runs:
            return "the same runs"
        if self.apart:
            return "told apart"
        if self.n == 1:
            return "one seed: no test"
        smallest = 2.0 ** (1 - self.n)  # p of the test with so many pairs
        return f"not told apart: {self.n} seeds never can" if smallest > LEVEL else "not told apart"


def difference(row: Mapping[Seeds, float], reference: Mapping[Seeds, float], name: str) -> Difference | None:
    """Return how a row differs from its reference row, by their values per seed; None where no seed is in both.

    `name` keys the random draws, so that equal names and values have equal intervals.
    """
    pairs = paired(row, reference)
    if not pairs.size:
        return None
    draws = generator(0, f"bootstrap/{name}").integers(len(pairs), size=(NUM_RESAMPLES, len(pairs)))
    low, high = np.quantile(pairs[draws].mean(axis=1), (0.025, 0.975))
    return Difference(float(pairs.mean()), float(low), float(high), sign_flip(pairs, name), len(pairs))


def paired(row: Mapping[Seeds, float], reference: Mapping[Seeds, float]) -> np.ndarray:
    """Return the differences of the seeds that both have, (n,) float64, in the order of the seeds."""
    shared = sorted(set(row) & set(reference), key=lambda s: (s[0], s[1] or 0))
    by_pretraining = itertools.groupby(shared, key=lambda s: s[0])
    groups = [[row[seeds] - reference[seeds] for seeds in group] for _, group in by_pretraining]
    return np.array([fmean(group) for group in groups] if len(groups) > 1 else list(itertools.chain(*groups)))


def sign_flip(pairs: np.ndarray, name: str = "") -> float:
    """Return the two-sided p, in (0, 1], of the mean of pairs (n,) under flips of each pair's sign; exact up to 14 pairs.

    If both rows were the same, a pair's difference would be as likely as its opposite.
    """
    size = len(pairs)
    if size <= MOST_EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=size)))
    else:
        drawn = generator(0, f"sign_flip/{name}").integers(2, size=(NUM_RESAMPLES, size)) * 2.0 - 1.0
        signs = np.concatenate([np.ones((1, size)), drawn])
    sums = np.abs(signs @ pairs)
    observed = abs(float(pairs.sum()))
    return float(np.mean(sums >= observed - 1e-9 * max(1.0, observed)))
