"""Compare two rows over seeds: the mean of paired differences, its t interval, and one-sided tests against a threshold.

The unit is a pretraining seed: the values of its finetuning seeds are averaged first, since they share their weights and are
not independent. The difference of a seed is that of the two rows' values of the same seed. The interval of the mean of n
differences is mean +- t(n-1) * deviation / sqrt(n) (Student 1908): where differences are normal it covers the mean of all
seeds in 95% of the cases at any n from 2 on, which a bootstrap of so few does not. benchmarks/results/inference.md has the
simulated coverage, also for other distributions.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtr, stdtrit

LEVEL = 0.05  # of two-sided tests; intervals are its complement
SAME_BITS = 1e-9  # share of the differences below which their spread is of rounding
Seeds = tuple[int, int | None]  # of pretraining, of finetuning


@dataclass(frozen=True)
class Paired:
    """The mean of n paired differences with what they tell about the mean over all seeds, in the unit of the values.

    Without a spread, of one pair or of equal ones, there is no interval and no test: `low`, `high` and all p are nan.
    """

    mean: float
    deviation: float  # standard deviation of the differences, n - 1 below; nan for one pair
    n: int

    @property
    def error(self) -> float:
        """Return the standard error of the mean; nan where there is no spread to tell it from."""
        return self.deviation / math.sqrt(self.n) if self.n > 1 and self.deviation > 0 else math.nan

    @property
    def half_width(self) -> float:
        """Return half the width of the 95% interval."""
        return self.half_width_at(LEVEL)

    def half_width_at(self, level: float) -> float:
        """Return half the width of the interval that covers the mean but for this share of the cases."""
        return float(stdtrit(self.n - 1, 1 - level / 2)) * self.error if self.n > 1 else math.nan

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    def p_above(self, threshold: float) -> float:
        """Return the one-sided p of `the mean over all seeds is at most the threshold`: small where it is above."""
        return float(stdtr(self.n - 1, (threshold - self.mean) / self.error)) if self.n > 1 else math.nan

    def p_below(self, threshold: float) -> float:
        """Return the one-sided p of `the mean over all seeds is at least the threshold`: small where it is below."""
        return float(stdtr(self.n - 1, (self.mean - threshold) / self.error)) if self.n > 1 else math.nan

    @property
    def p(self) -> float:
        """Return the two-sided p of `both rows are equal`."""
        return 2 * min(self.p_above(0.0), self.p_below(0.0))

    def p_within(self, margin: float) -> float:
        """Return the p of `they differ by the margin or more`, by two one-sided tests (Schuirmann 1987)."""
        return max(self.p_above(-margin), self.p_below(margin))

    def p_outside(self, margin: float) -> float:
        """Return the two-sided p of `they differ by no more than the margin`: small where they differ by more."""
        return min(1.0, 2 * min(self.p_above(margin), self.p_below(-margin)))


def paired_difference(
    row: Mapping[Seeds, float], reference: Mapping[Seeds, float], same_weights: bool = False
) -> Paired | None:
    """Return how a row differs from another over the seeds that both have; None where no seed is in both.

    With `same_weights`, for rows that were finetuned from given weights or from the same runs, seeds of finetuning are the
    pairs where there is one seed of pretraining: what they tell holds for these weights alone.
    """
    differences = paired(row, reference, same_weights)
    return of_differences(differences) if differences else None


def of_differences(differences: Sequence[float]) -> Paired:
    """Return what paired differences tell, one for each seed. Ones that are equal but for their last bits have no spread."""
    if len(differences) < 2:
        return Paired(differences[0], math.nan, 1)
    deviation, bits = stdev(differences), SAME_BITS * max(map(abs, differences))
    return Paired(fmean(differences), deviation if deviation > bits else 0.0, len(differences))


def paired(row: Mapping[Seeds, float], reference: Mapping[Seeds, float], same_weights: bool = False) -> list[float]:
    """Return the differences of the seeds that both rows have, one for each pretraining seed, in the order of the seeds."""
    shared = sorted(set(row) & set(reference), key=lambda seeds: (seeds[0], seeds[1] or 0))
    groups = [
        [row[seeds] - reference[seeds] for seeds in group]
        for _, group in itertools.groupby(shared, key=lambda seeds: seeds[0])
    ]
    return groups[0] if same_weights and len(groups) == 1 else [fmean(group) for group in groups]


def holm(ps: Iterable[float]) -> list[float]:
    """Return the p of each test, adjusted for how many there are (Holm 1979): all below 0.05 are false alarms in at most 5% of
    the families without a difference, whatever the tests have to do with each other.
    """
    values = list(ps)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted
