"""What the shipped interval and test promise, simulated: coverage at few seeds, and false alarms of tables without a difference."""

import itertools

import numpy as np
import pytest

from roberta_lab.reports.statistics.paired import LEVEL, Paired, holm, of_differences

TIMES = 4000  # two standard errors of a coverage of 95% are 0.7 points
SEEDS = (2, 3, 5, 10)


def shipped(values: np.ndarray) -> list[Paired]:
    """The statistics of each row, (T, n); mean and deviation of a few by the shipped function too."""
    found = [
        Paired(*map(float, both), values.shape[1]) for both in zip(values.mean(1), values.std(1, ddof=1), strict=True)
    ]
    for ours, row in zip(found[:10], values.tolist(), strict=False):
        same = of_differences(row)
        assert (ours.mean, ours.deviation) == pytest.approx((same.mean, same.deviation))
    return found


def coverage(values: np.ndarray) -> float:
    """The share of the rows of differences, of mean 0, whose interval covers it."""
    return float(np.mean([one.low <= 0 <= one.high for one in shipped(values)]))


@pytest.mark.parametrize("n", SEEDS)
def test_the_interval_covers_what_it_says(n: int) -> None:
    draw = np.random.default_rng(n)
    assert coverage(draw.normal(size=(TIMES, n))) == pytest.approx(0.95, abs=0.02)
    equally_skewed = draw.lognormal(size=(2, TIMES, n))
    assert coverage(equally_skewed[0] - equally_skewed[1]) >= 0.93


def test_a_percentile_bootstrap_would_not() -> None:
    """The earlier interval: quantiles of the means of all resamples."""
    values = np.random.default_rng(0).normal(size=(TIMES, 3))
    resamples = np.array(list(itertools.product(range(3), repeat=3)))
    low, high = np.quantile(values[:, resamples].mean(axis=2), (0.025, 0.975), axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.90


@pytest.mark.parametrize(("cells", "n", "shares_a_row"), [(15, 2, False), (15, 3, True), (32, 3, False), (32, 5, True)])
def test_a_table_without_differences_tells_rows_apart_in_one_of_twenty_cases(
    cells: int, n: int, shares_a_row: bool
) -> None:
    """And without Holm much more often. `shares_a_row`: all cells are differences from the same reference."""
    times = 600
    draw = np.random.default_rng(cells + n)
    values = draw.normal(size=(times, cells, n)) - shares_a_row * draw.normal(size=(times, 1, n))
    ps = np.array([one.p for one in shipped(values.reshape(-1, n))]).reshape(times, cells)
    alarms = np.mean([min(holm(own)) < LEVEL for own in ps.tolist()])
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / times) < 0.3 < np.mean(ps.min(axis=1) < LEVEL)
