"""Statistics of seeds: against SciPy's own tests, against simulation, and by hand; many tests at once; power; claims."""

import math

import numpy as np
import pytest
from scipy import stats

from roberta_lab.reports.statistics.claims import evidence, seeds_to_decide
from roberta_lab.reports.statistics.paired import Paired, holm, of_differences, paired, paired_difference
from roberta_lab.reports.statistics.power import deviation_interval, power, seeds_to_see, smallest_seen

EXAMPLE = [0.4, 1.1, -0.2, 0.9, 2.0]


# ---------------------------------------------------------------- pairs
def test_pairs_are_of_the_same_seed() -> None:
    ours, reference = (
        {(1, None): 5.0, (2, None): 7.0, (4, None): 100.0},
        {(2, None): 6.0, (1, None): 3.0, (3, None): 0.0},
    )
    assert paired(ours, reference) == [2.0, 1.0]
    assert paired_difference({(1, None): 1.0}, {(2, None): 1.0}) is None


def test_finetuning_seeds_of_one_pretraining_seed_count_as_one() -> None:
    ours = {(p, f): 10.0 * p + f for p in (1, 2) for f in (1, 2, 3)}
    reference = {key: 0.0 for key in ours}
    assert paired(ours, reference) == [12.0, 22.0]
    of_one = {key: value for key, value in ours.items() if key[0] == 1}
    assert paired(of_one, reference) == [12.0]  # one pretraining seed says nothing of another
    found = paired_difference(of_one, reference)
    assert found is not None and found.n == 1 and math.isnan(found.half_width) and math.isnan(found.p)


def test_from_the_same_weights_seeds_of_finetuning_are_the_pairs() -> None:
    ours = {(1, f): 10.0 + f for f in (1, 2, 3)}
    reference = {(1, f): 0.0 for f in (1, 2, 3)}
    assert paired(ours, reference, same_weights=True) == [11.0, 12.0, 13.0]
    more = ours | {(2, 1): 30.0}
    assert paired(more, reference | {(2, 1): 0.0}, same_weights=True) == [
        12.0,
        30.0,
    ]  # with several, they are the pairs


# ---------------------------------------------------------------- intervals and tests
@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_interval_and_p_are_scipys(n: int) -> None:
    found, theirs = of_differences(EXAMPLE[:n]), stats.ttest_1samp(EXAMPLE[:n], 0.0)
    assert found.p == pytest.approx(theirs.pvalue)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    above = stats.ttest_1samp(EXAMPLE[:n], 0.3, alternative="greater").pvalue
    below = stats.ttest_1samp(EXAMPLE[:n], 0.3, alternative="less").pvalue
    assert (found.p_above(0.3), found.p_below(0.3)) == pytest.approx((above, below))


def test_equivalence_is_two_one_sided_tests() -> None:
    found = of_differences(EXAMPLE)
    sides = (stats.ttest_1samp(EXAMPLE, end, alternative=side).pvalue for end, side in ((-2, "greater"), (2, "less")))
    assert found.p_within(2.0) == pytest.approx(max(sides))
    assert found.p_within(0.5) > 0.5 and found.p_outside(0.2) < 1 and found.p_outside(5.0) == 1.0


def test_equal_differences_have_no_spread_to_test_with() -> None:
    found = of_differences([0.5, 0.5, 0.5])
    assert found.mean == 0.5 and math.isnan(found.half_width) and math.isnan(found.p)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([]) == []


# ---------------------------------------------------------------- power
@pytest.mark.parametrize(("seeds", "difference"), [(2, 8.0), (3, 1.5), (5, 1.0), (10, 1.0)])
def test_power_is_what_simulation_gives(seeds: int, difference: float) -> None:
    drawn = np.random.default_rng(seeds).normal(difference, 2.0, size=(40_000, seeds))
    seen = stats.ttest_1samp(drawn, 0.0, axis=1, alternative="greater").pvalue < 0.025
    assert power(seeds, difference, 2.0) == pytest.approx(seen.mean(), abs=0.01)


def test_seeds_and_smallest_differences_fit_power() -> None:
    for seeds in (2, 3, 5, 12):
        assert power(seeds, smallest_seen(seeds, 3.0), 3.0) == pytest.approx(0.8, abs=1e-4)
    for difference in (0.3, 1.0, 4.0):
        seeds = seeds_to_see(difference, 1.0)
        assert seeds is not None and power(seeds, difference, 1.0) >= 0.8 > power(seeds - 1, difference, 1.0)
    assert seeds_to_see(1e-4, 1.0) is None and math.isinf(smallest_seen(1, 1.0)) and power(1, 9.0, 1.0) == 0.0
    assert (
        power(2, 1e6, 1.0, 1e-4) == pytest.approx(1.0)
        and 0.1 < power(2, 710, 1.0, 1e-4) < power(2, 1500, 1.0, 1e-4) < 0.5
    )


def test_a_deviation_of_few_seeds_is_uncertain() -> None:
    drawn = np.random.default_rng(0).normal(size=(20_000, 3)).std(axis=1, ddof=1)
    ends = [deviation_interval(float(deviation), 2) for deviation in drawn]
    assert np.mean([low < 1 < high for low, high in ends]) == pytest.approx(0.95, abs=0.01)


# ---------------------------------------------------------------- claims
@pytest.mark.parametrize(
    ("direction", "mean", "holds", "contradicted"),
    [
        ("better", 1.5, True, False),
        ("better", 0.3, True, False),  # by less than the margin, and not more
        ("better", -0.5, False, True),
        ("no_worse", 0.5, True, False),
        ("no_worse", -1.5, False, True),
        ("same", 0.0, True, False),
        ("same", 1.5, False, True),
        ("same", -1.5, False, True),
    ],
)
def test_verdicts_of_clear_differences(direction: str, mean: float, holds: bool, contradicted: bool) -> None:
    found = evidence(direction, 1.0, Paired(mean, 0.1, 5))
    assert (found.holds < 0.05) is holds
    assert (found.contradicted < 0.05 and not holds) is contradicted


def test_a_claim_and_its_opposite_never_both_hold() -> None:
    """Better is the mirror of no worse: what makes one hold contradicts the other."""
    for mean in np.linspace(-2, 2, 9).tolist():
        one = evidence("better", 0.7, Paired(mean, 0.8, 4))
        other = evidence("no_worse", 0.7, Paired(-mean, 0.8, 4))
        assert (one.holds, one.contradicted) == pytest.approx((other.contradicted, other.holds))


def test_seeds_to_decide_have_the_power_they_promise() -> None:
    seeds = seeds_to_decide("same", 1.0, 1.0)
    assert seeds is not None
    drawn = np.random.default_rng(1).normal(0.0, 1.0, size=(4000, seeds))
    held = [evidence("same", 1.0, of_differences(list(row))).holds < 0.05 for row in drawn]
    assert 0.8 <= np.mean(held) < 0.9
    seeds = seeds_to_decide("no_worse", 1.0, 1.0, num_claims=3)
    assert seeds is not None and seeds > (seeds_to_decide("no_worse", 1.0, 1.0) or 0)
    drawn = np.random.default_rng(2).normal(0.0, 1.0, size=(4000, seeds))
    held = [evidence("no_worse", 1.0, of_differences(list(row))).holds < 0.05 / 3 for row in drawn]
    assert 0.8 <= np.mean(held) < 0.9
    assert seeds_to_decide("better", 0.0, 1.0) is None  # no difference would decide
