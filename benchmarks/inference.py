"""Simulate what a table's intervals and tests promise: coverage, power, false alarms, seeds and items, and stopping.

    python benchmarks/inference.py [--times 20000] [--parts differences nested alarms items stopping]

Every figure goes through the shipped functions (`roberta_lab/reports/statistics`): the interval and p of each repetition are
those of `Paired`, finetuning seeds are averaged by `paired`, families are adjusted by `holm`. Where numpy computes for all
repetitions what a shipped function computes for one, the first repetitions are computed by both and must agree. The old method,
a percentile bootstrap with a sign-flip test, is written here. Seeds are fixed; a figure in brackets is a standard error.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, stdtr, stdtrit
from side_by_side import one_thread, setting, table

from roberta_lab.axes.rng import generator
from roberta_lab.reports.statistics.multi_bootstrap import NUM_DRAWS, QUANTILES, mean, multi_bootstrap
from roberta_lab.reports.statistics.paired import LEVEL, Paired, holm, of_differences, paired

SEEDS = (2, 3, 5, 10)
CHECKED = 20  # repetitions that are computed by the shipped function too
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Differences:
    """A distribution of the differences between two rows over pretraining seeds, with its mean and standard deviation."""

    name: str
    draw: Draw
    mean: float
    deviation: float


LOGNORMAL = math.exp(0.5), math.sqrt((math.e - 1) * math.e)
DISTRIBUTIONS = (
    Differences("normal", lambda draw, size: draw.normal(size=size), 0.0, 1.0),
    Differences(
        "of two lognormal rows",
        lambda draw, size: draw.lognormal(size=size) - draw.lognormal(size=size),
        0.0,
        math.sqrt(2) * LOGNORMAL[1],
    ),
    Differences("lognormal (one-sided)", lambda draw, size: draw.lognormal(size=size), *LOGNORMAL),
    Differences("Student t, 3 degrees", lambda draw, size: draw.standard_t(3, size=size), 0.0, math.sqrt(3)),
)


def drawn(*key: object) -> np.random.Generator:
    """Return the random numbers of one figure."""
    return generator(0, "/".join(map(str, ("inference", *key))))


def percent(hits: np.ndarray | Sequence[bool]) -> str:
    """Return a share in percent with its standard error."""
    share = float(np.mean(hits))
    return f"{100 * share:.1f} ({100 * math.sqrt(share * (1 - share) / len(hits)):.1f})"


def shipped(values: np.ndarray) -> list[Paired]:
    """Return the shipped statistics of each row of differences, (T, n)."""
    means, deviations = values.mean(axis=1).tolist(), values.std(axis=1, ddof=1).tolist()
    found = [Paired(mean, deviation, values.shape[1]) for mean, deviation in zip(means, deviations, strict=True)]
    for ours, theirs in zip(found[:CHECKED], map(of_differences, values[:CHECKED].tolist()), strict=False):
        assert np.allclose((ours.mean, ours.deviation), (theirs.mean, theirs.deviation))
    return found


def covers(found: Sequence[Paired], truth: float) -> np.ndarray:
    return np.array([one.low <= truth <= one.high for one in found])


# ---------------------------------------------------------------- the old method
def percentile_bootstrap(values: np.ndarray, draw: np.random.Generator, num_draws: int = 1000) -> np.ndarray:
    """Return the 95% intervals of the means of (T, n) differences, (2, T): quantiles of means of resamples, the same in each row."""
    size = values.shape[1]
    counts = draw.multinomial(size, np.full(size, 1 / size), size=num_draws) / size
    return np.quantile(values @ counts.T, (0.025, 0.975), axis=1)


def sign_flip(values: np.ndarray) -> np.ndarray:
    """Return the exact two-sided p of the mean of (T, n) differences under all flips of their signs, (T,)."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=values.shape[1])))
    sums = np.abs(values.sum(axis=1))
    return np.mean(np.abs(values @ signs.T) >= sums[:, None] * (1 - 1e-9), axis=1)


# ---------------------------------------------------------------- coverage and power
def differences(times: int) -> Iterator[str]:
    """Coverage of the interval and power of the test for each distribution, beside the old method's."""
    rows, fewer = [], max(1, times // 5)
    for kind, n in itertools.product(DISTRIBUTIONS, SEEDS):
        draw = drawn("differences", kind.name, n)
        values = kind.draw(draw, (times, n))
        found = shipped(values)
        widths = [one.half_width / kind.deviation for one in found]
        seen = []
        for size in (1.0, 1.5, 2.5):
            shift = size * kind.deviation - kind.mean  # to a mean of so many standard deviations
            seen.append(percent([Paired(one.mean + shift, one.deviation, n).p < LEVEL for one in found]))
        low, high = percentile_bootstrap(values[:fewer], draw)
        old = percent((low <= kind.mean) & (kind.mean <= high))
        flips = percent(sign_flip(values[:fewer] + 2.5 * kind.deviation - kind.mean) < LEVEL)
        width = f"{np.mean(widths):.2f} ({np.std(widths) / math.sqrt(times):.2f})"
        rows.append([f"{kind.name}, n = {n}", percent(covers(found, kind.mean)), width, *seen, old, flips])
    yield "## Coverage and power"
    yield (
        f"{times:,} repetitions, the old method {fewer:,}. Half-widths and differences in standard deviations of the paired"
        " differences; power of the two-sided test at 5%."
    )
    head = ["differences", "coverage, %", "half-width", *(f"power, {size} sd, %" for size in (1, 1.5, 2.5))]
    yield table([*head, "old interval: coverage, %", "old test: power, 2.5 sd, %"], rows)


def nested(times: int) -> Iterator[str]:
    """Coverage where each pretraining seed has finetuning seeds, whose values `paired` averages."""
    rows = []
    for tuned, n in itertools.product((1, 3, 5), SEEDS):
        draw = drawn("nested", tuned, n)
        keys = [(seed, of) for seed in range(n) for of in range(tuned)]
        # both rows: an effect of the pretraining seed and one of the finetuning seed, of variance 1 each
        sides = draw.normal(size=(2, times, n, 1)) + draw.normal(size=(2, times, n, tuned))
        ours, theirs = sides.reshape(2, times, n * tuned).tolist()
        pairs = zip(ours, theirs, strict=True)
        values = np.array([paired(dict(zip(keys, a, strict=True)), dict(zip(keys, b, strict=True))) for a, b in pairs])
        found, flat = shipped(values), shipped((sides[0] - sides[1]).reshape(times, n * tuned))
        deviation = math.sqrt(2 * (1 + 1 / tuned))
        shares = (
            percent([Paired(one.mean + size, one.deviation, n).p < LEVEL for one in found]) for size in (2.0, 4.0)
        )
        width = f"{np.mean([one.half_width for one in found]):.2f}"
        name = f"{tuned} finetuning seeds, n = {n}"
        rows.append([name, f"{deviation:.2f}", percent(covers(found, 0.0)), width, *shares, percent(covers(flat, 0.0))])
    yield "## Nested seeds"
    yield (
        f"{times:,} repetitions. Each row has an effect of the pretraining seed and one of the finetuning seed, of standard"
        " deviation 1 both, in which half-widths and differences are given. The last column takes every finetuning seed for an"
        " independent pair, as the shipped function does not."
    )
    head = (
        "seeds",
        "deviation",
        "coverage, %",
        "half-width",
        "power, 2, %",
        "power, 4, %",
        "if all were pairs: coverage, %",
    )
    yield table(head, rows)


# ---------------------------------------------------------------- many tests
def null_ps(draw: np.random.Generator, times: int, cells: int, n: int, share: bool) -> np.ndarray:
    """Return the p of each cell of tables without a difference, (T, cells)."""
    values = draw.normal(size=(times, cells, n))
    if share:
        values = values - draw.normal(size=(times, 1, n))
    means, errors = values.mean(axis=2), values.std(axis=2, ddof=1) / math.sqrt(n)
    ps = 2 * stdtr(n - 1, -np.abs(means) / errors)
    assert np.allclose(ps[0], [one.p for one in shipped(values[0])])
    return np.asarray(ps)


def alarms(times: int) -> Iterator[str]:
    """Tables without a difference that show at least one all the same."""
    rows = []
    for cells, share, n in itertools.product((15, 32), (False, True), SEEDS):
        ps = null_ps(drawn("alarms", cells, share, n), times, cells, n, share)
        after = [min(holm(own)) < LEVEL for own in ps.tolist()]
        kind = "share their reference row" if share else "independent"
        rows.append([f"{cells} cells, {kind}, n = {n}", percent(after), percent(ps.min(axis=1) < LEVEL)])
    yield "## False alarms of a table"
    yield f"Share of {times:,} tables without a difference, of normal values, that tell at least one cell apart."
    yield table(("table", "after Holm, %", "each test alone, %"), rows)


# ---------------------------------------------------------------- seeds and items
@dataclass(frozen=True)
class Effects:
    """Standard deviations on the logit scale: of a seed of a row, and of an item in a row beyond its own difficulty."""

    name: str
    seed: float
    item: float


EFFECTS = (Effects("items differ", 0.0, 1.5), Effects("seeds differ", 0.3, 0.0), Effects("both differ", 0.3, 1.5))
ITEMS, DIFFICULTY, BETTER = 400, 1.0, 0.3


def expected(effects: Effects) -> float:
    """Return the difference of accuracies over all seeds and items: the effects add up to one normal number."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    spread = math.sqrt(DIFFICULTY**2 + effects.seed**2 + effects.item**2)
    shares = [float(expit(shift + spread * points) @ weights / weights.sum()) for shift in (BETTER, 0.0)]
    return shares[0] - shares[1]


def answers(draw: np.random.Generator, times: int, n: int, effects: Effects) -> np.ndarray:
    """Return which items both rows get right, (2, T, n, ITEMS): items of their own difficulty, seeds and items new each time."""
    logits = draw.normal(0.0, DIFFICULTY, size=(1, times, 1, ITEMS)) + np.array([BETTER, 0.0])[:, None, None, None]
    logits = logits + draw.normal(0.0, effects.seed, size=(2, times, n, 1))
    logits = logits + draw.normal(0.0, effects.item, size=(2, times, 1, ITEMS))
    return draw.random(logits.shape) < expit(logits)


def multi_bootstraps(values: np.ndarray, name: str) -> np.ndarray:
    """Return the intervals of differences (T, n, ITEMS) by the draws of the shipped function, for all repetitions at once. (2, T)"""
    times, n, num_items = values.shape
    draw = generator(0, f"multi_bootstrap/{name}")
    seeds, items = np.empty((NUM_DRAWS, n)), np.empty((NUM_DRAWS, num_items))
    for number in range(NUM_DRAWS):
        seeds[number] = np.bincount(draw.integers(n, size=n), minlength=n)
        items[number] = np.bincount(draw.integers(num_items, size=num_items), minlength=num_items)
    found = np.zeros((NUM_DRAWS, times))
    for seed in range(n):
        found += seeds[:, seed, None] * (items @ values[:, seed].T.astype(float))
    return np.quantile(found / (n * num_items), QUANTILES, axis=0)


def items(times: int) -> Iterator[str]:
    """Coverage of the difference over new seeds and new items: by the Multi-Bootstrap, and by seeds alone."""
    rows = []
    for effects, n in itertools.product(EFFECTS, (2, 3, 5, 10, 20)):
        truth, by_bootstrap, found = expected(effects), [], list[Paired]()
        for block in range(10):
            right = answers(drawn("items", effects.name, n, block), max(1, times // 10), n, effects)
            values = right[0].astype(np.int8) - right[1]
            low, high = multi_bootstraps(values, str(block))
            by_bootstrap.append((low <= truth) & (truth <= high))
            found += shipped(values.mean(axis=2))
            if block == 0:
                sides = [[[table.astype(float)] for table in side[0]] for side in right]
                same = multi_bootstrap(sides[0], sides[1], mean, "0")
                assert np.allclose((same.low, same.high), (low[0], high[0]))
        by_items = np.concatenate(by_bootstrap)
        rows.append(
            [f"{effects.name}, n = {n}", f"{100 * truth:.2f}", percent(by_items), percent(covers(found, truth))]
        )
    yield "## Seeds and items"
    yield (
        f"{times:,} repetitions, {ITEMS} binary items, {NUM_DRAWS:,} draws. The truth is the difference of accuracies, in points,"
        " over all seeds and all items; both are new in each repetition. Effects of seeds and of items in one row have standard"
        f" deviations of {EFFECTS[-1].seed} and {EFFECTS[-1].item} on the logit scale, where items differ by {DIFFICULTY} in both rows."
    )
    yield table(("what differs", "truth", "Multi-Bootstrap: coverage, %", "paired t over seeds: coverage, %"), rows)


# ---------------------------------------------------------------- stopping
MOST = 200  # seeds; none comes so far


@dataclass(frozen=True)
class Stops:
    """Where the seeds ended: how many there are, and whether the stopping interval and the table's 95% interval cover, (T,) each."""

    seeds: np.ndarray
    own: np.ndarray
    shown: np.ndarray


def stops(values: np.ndarray, first: int, below: float, level: float = LEVEL) -> Stops:
    """Add seeds to each row of (T, MOST) differences of mean 0, until the half-width of the (1 - level) interval is below.

    It is looked at after each seed, from the `first` on.
    """
    n = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1) / n
    squares = np.maximum(np.cumsum(values**2, axis=1) - n * means**2, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.sqrt(squares / (n - 1) / n)
        widths, own = (stdtrit(n - 1, 1 - share / 2) * errors for share in (LEVEL, level))
    assert np.allclose(widths[:CHECKED, first - 1], [one.half_width for one in shipped(values[:CHECKED, :first])])
    small = np.where(n >= first, own < below, False)
    assert small.any(axis=1).all()
    places = np.arange(len(values)), small.argmax(axis=1)
    away = np.abs(means[places])
    return Stops(n[places[1]], away <= own[places], away <= widths[places])


def stopping(times: int) -> Iterator[str]:
    """Coverage at the stop of a rule that looks at the interval after each seed."""
    kinds = [kind for kind in DISTRIBUTIONS if kind.mean == 0]
    values = {kind.name: kind.draw(drawn("stopping", kind.name), (times, MOST)) / kind.deviation for kind in kinds}
    rows = []
    for below, first in itertools.product((0.5, 1.0), (2, 3, 4, 5, 6, 8, 10, 12)):
        found = [stops(own, first, below) for own in values.values()]
        cells = [text for one in found for text in (percent(one.shown), f"{one.seeds.mean():.1f}")]
        rows.append([f"h = {below:g}, from {first} on", *cells])
    yield "## Stopping"
    yield (
        f"{times:,} repetitions. Seeds are added one by one until the half-width of the 95% interval is below h standard"
        " deviations, but not before there are so many."
    )
    yield table(("until", *(name for kind in kinds for name in (f"{kind.name}: coverage, %", "mean seeds"))), rows)
    rows, normal = [], values["normal"]
    for first, level in itertools.product((3, 4, 5), (0.05, 0.03)):
        found = [stops(normal, first, below, level) for below in (0.3, 0.5, 0.7, 1.0, 1.5, 2.0)]
        cells = [f"{percent(one.own)}; {100 * one.shown.mean():.1f}; {one.seeds.mean():.1f}" for one in found]
        rows.append([f"{100 * (1 - level):.0f}% interval, from {first} on", *cells])
    yield (
        "The same for normal differences over more h, and with a wider interval to stop by: coverage of that interval in %, of the"
        " 95% interval that the table would show there, and mean number of seeds."
    )
    yield table(("stop by", *(f"h = {below}" for below in (0.3, 0.5, 0.7, 1.0, 1.5, 2.0))), rows)


PARTS: dict[
    str, tuple[Callable[[int], Iterator[str]], int]
] = {  # with the share of repetitions: the dear ones have fewer
    "differences": (differences, 1),
    "nested": (nested, 4),
    "alarms": (alarms, 1),
    "items": (items, 10),
    "stopping": (stopping, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--times", type=int, default=20_000, help="repetitions; a quarter for nested seeds, a tenth for items"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    one_thread()
    for name in options.parts:
        part, divisor = PARTS[name]
        for text in part(options.times // divisor):
            print(f"{text}\n", flush=True)
    print(setting("numpy", "scipy"))


if __name__ == "__main__":
    main()
