"""Compare counts with what they should be: a share of a whole, its 95% interval, and a verdict."""

import math
from dataclasses import dataclass

import numpy as np

NUM_BINS = 16


@dataclass(frozen=True)
class Share:
    """A count in a whole. `expected` is the share that the config sets, and `variance` that of the count under it."""

    count: int
    whole: int
    expected: float | None = None
    variance: float = 0.0

    @property
    def share(self) -> float:
        """Return the share, from 0 to 1; 0 if the whole is 0."""
        return self.count / self.whole if self.whole else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval of 95 of 100 correct epochs (normal approximation, half a count added on both sides)."""
        assert self.expected is not None
        reach = self._reach(1.96) / max(1, self.whole)
        return max(0.0, self.expected - reach), min(1.0, self.expected + reach)

    @property
    def verdict(self) -> str:
        """Return `fits`; `outside` the interval, like 1 of 20 correct epochs; or `does not fit`: beyond 4 deviations."""
        assert self.expected is not None
        away = abs(self.count - self.expected * self.whole)
        if away <= self._reach(1.96):
            return "fits"
        return "outside" if away <= self._reach(4.0) else "does not fit"

    def _reach(self, deviations: float) -> float:
        return deviations * math.sqrt(self.variance) + 0.5


def binomial(count: int, whole: int, expected: float) -> Share:
    """Return a share of independent draws."""
    return Share(count, whole, expected, whole * max(0.0, expected * (1 - expected)))


@dataclass(frozen=True)
class Bin:
    """The share of the lengths, or positions counted from 1, `first` to `last`."""

    first: int
    last: int
    share: Share


def binned(counts: np.ndarray, wholes: np.ndarray | int, expected: float | None = None) -> tuple[Bin, ...]:
    """Return counts (L,) of the numbers 1 to L in about `NUM_BINS` bins of equal width; the last one ends at L."""
    width = -(-len(counts) // NUM_BINS)
    firsts = np.arange(0, len(counts), width)
    sums = np.add.reduceat(counts, firsts)
    whole = np.add.reduceat(wholes, firsts) if isinstance(wholes, np.ndarray) else np.full(len(firsts), wholes)
    bins = []
    for first, count, of in zip(firsts.tolist(), sums.tolist(), whole.tolist(), strict=True):
        share = Share(count, of) if expected is None else binomial(count, of, expected)
        bins.append(Bin(first + 1, min(first + width, len(counts)), share))
    return tuple(bins)
