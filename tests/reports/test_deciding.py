"""What the seeds of a sweep can decide: which spread counts, seeds and hours, columns, and how that is said."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import example_results
import numpy as np
import pytest
import seeded_runs
from composed_jobs import at
from scipy import stats
from seeded_runs import BITS, TASK, in_row, runs

from roberta_lab.config import ClaimConfig, Config, ConfigError, SizeConfig
from roberta_lab.model.costs import costs_of
from roberta_lab.reports.deciding import UNKNOWN, Deciding, Need, Spread, deciding, lines
from roberta_lab.runs import results
from roberta_lab.runs.jobs import Job
from roberta_lab.tasks.costs import finetune_seconds

pytestmark = pytest.mark.usefixtures("composing")

CLAIM = ClaimConfig(row="dynamic", over="static", direction="no_worse", columns=[TASK], margin=0.5)
STATIC, DYNAMIC, THIRD = (60.0, 62.0, 61.0, 64.0), (61.0, 63.3, 61.9, 65.8), (59.0, 63.0)


@pytest.fixture
def measured(tmp_path: Path) -> list[Job]:
    """Scores of three rows, of which the last has fewer seeds."""
    return runs(tmp_path, {}, {"static": STATIC, "dynamic": DYNAMIC, "third": THIRD})


def planned(config: Config, **plan: Any) -> Config:
    return replace(config, plan=replace(config.plan, **plan))


def need(config: Config, jobs: list[Job]) -> Need:
    [found] = deciding(config, jobs).claims
    return found


def differences(row: tuple[float, ...]) -> np.ndarray:
    return np.array(row) - np.array(STATIC[: len(row)])


# ---------------------------------------------------------------- the spread
def test_a_measured_spread_is_pooled_over_rows_by_their_degrees_of_freedom(measured: list[Job]) -> None:
    """The residuals of a model with one mean for each row, as least squares have it."""
    design = np.zeros((6, 2))
    design[:4, 0] = design[4:, 1] = 1
    values = np.concatenate([differences(DYNAMIC), differences(THIRD)])
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    found = need(seeded_runs.config(claims=[CLAIM]), measured).spread
    shared = np.random.default_rng(1).normal(size=(40_000, 3, 3))  # tables of 3 seeds x 3 rows, the first the reference
    squares = (shared[..., 1:] - shared[..., :1]).var(axis=1, ddof=1).mean(axis=1)  # pooled
    freedom = 2 * squares.mean() ** 2 / squares.var()  # that of a chi-square with this spread
    assert found == Spread(pytest.approx(math.sqrt(residual @ residual / 4)), int(freedom)) and 3.1 < freedom < 3.3


def test_one_pair_and_rows_that_are_the_same_runs_measure_nothing(tmp_path: Path) -> None:
    config = seeded_runs.config(claims=[CLAIM])
    assert need(config, runs(tmp_path / "one", {}, {"static": STATIC[:1], "dynamic": (61.0,), "third": (None,)})).spread is None  # fmt: skip
    same = runs(tmp_path / "same", {}, {"static": STATIC, "dynamic": STATIC, "third": THIRD})
    assert need(config, same).spread == Spread(pytest.approx(differences(THIRD).std(ddof=1)), 1)


def test_what_the_user_states_comes_first_then_what_was_measured_the_sweeps_and_the_scales(
    tmp_path: Path, measured: list[Job]
) -> None:
    missing = runs(tmp_path / "missing", {}, {"static": (None,), "dynamic": (None,)})
    plain = seeded_runs.config(claims=[CLAIM])
    assert need(plain, missing).spread is None and UNKNOWN in need(plain, missing).text
    of_scale = replace(plain, scale=replace(plain.scale, spreads={TASK: 4.0, BITS: 9.0}))
    assert need(of_scale, missing).spread == Spread(4.0, 0)
    assert of_scale.sweep is not None
    of_sweep = replace(of_scale, sweep=replace(of_scale.sweep, spreads={TASK: 3.0}))
    assert need(of_sweep, missing).spread == Spread(3.0, 0)
    of_both = replace(of_scale, sweep=replace(of_scale.sweep, spreads={TASK: 3.0}, at_scale={"smoke": SizeConfig(spreads={TASK: 2.0}), "mini": SizeConfig(spreads={TASK: 1.0})}))  # fmt: skip
    assert need(of_both, missing).spread == Spread(2.0, 0)
    found = need(of_both, measured).spread
    assert found is not None and found.freedom == 3
    few = runs(tmp_path / "few", {}, {"static": STATIC[:3], "dynamic": DYNAMIC[:3]})
    assert need(of_both, few).spread == Spread(2.0, 0), "what few seeds measured counts only where nothing is stated"
    assert need(planned(of_both, spread=5.0), measured).spread == Spread(5.0, 0)


@pytest.mark.parametrize("stated", [TASK, "sst2_acc"])
@pytest.mark.parametrize("asked", [TASK, "sst2_acc"])
def test_a_spread_is_stated_for_a_figure_or_its_task(stated: str, asked: str, tmp_path: Path) -> None:
    missing = runs(tmp_path, {}, {"static": (None,), "dynamic": (None,)})
    config = seeded_runs.config(claims=[replace(CLAIM, columns=[asked])], spreads={stated: 3.0})
    found = deciding(planned(config, difference=1.0, column=asked), missing)
    assert found.claims[0].spread == Spread(3.0, 0) and found.difference is not None
    assert found.difference.spread == Spread(3.0, 0)


def test_a_spread_that_the_user_states_is_of_one_column(tmp_path: Path) -> None:
    """Points are not bits per byte."""
    jobs = runs(tmp_path, {"static": (None,), "dynamic": (None,)}, {"static": (None,), "dynamic": (None,)})
    config = seeded_runs.config(claims=[replace(CLAIM, columns=[TASK, BITS])])
    for column, known in ((None, TASK), (TASK, TASK), (BITS, BITS)):
        found = deciding(planned(config, spread=0.6, column=column), jobs).claims
        spreads = {one.question.split(" on ")[1].partition(" (")[0].replace(" ", "_"): one.spread for one in found}
        assert spreads == {TASK: None, BITS: None, known: Spread(0.6, 0)}


# ---------------------------------------------------------------- seeds and hours
def test_seeds_see_the_margin_with_the_probability_that_is_promised(measured: list[Job]) -> None:
    """SciPy's noncentral t; several claims are judged together, so each has a stricter level."""
    claims = [CLAIM, replace(CLAIM, row="third"), replace(CLAIM, over="reference")]
    config = planned(seeded_runs.config(claims=claims, published="table1_masking"), spread=0.6)
    first, second, published = deciding(config, measured).claims

    def seen(seeds: int, level: float = 0.05 / 2) -> float:
        critical = stats.t.isf(level / 2, seeds - 1)
        return float(stats.nct.sf(critical, seeds - 1, 0.5 / 0.6 * math.sqrt(seeds)))

    assert published.why_not and first.seeds == second.seeds and first.seeds is not None
    assert seen(first.seeds) >= 0.8 > seen(first.seeds - 1)
    asked = deciding(planned(config, difference=0.5), measured).difference
    assert asked is not None and asked.seeds is not None
    assert seen(asked.seeds, 0.05) >= 0.8 > seen(asked.seeds - 1, 0.05) and asked.seeds < first.seeds


def test_hours_are_those_of_the_seeds_that_are_lacking(tmp_path: Path) -> None:
    """A row's run counts once, in whatever rows it stands."""
    jobs = runs(tmp_path, {"static": (None,) * 3, "dynamic": (None,) * 3}, {"static": (None,) * 3, "dynamic": (None,) * 3})  # fmt: skip
    tuning = [finetune_seconds(job.config) for job in jobs if job.kind == "finetune"]
    pretraining = [costs_of(job.config).device_hours for job in jobs if job.kind == "pretrain"]
    assert None not in tuning and len(tuning) == len(pretraining) == 6
    hours = (sum(pretraining) + sum(one or 0 for one in tuning) / 3600) / 3
    config = planned(seeded_runs.config(claims=[CLAIM]), spread=0.6)
    found = need(config, [*jobs, *(in_row(job, "third") for job in jobs if job.row == "dynamic")])
    assert found.have == 3 and found.seeds is not None and found.seeds > 3 and not found.is_decided
    assert found.device_hours == pytest.approx(hours * (found.seeds - 3))
    assert f"3 seeds with probability {found.power:.2g}, {found.seeds} with 0.8 (spread 0.6, as stated), " in found.text
    enough = need(planned(config, spread=0.01), jobs)
    assert enough.is_decided and enough.device_hours == 0.0
    assert enough.power > 0.99 and enough.text.endswith(": 3 seeds with probability 1 (spread 0.01, as stated)")
    unknown = [at(replace(job, config=replace(job.config, task=replace(job.config.task, name="x", num_train=None))), job.path) for job in jobs]  # fmt: skip
    lacking = need(config, unknown)
    assert lacking.seeds == found.seeds and lacking.device_hours is None and lacking.text.endswith("as stated)")


# ---------------------------------------------------------------- what is asked
def test_a_difference_is_asked_in_a_column(tmp_path: Path) -> None:
    jobs = runs(tmp_path, {"static": (3.30, 3.32, 3.31), "dynamic": (3.29, 3.30, 3.31)}, {"static": STATIC, "dynamic": DYNAMIC})  # fmt: skip
    config = planned(seeded_runs.config(), difference=0.5)
    bits, scores = (np.std(d, ddof=1) for d in ((0.01, 0.02, 0.0), differences(DYNAMIC)))
    for column, spread, title in (
        (None, bits, "common bits per byte"),
        (BITS, bits, "common bits per byte"),
        (TASK, scores, "sst2 (sst2_acc)"),
        ("sst2_acc", scores, "sst2 (sst2_acc)"),
    ):
        found = deciding(planned(config, column=column), jobs).difference
        assert found is not None and found.question == f"a difference of 0.5 on {title}"
        assert found.spread is not None and found.spread.deviation == pytest.approx(spread)
    claimed = deciding(planned(seeded_runs.config(claims=[CLAIM]), difference=0.5), jobs).difference
    assert claimed is not None and claimed.question.endswith("on sst2 (sst2_acc)"), "that of the first claim"
    assert deciding(seeded_runs.config(), jobs).difference is None


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("sst", "plan.column=sst: no such column. Did you mean 'sst2'? Allowed: common_bits_per_byte, sst2, ppl."),
        ("squad2", "plan.column=squad2: it is not run at this scale; ask for it with sweep.tasks=[squad2]."),
    ],
)
def test_a_column_that_the_table_lacks(column: str, message: str, tmp_path: Path) -> None:
    jobs = runs(tmp_path, {"static": (None,)}, {"static": (None,), "dynamic": (None,)})
    config = seeded_runs.config()
    assert config.sweep is not None
    config = replace(config, sweep=replace(config.sweep, tasks=[TASK, "squad2"]))
    with pytest.raises(ConfigError) as error:
        deciding(planned(config, difference=0.5, column=column), jobs)
    assert str(error.value) == message


def test_claims_that_cannot_be_tested_say_why_and_need_no_seeds(tmp_path: Path) -> None:
    same = runs(tmp_path, {}, {"static": STATIC})
    same += [in_row(job, "dynamic") for job in same]
    claims = [CLAIM, replace(CLAIM, columns=["squad2"])]
    found = deciding(planned(seeded_runs.config(claims=claims), spread=0.6), same)
    assert [one.why_not.partition(": ")[0] for one in found.claims] == ["not testable at this scale"] * 2
    assert found.undecided == [] and all(one.seeds is None and not one.is_decided for one in found.claims)
    assert [*lines(found)] == [
        "claims:",
        "  dynamic no worse than static on sst2 (margin 0.5): not testable at this scale: both rows are the same runs",
        "  dynamic no worse than static on squad2 (margin 0.5): not testable at this scale: the model is too small for it, or the time too short",
    ]  # fmt: skip


def test_claims_about_what_is_not_asked_for_need_no_seeds(tmp_path: Path) -> None:
    """As with sweep.only: they are not among the claims that are corrected for, and no seeds are promised to decide them."""
    jobs = runs(tmp_path, {}, {"static": (None,) * 3, "dynamic": (None,) * 3})
    claims = [CLAIM, replace(CLAIM, over="third"), replace(CLAIM, columns=["sst3"])]
    first, row, column = deciding(planned(seeded_runs.config(claims=claims), spread=0.6), jobs).claims
    assert row.text.endswith(": not asked for: no run of it") and row.seeds is None
    assert column.text.endswith(": the table has no column of this name yet. Did you mean 'sst2'?")
    alone = deciding(planned(seeded_runs.config(claims=claims[:1]), spread=0.6), jobs).claims
    assert (first.seeds, first.power) == (alone[0].seeds, alone[0].power)


# ---------------------------------------------------------------- in words, and as data
def test_lines_and_json_say_the_same() -> None:
    measured = Spread(0.012, 3)
    needs = (Need("a", 2, "not testable at this scale: no"), Need("b", 2, spread=measured, seeds=2, power=0.9, device_hours=0.0), Need("c", 2), Need("d", 2, spread=measured), Need("e", 2, spread=measured, seeds=5, power=0.21, device_hours=1.5))  # fmt: skip
    asked = Need("f", 2, spread=Spread(0.5, 0), seeds=4, power=0.3)
    low, high = (0.012 * math.sqrt(3 / q) for q in stats.chi2.ppf((0.975, 0.025), 3))
    spread = f"spread 0.012, measured with 3 degrees of freedom ({low:.2g} to {high:.2g})"
    found = Deciding(needs, asked)
    assert [*lines(found)] == [
        "claims, decided at p = 0.05, corrected for 4 claims, if the difference is the margin (better) or none (no worse, same):",
        "  a: not testable at this scale: no",
        f"  b: 2 seeds with probability 0.9 ({spread})",
        f"  c: {UNKNOWN}",
        f"  d: more than 10,000 seeds ({spread})",
        f"  e: 2 seeds with probability 0.21, 5 with 0.8 ({spread}), 1.5 device-hours more",
        "f: 2 seeds with probability 0.3, 4 with 0.8 (spread 0.5, as stated); to be seen at p = 0.05",
    ]
    assert [one.question for one in found.undecided] == ["c", "d", "e"]
    known = Deciding((*needs[:2], needs[4]))
    assert [*lines(known)][-1] == "all of them: sweep.seeds=[1,2,3,4,5]", "only where it is known of all"
    content: Any = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [one["text"] for one in content["claims"]] == [one.text for one in needs]
    assert [one["decided"] for one in content["claims"]] == [False, True, False, False, False]
    assert content["claims"][4] == {"question": "e", "have": 2, "why_not": "", "spread": {"deviation": 0.012, "freedom": 3}, "seeds": 5, "power": 0.21, "device_hours": 1.5, "key": "sweep.seeds", "decided": False, "text": needs[4].text}  # fmt: skip
    assert (content["difference"]["seeds"], content["difference"]["text"]) == (4, asked.text)
    assert Deciding(needs).to_json()["difference"] is None  # type: ignore[index,call-overload]


def test_many_seeds_are_not_written_out_and_without_claims_there_is_no_line() -> None:
    many = Deciding((Need("a", 2, spread=Spread(1.0, 0), seeds=21),))
    assert [*lines(Deciding((), Need("f", 2)))] == [f"f: {UNKNOWN}"]
    assert not any("sweep.seeds" in line for line in lines(many)) and [*lines(Deciding(()))] == []
    twenty = Deciding((Need("a", 2, spread=Spread(1.0, 0), seeds=20),))
    assert [*lines(twenty)][-1].endswith(",19,20]")


# ---------------------------------------------------------------- rows of the same weights
def tunings(outputs: Path, rows: dict[str, tuple[float, ...]]) -> list[Job]:
    """Return finetunings of one pretraining run, a seed of finetuning for each score."""
    found = []
    for row, scores in rows.items():
        for seed, score in enumerate(scores, 1):
            job = runs(outputs / "of", {}, {row: (None,)})[0]
            job = replace(job, config=replace(job.config, finetune=replace(job.config.finetune, seed=seed)))
            job = at(job, outputs / "finetune" / f"{row}-{seed}")
            job.path.mkdir(parents=True)
            results.write(
                job.path,
                example_results.finetuned(job.path.name, score, "0123456789ab", num_dev=1000, finetune_seed=seed),
            )
            found.append(job)
    return found


def test_of_rows_that_start_from_the_same_weights_seeds_of_finetuning_are_counted(tmp_path: Path) -> None:
    """They are what the table pairs: their spread is the one that was measured, and `sweep.finetune_seeds` adds some."""
    jobs = tunings(tmp_path, {"static": (60.0, 62.0, 61.0, 64.0), "dynamic": (61.0, 60.0, 63.0, 64.5)})
    found = deciding(seeded_runs.config(claims=[CLAIM]), jobs)
    [one] = found.claims
    gaps = np.array([1.0, -2.0, 2.0, 0.5])
    assert (one.have, one.key) == (4, "sweep.finetune_seeds") and one.spread == Spread(
        pytest.approx(gaps.std(ddof=1)), 3
    )
    assert "4 seeds of finetuning with probability" in one.text
    seconds = finetune_seconds(jobs[0].config)
    assert seconds is not None and one.seeds is not None
    assert one.device_hours == pytest.approx((one.seeds - 4) * 2 * seconds / 3600)
    alone = deciding(planned(seeded_runs.config(claims=[replace(CLAIM, margin=2.0)]), spread=1.0), jobs)
    assert [*lines(alone)][-1] == "all of them: sweep.finetune_seeds=[1,2,3,4,5]"
    other = [*jobs[:4], *(replace(job, config=replace(job.config, seed=2)) for job in jobs[4:])]
    assert deciding(seeded_runs.config(claims=[CLAIM]), other).claims[0].key == "sweep.seeds"
