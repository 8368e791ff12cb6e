"""Say how many seeds a difference takes: the power of the paired t test, from the noncentral t distribution.

`deviation` is the standard deviation of paired differences over pretraining seeds, as far as it is known: measured on few
seeds it is itself uncertain, and so is what follows from it (`deviation_interval`).
"""

import math

from scipy.special import chdtr, chdtri, nctdtr, stdtrit

from roberta_lab.reports.statistics.paired import LEVEL

POWER = 0.8  # with which a difference is to be seen
MOST_SEEDS = 10_000


def power(seeds: int, difference: float, deviation: float, level: float = LEVEL) -> float:
    """Return the probability that the two-sided paired t test of so many seeds sees a true difference, on its own side."""
    if seeds < 2:
        return 0.0
    critical = float(stdtrit(seeds - 1, 1 - level / 2))
    shift = abs(difference) / deviation * math.sqrt(seeds) if deviation > 0 else math.inf
    if shift > 1e3:  # the mean is as good as certain, and the t distribution is that of 1 / the measured deviation
        return float(chdtr(seeds - 1, (seeds - 1) * (shift / critical) ** 2))
    return 1.0 - float(nctdtr(seeds - 1, shift, critical))


def seeds_to_see(difference: float, deviation: float, level: float = LEVEL, wanted: float = POWER) -> int | None:
    """Return the smallest number of seeds that sees a true difference with the wanted power; None if 10,000 do not."""
    low, high = 2, 2
    while power(high, difference, deviation, level) < wanted:
        if high >= MOST_SEEDS:
            return None
        low, high = high + 1, min(2 * high, MOST_SEEDS)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, difference, deviation, level) >= wanted else (middle + 1, high)
    return low


def smallest_seen(seeds: int, deviation: float, level: float = LEVEL, wanted: float = POWER) -> float:
    """Return the smallest true difference that so many seeds see with the wanted power; inf for fewer than 2 seeds."""
    if seeds < 2:
        return math.inf
    low, high = 0.0, 1.0
    while power(seeds, high, 1.0, level) < wanted:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(seeds, middle, 1.0, level) >= wanted else (middle, high)
    return high * deviation


def deviation_interval(deviation: float, freedom: int) -> tuple[float, float]:
    """Return the 95% interval of the true deviation of normal differences, from one that was measured with so many degrees of
    freedom (seeds - 1): for 2 seeds from 0.45 to 32 times it.
    """
    low, high = (math.sqrt(freedom / float(chdtri(freedom, tail))) for tail in (LEVEL / 2, 1 - LEVEL / 2))
    return deviation * low, deviation * high
