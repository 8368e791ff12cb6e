"""`reproduce.until`: when seeds are added and when they end, by SciPy's interval; which rows and column count."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import seeded_runs
from scipy import stats
from seeded_runs import BITS, TASK, Values, in_row, runs

from roberta_lab.config import ClaimConfig, Config, ConfigError
from roberta_lab.reports.deciding import column_called, table_of
from roberta_lab.reports.until import check, half_widths, more_seeds
from roberta_lab.runs.jobs import Job

pytestmark = pytest.mark.usefixtures("composing")

CLAIM = ClaimConfig(row="third", over="dynamic", direction="better", columns=[TASK], margin=1.0)
SCORES: dict[str, Values] = {
    "static": (60.0, 62.0, 61.0, 64.0),
    "dynamic": (61.0, 63.3, 61.9, 65.8),
    "third": (59.0, 63.0, 60.0, 64.1),
}


def wanted(until: float, column: str | None = TASK, claims: tuple[ClaimConfig, ...] = (), **more: Any) -> Config:
    config = seeded_runs.config(claims=[*claims])
    return replace(config, reproduce=replace(config.reproduce, until=until, column=column, **more))


def half_width(row: str, over: str, scores: dict[str, Values] = SCORES) -> float:
    """Half of SciPy's 97% interval."""
    pairs = [a - b for a, b in zip(scores[row], scores[over], strict=True) if a is not None and b is not None]
    low, high = stats.ttest_1samp(pairs, 0.0).confidence_interval(0.97)
    return float(high - low) / 2


def widths(config: Config, jobs: list[Job]) -> dict[str, float]:
    table = table_of(config, jobs)
    return half_widths(config, table, column_called(table, config.reproduce.column, "reproduce.column"))


def asked(
    config: Config, jobs: list[Job], hours: float = 1.0, of_a_round: float = 0.5, has_failed: bool = False
) -> Any:
    [line], seeds = more_seeds(config, jobs, hours, of_a_round, has_failed)
    return line, seeds


# ---------------------------------------------------------------- whose interval
def test_intervals_are_those_of_each_row_and_the_reference(tmp_path: Path) -> None:
    jobs = runs(tmp_path, {}, SCORES)
    both = {f"{row} - static": pytest.approx(half_width(row, "static")) for row in ("dynamic", "third")}
    assert widths(wanted(1), jobs) == both
    assert widths(wanted(1, claims=(replace(CLAIM, columns=[BITS]),)), jobs) == both, "a claim about another column"
    two = [job for job in jobs if job.row != "third"]
    assert widths(wanted(1, claims=(CLAIM,)), two).keys() == {"dynamic - static"}, (
        "a claim about a row that is not there"
    )


def test_where_claims_name_pairs_of_rows_theirs_count(tmp_path: Path) -> None:
    jobs, pair = runs(tmp_path, {}, SCORES), {"third - dynamic": pytest.approx(half_width("third", "dynamic"))}
    assert widths(wanted(1, claims=(CLAIM, replace(CLAIM, columns=["sst2_acc"]))), jobs) == pair
    assert widths(wanted(1, column="sst2_acc", claims=(CLAIM,)), jobs) == pair


def test_without_a_spread_a_width_is_not_known(tmp_path: Path) -> None:
    scores: dict[str, Values] = {"static": (60.0, 62.0), "dynamic": (61.0, None), "third": (None, None)}
    config = wanted(100)
    jobs = runs(tmp_path, {}, scores)
    assert widths(config, jobs) == {"dynamic - static": math.inf, "third - static": math.inf}
    line, seeds = asked(config, jobs)
    assert seeds == [1, 2, 3] and line == "until: sst2 (sst2_acc) to +-100; with 2 seeds it is not known; seed 3 is added"  # fmt: skip


def test_seeds_that_do_not_differ_need_no_more_seeds(tmp_path: Path) -> None:
    """As rows at chance that predict one label: their difference is the same in each seed, however many there are."""
    scores: dict[str, Values] = {"static": (50.0,) * 4, "dynamic": (50.0,) * 4, "third": (52.0,) * 4}
    config, jobs = wanted(0.5), runs(tmp_path, {}, scores)
    assert widths(config, jobs) == {"dynamic - static": 0.0, "third - static": 0.0}
    assert asked(config, jobs)[1] is None


def test_rows_that_are_the_same_runs_need_no_interval(tmp_path: Path) -> None:
    jobs = runs(tmp_path, {}, {"static": (60.0, 62.0)})
    jobs += [in_row(job, "dynamic") for job in jobs]
    line, seeds = asked(wanted(0.001), jobs)
    assert widths(wanted(1), jobs) == {} and seeds is None and line.endswith("it is 0.00 (no two rows to compare)")


# ---------------------------------------------------------------- when it ends
def test_the_widest_interval_counts_and_one_seed_is_added(tmp_path: Path) -> None:
    jobs = runs(tmp_path, {}, SCORES)
    wide, narrow = half_width("third", "static"), half_width("dynamic", "static")
    assert narrow < 1.0 < wide
    line, seeds = asked(wanted(1.0), jobs)
    assert seeds == [1, 2, 3, 4, 5]
    assert line == f"until: sst2 (sst2_acc) to +-1; with 4 seeds it is {wide:.2f} (third - static); seed 5 is added"
    for until, more in ((wide * 1.001, None), (wide * 0.999, [1, 2, 3, 4, 5])):
        assert asked(wanted(until), jobs)[1] == more
    low, high = stats.ttest_1samp([a - b for a, b in zip(SCORES["third"], SCORES["static"], strict=True)], 0).confidence_interval(0.95)  # type: ignore[operator]  # fmt: skip
    assert asked(wanted(float(high - low) / 2), jobs)[1] is not None, "a 95% interval that is looked at is too narrow"


def test_before_four_seeds_no_interval_is_trusted(tmp_path: Path) -> None:
    three = {row: values[:3] for row, values in SCORES.items()}
    line, seeds = asked(wanted(1000), runs(tmp_path / "three", {}, three))
    assert seeds == [1, 2, 3, 4] and line.endswith("seed 4 is added")
    line, seeds = asked(wanted(1000), runs(tmp_path / "four", {}, SCORES))
    assert seeds is None and "not reached" not in line


@pytest.mark.parametrize(
    ("budget", "state", "said"),
    [
        ({"most_seeds": 4}, {}, "; not reached: reproduce.most_seeds=4 is reached"),
        ({"most_seeds": 5}, {}, "; seed 5 is added"),
        ({}, {"has_failed": True}, "; not reached: runs failed"),
        (
            {"hours": 1.4},
            {},
            "; not reached: another seed takes about 30 minutes, longer than reproduce.hours=1.4 allows",
        ),
        ({"hours": 1.5}, {}, "; seed 5 is added"),
    ],
)
def test_the_budget(budget: dict[str, Any], state: dict[str, Any], said: str, tmp_path: Path) -> None:
    line, seeds = asked(wanted(0.01, **budget), runs(tmp_path, {}, SCORES), **state)
    assert line.endswith(said) and seeds == ([1, 2, 3, 4, 5] if "added" in said else None)


def test_what_is_reached_is_no_failure_of_the_budget(tmp_path: Path) -> None:
    line, seeds = asked(wanted(1000, most_seeds=2, hours=0.1), runs(tmp_path, {}, SCORES), has_failed=True)
    assert seeds is None and "not reached" not in line


def test_seeds_go_on_from_the_largest(tmp_path: Path) -> None:
    every = runs(tmp_path, {}, SCORES)
    assert asked(wanted(0.01), [job for job in every if job.seed in (2, 4)])[1] == [2, 4, 5]


# ---------------------------------------------------------------- which column
def test_the_column_is_that_of_the_first_claim_or_the_one_that_is_asked_for(tmp_path: Path) -> None:
    bits: dict[str, Values] = {"static": (3.30, 3.32, 3.31, 3.35), "dynamic": (3.29, 3.30, 3.31, 3.30)}
    jobs = runs(tmp_path, bits, {row: SCORES[row] for row in bits})
    width = f"{half_width('dynamic', 'static', bits):.4f} (dynamic - static)"
    for config in (wanted(0.0001, None), wanted(0.0001, BITS, claims=(replace(CLAIM, row="static"),))):
        line, _ = asked(config, jobs)
        assert line.startswith("until: common bits per byte to +-0.0001; ") and width in line
    assert asked(wanted(0.1, None, claims=(replace(CLAIM, row="static"),)), jobs)[0].startswith(
        "until: sst2 (sst2_acc) to +-0.1; "
    )
    with pytest.raises(ConfigError, match=r"^reproduce\.column=mnli: no such column"):
        more_seeds(wanted(0.1, "mnli"), jobs, 0.0, 0.0, False)


def test_a_mistake_is_answered_before_anything_is_trained(tmp_path: Path) -> None:
    jobs = runs(tmp_path, {}, {"static": (None,), "dynamic": (None,)})
    check(wanted(0.5, None), jobs)
    check(wanted(0.5, TASK), jobs)
    several = wanted(0.5, None)
    several = replace(several, reproduce=replace(several.reproduce, sweeps=["a", "b"]))
    with pytest.raises(ConfigError, match=r"^reproduce\.until: .* needs one table: sweep=NAME"):
        check(several, jobs)
    check(replace(several, reproduce=replace(several.reproduce, until=None)), jobs)
    with pytest.raises(ConfigError, match=r"^reproduce\.column=sst: no such column. Did you mean 'sst2'"):
        check(wanted(0.5, "sst"), jobs)
