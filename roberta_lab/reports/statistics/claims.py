"""Judge a claim about two rows by the seeds of both: does it hold, is it contradicted, or is that undecided?

A claim has a direction and a margin, the smallest difference that matters. Differences are taken so that more is better.

| direction | holds if the difference is | contradicted if it is |
|---|---|---|
| better | above 0 | below the margin, and not shown to be above 0 |
| no_worse | above -margin | below 0, and not shown to be above -margin |
| same | within +-margin | outside +-margin |

`A better than B` holds exactly where `B no_worse than A` is contradicted. Of the two, one at most can be a false verdict.
"""

import math
from dataclasses import dataclass

from roberta_lab.reports.statistics.paired import LEVEL, Paired
from roberta_lab.reports.statistics.power import POWER, power, seeds_to_see


@dataclass(frozen=True)
class Evidence:
    """The p of each verdict on a claim: of what must be ruled out for it; nan where there is nothing to test."""

    holds: float
    contradicted: float


def evidence(direction: str, margin: float, seen: Paired) -> Evidence:
    """Return the p values of both verdicts, two-sided: below 0.05 where the 95% interval leaves out what must be ruled out."""
    if direction == "same":
        return Evidence(min(1.0, 2 * seen.p_within(margin)), seen.p_outside(margin))
    low, high = (0.0, margin) if direction == "better" else (-margin, 0.0)
    return Evidence(min(1.0, 2 * seen.p_above(low)), min(1.0, 2 * seen.p_below(high)))


def seeds_to_decide(
    direction: str, margin: float, deviation: float, mean: float | None = None, num_claims: int = 1
) -> int | None:
    """Return about how many seeds decide a claim with probability 0.8 if the true difference is `mean`; None for over 10,000.

    Without a mean: if the difference is the smallest that must be told apart from its opposite, the margin for `better` and 0
    for the others. `num_claims` are judged together, so each has a stricter level.
    """
    distance = _distance(direction, margin, mean)
    if not distance > 0 or math.isnan(deviation):
        return None
    both_sides = direction == "same" and abs(mean or 0.0) < margin  # which must be ruled out
    return seeds_to_see(distance, deviation, LEVEL / num_claims, (1 + POWER) / 2 if both_sides else POWER)


def power_to_decide(direction: str, margin: float, deviation: float, seeds: int, num_claims: int = 1) -> float:
    """Return the probability that so many seeds decide a claim, if the true difference is that of `seeds_to_decide`."""
    one_side = power(seeds, _distance(direction, margin, None), deviation, LEVEL / num_claims)
    return max(0.0, 2 * one_side - 1) if direction == "same" else one_side


def _distance(direction: str, margin: float, mean: float | None) -> float:
    """Return how far the true difference is from what must be ruled out, on the side that is farther."""
    if direction == "same":
        return abs(margin - abs(mean or 0.0))
    low, high = (0.0, margin) if direction == "better" else (-margin, 0.0)
    mean = high if mean is None else mean
    return max(mean - low, high - mean)
