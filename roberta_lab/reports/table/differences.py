"""Test whether seeds tell two rows apart: paired differences, a bootstrap interval, an exact test.

Runs of the same seed are paired: the same finetuning seed in both rows; or, where a row was pretrained with several seeds,
the same pretraining seed. Then finetuning seeds are averaged, since they share their weights and are not independent.

Few seeds can tell little. The two-sided p of a sign-flip test is a multiple of 2 / 2^n: at 3 seeds at least
0.25, at 5 at least 0.0625, so below 6 seeds no difference counts as told apart, however clear it looks. A percentile interval
of so few values is too narrow as well. And finetuning seeds of one pretraining run say nothing of what another pretraining
seed would give.
"""

from __future__ import annotations

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
    """How much a row is above its reference row in one column, over the seeds that both have."""

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
    def smallest_p(self) -> float:
        """Return the smallest p that the test can give with so many pairs."""
        return min(1.0, 2.0 ** (1 - self.n))

    @property
    def verdict(self) -> str:
        """Return the outcome in words."""
        if self.same_runs:
            return "the same runs"
        if self.apart:
            return "told apart"
        if self.n == 1:
            return "one seed: no test"
        few = f": {self.n} seeds never can" if self.smallest_p > LEVEL else ""
        return f"not told apart{few}"


def difference(row: Mapping[Seeds, float], reference: Mapping[Seeds, float], name: str) -> Difference | None:
    """Return how a row differs from its reference row, by their values per seed; None where no seed is in both.

    Args:
        name: keys the random draws, so that equal names and values have equal intervals.
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
    by_pretraining: dict[int, list[float]] = {}
    for seeds in shared:
        by_pretraining.setdefault(seeds[0], []).append(row[seeds] - reference[seeds])
    groups = list(by_pretraining.values())
    return np.array([fmean(group) for group in groups] if len(groups) > 1 else [d for g in groups for d in g])


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
