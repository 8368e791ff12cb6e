"""The Multi-Bootstrap against a plain one, its coverage over items by simulation, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest

from roberta_lab.axes.rng import generator
from roberta_lab.config import TaskConfig
from roberta_lab.reports.statistics.multi_bootstrap import NUM_DRAWS, SeedsAndItems, mean, multi_bootstrap
from roberta_lab.tasks import heads

Tables = list[list[np.ndarray]]
TASK = TaskConfig(name="cola", family="glue", head="classification", metric="mcc")


def mcc(table: np.ndarray) -> float:
    return heads.load("classification").scores(TASK, table)["mcc"]


def tables(seeds: int, tunings: int, items: int, columns: int | None, salt: int) -> Tables:
    draw = np.random.default_rng(salt)
    gold = np.random.default_rng(0).integers(2, size=items)

    def one() -> np.ndarray:
        right = draw.random(items) < 0.7
        if columns is None:
            return 100.0 * right
        return np.stack([np.where(right, gold, 1 - gold), gold], axis=1).astype(float)

    return [[one() for _ in range(tunings)] for _ in range(seeds)]


def plain(ours: Tables, theirs: Tables, score: Callable[[np.ndarray], float], name: str, draws: int) -> list[float]:
    """Return each draw's value, item by item and seed by seed."""
    draw, found = generator(0, f"multi_bootstrap/{name}"), []
    for _ in range(draws):
        seeds = [int(s) for s in draw.integers(len(ours), size=len(ours))]
        items = [int(i) for i in draw.integers(len(ours[0][0]), size=len(ours[0][0]))]
        total = 0.0
        for seed in seeds:
            own = [score(np.array([table[i] for i in items])) for table in ours[seed]]
            other = [score(np.array([table[i] for i in items])) for table in theirs[seed]]
            total += sum(own) / len(own) - sum(other) / len(other)
        found.append(total / len(seeds))
    return found


@pytest.mark.parametrize(("columns", "score"), [(None, mean), (2, mcc)])
def test_it_is_the_plain_one(columns: int | None, score: Callable[[np.ndarray], float]) -> None:
    ours, theirs = tables(3, 2, 40, columns, 1), tables(3, 1, 40, columns, 2)
    found = multi_bootstrap(ours, theirs, score, "x", num_draws=30)
    low, high = np.quantile(plain(ours, theirs, score, "x", 30), (0.025, 0.975))
    whole = np.mean([np.mean([score(t) for t in a]) - score(b[0]) for a, b in zip(ours, theirs, strict=True)])
    assert (found.num_draws, found.num_seeds, found.num_items) == (30, 3, 40)
    np.testing.assert_allclose([found.mean, found.low, found.high], [whole, low, high], rtol=1e-12)
    assert found != multi_bootstrap(ours, theirs, score, "y", num_draws=30), "the name keys the draws"


def test_points_are_as_any_other_score() -> None:
    """The fast way gives what resampled tables give."""
    ours, theirs = tables(4, 2, 100, None, 1), tables(4, 2, 100, None, 2)
    fast = multi_bootstrap(ours, theirs, mean, "x")
    slow = multi_bootstrap(ours, theirs, lambda table: float(table.mean()), "x")
    assert fast.num_draws == NUM_DRAWS
    np.testing.assert_allclose([fast.mean, fast.low, fast.high], [slow.mean, slow.low, slow.high], rtol=1e-9)


def test_it_covers_the_noise_of_items_and_of_many_seeds() -> None:
    """Each item and each seed has a difference of its own; the truth is that of all items and seeds there could be."""
    draw, truth, hits, blind = np.random.default_rng(5), 1.0, 0, 0
    for number in range(150):
        own = draw.normal(0, 2, 60)[None, :] + draw.normal(0, 0.5, 15)[:, None] + draw.normal(0, 1, (15, 60))
        ours, theirs = [[truth + row] for row in own], [[np.zeros(60)]] * 15
        found = multi_bootstrap(ours, theirs, mean, str(number), num_draws=200)
        hits += found.low <= truth <= found.high
        means = (truth + own).mean(axis=1)
        blind += abs(means.mean() - truth) <= 2.14 * means.std(ddof=1) / np.sqrt(15)  # t of 14: these items alone
    assert 0.90 <= hits / 150 <= 0.99
    assert blind / 150 < hits / 150 - 0.2, "an interval over seeds says nothing about other items"


def test_one_seed_is_the_paired_bootstrap_over_items() -> None:
    ours, theirs = tables(1, 1, 500, None, 1), tables(1, 1, 500, None, 2)
    found, points = multi_bootstrap(ours, theirs, mean, "x"), ours[0][0] - theirs[0][0]
    half = 1.96 * points.std() / np.sqrt(500)
    np.testing.assert_allclose([found.low, found.high], [points.mean() - half, points.mean() + half], atol=0.25 * half)


def test_equal_tables_differ_by_nothing() -> None:
    same = tables(3, 1, 20, 2, 1)
    assert multi_bootstrap(same, same, mcc, "x", 20) == SeedsAndItems(0.0, 0.0, 0.0, 20, 3, 20)


@pytest.mark.parametrize("theirs", [tables(2, 1, 20, None, 1), tables(3, 1, 21, None, 1), []])
def test_what_is_not_paired_is_refused(theirs: Tables) -> None:
    with pytest.raises(ValueError, match="not paired"):
        multi_bootstrap(tables(3, 1, 20, None, 1), theirs, mean, "x")
