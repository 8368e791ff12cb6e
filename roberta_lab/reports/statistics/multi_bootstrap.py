"""The Multi-Bootstrap (Sellam et al. 2022, The MultiBERTs, Section 3): how a difference would vary with other seeds and other items.

The items of a dev set are a sample too. A draw takes pretraining seeds with replacement, and items with replacement, the same
for both rows (the paired design); its value is the mean over the drawn seeds of the difference of both rows' scores on the drawn
items. Seeds of finetuning are nested: the score of a pretraining seed is the mean over its finetuning seeds. The interval
reaches from the 2.5% to the 97.5% quantile of all draws.

With one seed it is the paired bootstrap over items, which says nothing about other seeds. With fewer than about ten seeds the
interval is too narrow, for it resamples seeds by their own spread, which is (n - 1) / n of the variance, and has no t quantile:
over 2, 3 and 5 seeds alone it would cover 50%, 75% and 84%. There the paired t interval (`paired`) is the one to go by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from roberta_lab.axes.rng import generator

NUM_DRAWS = 1000
QUANTILES = (0.025, 0.975)
Tables = Sequence[
    Sequence[np.ndarray]
]  # of pretraining seeds, of their finetuning seeds: what each item contributes, (N, ...)


@dataclass(frozen=True)
class SeedsAndItems:
    """The difference of two rows, in the unit of the score, and the interval in which other seeds and items would put it."""

    mean: float  # over seeds, on the items as they are
    low: float
    high: float
    num_draws: int
    num_seeds: int  # of pretraining, in both rows
    num_items: int


def mean(table: np.ndarray) -> float:
    """Return the score of a metric that is the mean of points, one for each item, (N,). Draws of such scores are fast."""
    return float(table.mean())


def multi_bootstrap(
    ours: Tables, theirs: Tables, score: Callable[[np.ndarray], float], name: str, num_draws: int = NUM_DRAWS
) -> SeedsAndItems:
    """Return by how much the scores of `ours` exceed those of `theirs`, with the interval over seeds and items.

    Args:
        ours, theirs: tables of the same items in the same order, paired by pretraining seed. The rows of a table are resampled.
        score: the score of a table; `mean` for tables of points.
        name: keys the draws, so that equal names and tables have equal intervals.

    Raises: ValueError for seeds without a partner, and for tables of different items.
    """
    sizes = {len(table) for side in (ours, theirs) for seed in side for table in seed}
    if len(ours) != len(theirs) or not ours or not all([*ours, *theirs]) or len(sizes) != 1:
        raise ValueError(f"{len(ours)} and {len(theirs)} seeds with tables of {sorted(sizes)} items are not paired")
    (num_items,), num_seeds = sizes, len(ours)
    difference = _of_points(ours, theirs) if score is mean else _of_tables(ours, theirs, score)
    draw, found = generator(0, f"multi_bootstrap/{name}"), np.empty(num_draws)
    for number in range(num_draws):
        seeds = draw.integers(num_seeds, size=num_seeds)
        items = draw.integers(num_items, size=num_items)
        found[number] = difference(items, seeds)
    low, high = np.quantile(found, QUANTILES)
    whole = difference(np.arange(num_items), np.arange(num_seeds))
    return SeedsAndItems(whole, float(low), float(high), num_draws, num_seeds, num_items)


Difference = Callable[
    [np.ndarray, np.ndarray], float
]  # drawn items and seeds, int64, to the mean difference of the seeds


def _of_points(ours: Tables, theirs: Tables) -> Difference:
    """Return the difference of means: a resample is a count for each item and each seed, and all is one product."""
    points = np.stack([_mean_of(own) - _mean_of(other) for own, other in zip(ours, theirs, strict=True)], axis=1)
    num_items, num_seeds = points.shape

    def difference(items: np.ndarray, seeds: np.ndarray) -> float:
        drawn = np.bincount(items, minlength=num_items) @ points
        return float(drawn @ np.bincount(seeds, minlength=num_seeds)) / (num_items * len(seeds))

    return difference


def _mean_of(tables: Sequence[np.ndarray]) -> np.ndarray:
    found: np.ndarray = np.mean(np.stack(tables), axis=0)
    return found


def _of_tables(ours: Tables, theirs: Tables, score: Callable[[np.ndarray], float]) -> Difference:
    """Return the difference of any score; of seeds that were not drawn nothing is scored."""

    def of_seed(tables: Sequence[np.ndarray], items: np.ndarray) -> float:
        return sum(score(table[items]) for table in tables) / len(tables)

    def difference(items: np.ndarray, seeds: np.ndarray) -> float:
        drawn, counts = np.unique(seeds, return_counts=True)
        found = [of_seed(ours[seed], items) - of_seed(theirs[seed], items) for seed in drawn]
        return float(np.average(found, weights=counts))

    return difference
