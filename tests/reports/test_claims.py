"""Verdicts on the claims of a sweep: each of the four, with its reason, in every form of the table; and what is no claim."""

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from report_runs import Page, changed, composed, finetuned, pretrained
from scipy import stats

from roberta_lab.config import ClaimConfig, ConfigError, PretrainedConfig, SweepConfig
from roberta_lab.reports.page import table_page
from roberta_lab.reports.page.claims import counted_outcomes
from roberta_lab.reports.table import as_json, latex, markdown, wording
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.rows import Record, Table
from roberta_lab.reports.table.verdict import Outcome, Verdict

CLAIM = ClaimConfig(row="dynamic", over="static", direction="no_worse", columns=["mnli"], source="Section 4.1")
STATIC = (60.0, 62.0, 61.0)


def runs(task: str, **rows: tuple[float, ...]) -> list[Record]:
    """Runs of a task, one a pretraining seed."""
    return [
        replace(finetuned(row, task, 1, score), seed=seed, run_id=f"{row}-{task}-{seed}")
        for row, scores in rows.items()
        for seed, score in enumerate(scores, 1)
    ]


def common(**rows: tuple[float, ...]) -> list[Record]:
    """Pretraining runs with bits per byte of the common text."""
    return [
        pretrained(row, 30.0, seed, common_bits_per_byte=bits, common_perplexity=30.0 + bits, common_text="t")
        for row, values in rows.items()
        for seed, bits in enumerate(values, 1)
    ]


def table(found: list[Record], *claims: ClaimConfig, leaves_out: tuple[str, ...] = (), **more: Any) -> Table:
    names = dict.fromkeys(["static", "dynamic", *(run.row for run in found)])
    settings = {"margins": {"mnli": 0.5, "common_bits_per_byte": 0.01}, **more}
    sweep = SweepConfig(
        name="t",
        title="T",
        question="Q?",
        rows={name: [] for name in names},
        tasks=["mnli"],
        claims=[*claims],
        **settings,
    )
    return assemble(sweep, "smoke", found, leaves_out)


def verdict(found: list[Record], claim: ClaimConfig = CLAIM, **more: Any) -> Verdict:
    [one] = table(found, claim, **more).verdicts
    return one


@pytest.mark.parametrize(
    ("direction", "dynamic", "outcome"),
    [
        ("no_worse", (61.0, 63.1, 62.0), Outcome.HOLDS),
        ("no_worse", (59.8, 61.8, 60.81), Outcome.HOLDS),  # worse, by less than the margin
        ("no_worse", (50.0, 52.1, 51.0), Outcome.CONTRADICTED),
        ("no_worse", (57.0, 66.0, 60.0), Outcome.UNDECIDED),
        ("better", (61.0, 63.1, 62.0), Outcome.HOLDS),
        ("better", (60.1, 62.11, 60.9), Outcome.CONTRADICTED),  # better by 0.5 is ruled out
        ("same", (60.1, 62.11, 60.9), Outcome.HOLDS),
        ("same", (70.0, 72.1, 71.0), Outcome.CONTRADICTED),
    ],
)
def test_a_claim_on_a_task(direction: str, dynamic: tuple[float, ...], outcome: Outcome) -> None:
    found = verdict(runs("mnli", static=STATIC, dynamic=dynamic), replace(CLAIM, direction=direction))
    assert found.outcome is outcome and found.seen is not None and found.seen.n == 3
    assert ("less than the margin" in found.why) is (outcome is Outcome.HOLDS and dynamic[0] == 59.8)
    assert (found.seeds is not None and found.seeds > 3) is (outcome is Outcome.UNDECIDED)


def test_fewer_bits_are_better() -> None:
    claim = replace(CLAIM, direction="better", columns=["common_bits_per_byte"])
    found = verdict(common(static=(3.32, 3.33, 3.31), dynamic=(3.30, 3.311, 3.29)), claim)
    assert found.outcome is Outcome.HOLDS and found.seen is not None and found.seen.mean > 0.015
    assert found.text.startswith(
        "holds here: dynamic better than static on common bits per byte (margin 0.01); better by 0.020"
    )


def test_a_claims_own_margin_counts_before_the_sweeps() -> None:
    """Worse by 0.13 and 0.21: no worse by 0.5, which the sweep states, and not by 0.1."""
    rows = runs("mnli", static=STATIC, dynamic=(59.8, 61.8, 60.81))
    found = {margin: verdict(rows, replace(CLAIM, margin=margin)) for margin in (None, 0.1, 0.7)}
    assert {margin: one.margin for margin, one in found.items()} == {None: 0.5, 0.1: 0.1, 0.7: 0.7}
    assert {margin: one.outcome is Outcome.HOLDS for margin, one in found.items()} == {
        None: True,
        0.1: False,
        0.7: True,
    }


def several(number: int) -> list[ClaimConfig]:
    """Return so many claims that differ, if hardly: one that is stated twice is one test."""
    return [replace(CLAIM, margin=0.5 + 1e-12 * i) for i in range(number)]


def test_seeds_that_would_decide_see_the_difference_with_the_level_of_all_claims() -> None:
    """SciPy's noncentral t; of five claims that are judged together each has a fifth of the level."""
    dynamic = (62.0, 61.0, 62.0)  # better by 2, -1 and 1: by 2/3 + the margin above what is to be ruled out
    rows = runs("mnli", static=STATIC, dynamic=dynamic)
    deviation = stdev(ours - theirs for ours, theirs in zip(dynamic, STATIC, strict=True))
    for number in (1, 5):
        found = table(rows, *several(number)).verdicts[-1]
        power = {}
        for seeds in ((found.seeds or 0) - 1, found.seeds or 0):
            critical = stats.t.isf(0.05 / number / 2, seeds - 1)
            power[seeds] = stats.nct.sf(critical, seeds - 1, (2 / 3 + 0.5) / deviation * seeds**0.5)
        assert [one >= 0.8 for one in power.values()] == [False, True]
        assert found.why.startswith(f"about {found.seeds} seeds would decide with probability 0.8")


def test_claims_may_be_about_own_figures_where_inputs_are_the_same_and_about_the_same_measurement() -> None:
    """The table leaves both out of its tests, for they are not its question; a claim asks for them."""
    found = [
        replace(
            pretrained(
                row, ppl, seed, common_bits_per_byte=ppl / 10, common_perplexity=2 ** (ppl / 5), common_text="t"
            ),
            config=composed({"masking": {"name": row, **more}}),
        )
        for row, figures, more in (("static", (30.0, 31.0), {}), ("dynamic", (29.0, 30.01), {}))
        for seed, ppl in enumerate(figures, 1)
    ]
    for column in ("ppl", "common_perplexity", "common_bits_per_byte"):
        claim = replace(CLAIM, direction="better", columns=[column], margin=0.01)
        assert verdict(found, claim).outcome is Outcome.HOLDS
    other = [replace(run, config=composed({"masking": {"name": run.row, "mask_prob": 0.3}})) if run.row == "dynamic" else run for run in found]  # fmt: skip
    assert verdict(other, replace(CLAIM, columns=["ppl"], margin=1.0)).why == "of other held-out inputs"


def test_why_a_claim_is_undecided() -> None:
    assert (
        verdict(runs("mnli", static=STATIC)).why == "not asked for: no run of it"
    )  # no run of the other row is planned
    missing = [replace(run, result=None) for run in runs("mnli", dynamic=STATIC)]
    assert verdict([*runs("mnli", static=STATIC), *missing]).why == "no figure of dynamic yet"
    one = verdict(runs("mnli", static=STATIC[:1], dynamic=(70.0,)))
    assert one.outcome is Outcome.UNDECIDED and one.why.startswith("one seed of pretraining")
    same = verdict(runs("mnli", static=STATIC, dynamic=tuple(score + 1 for score in STATIC)))
    assert same.outcome is Outcome.UNDECIDED and same.why.startswith("the difference is the same in all seeds")
    assert verdict(runs("mnli", static=STATIC, dynamic=STATIC)).estimate == "equal, 3 seeds"


def test_seeds_of_finetuning_are_named_where_they_are_the_pairs() -> None:
    """From given weights: what they tell holds for these alone. Other weights are one seed each."""

    def tuned(row: str, scores: tuple[float, ...], path: str = "w") -> list[Record]:
        made = replace(composed({}), pretrained=PretrainedConfig(path=path))
        return [replace(finetuned(row, "mnli", seed, score), config=made) for seed, score in enumerate(scores, 1)]

    found = verdict([*tuned("static", STATIC), *tuned("dynamic", (63.0, 64.9, 64.1))])
    assert found.outcome is Outcome.HOLDS and "3 seeds of finetuning, of the same weights" in found.text
    other = verdict([*tuned("static", STATIC), *tuned("dynamic", (63.0, 64.9, 64.1), "v")])
    assert other.outcome is Outcome.UNDECIDED and other.seen is not None and other.seen.n == 1


def test_a_runs_own_figure_can_be_claimed_where_the_inputs_are_the_same() -> None:
    """It is only described in the table of differences; and one seed, or another text, tests nothing."""
    claim = replace(CLAIM, direction="better", columns=["ppl"], margin=1.0)
    found = [
        replace(pretrained(row, ppl, seed), config=composed({}))
        for row, values in {"static": (50.0, 52.0, 51.0), "dynamic": (40.0, 42.1, 41.0)}.items()
        for seed, ppl in enumerate(values, 1)
    ]
    assert verdict(found, claim).outcome is Outcome.HOLDS
    one = verdict([run for run in found if run.seed == 1], claim)
    assert one.outcome is Outcome.UNDECIDED and one.why.startswith("one seed of pretraining")
    other = [
        changed(run, common_text="u") if run.row == "static" else run for run in common(static=STATIC, dynamic=STATIC)
    ]
    text = verdict(other, replace(claim, columns=["common_bits_per_byte"]))
    assert text.outcome is Outcome.NOT_TESTABLE and "another common text" in text.why


def test_a_table_that_is_not_complete_says_how_far_it_is() -> None:
    """A verdict of some of the seeds is one so far; runs that broke leave it undecided, for others may decide."""
    found = [*runs("mnli", static=STATIC, dynamic=(61.0, 63.1)), replace(runs("mnli", dynamic=STATIC)[2], result=None)]
    assert verdict(found).text.endswith(", 2 of 3 seeds so far") and verdict(found).outcome is Outcome.HOLDS
    broken = runs("mnli", static=STATIC, dynamic=(61.0, 63.1, float("nan")))
    assert verdict(broken).outcome is Outcome.UNDECIDED and verdict(broken).why == "1 of 3 runs nan"


def test_why_a_claim_cannot_be_tested() -> None:
    rows = runs("mnli", static=STATIC, dynamic=(70.0, 72.1, 71.0))
    shared = [replace(run, run_id=run.run_id.replace("dynamic", "static")) for run in rows]
    chance = runs("mnli", static=STATIC) + [
        replace(run, result=replace(run.result, found=replace(run.result.found, at_chance=True)))
        for run in runs("mnli", dynamic=STATIC)
        if run.result is not None
    ]
    published = replace(CLAIM, over="reference")
    for found in (
        verdict(shared),
        verdict(chance),
        verdict(runs("sst2", static=STATIC), leaves_out=("mnli",)),
        verdict(rows, published, published="table1_masking"),
    ):
        assert found.outcome is Outcome.NOT_TESTABLE and found.why
    assert verdict(chance).why == "at chance"
    assert verdict(rows, leaves_out=("mnli",)).outcome is Outcome.HOLDS, "it was asked for all the same"
    assert "published figures" in verdict(rows, published, published="table1_masking").why


def test_rows_are_judged_by_how_they_differ_from_each_other() -> None:
    """Not from the reference: two rows that read as little as each other compare, neither does with one that read more."""
    found = common(static=(3.30, 3.31), dynamic=(3.2, 3.21), other=(3.1, 3.111))
    read = {"static": 2_000_000, "dynamic": 1_600_000, "other": 1_600_000}
    made = [replace(changed(run, tokens_seen=read[run.row]), config=composed({})) for run in found]
    claim = replace(CLAIM, direction="better", columns=["common_bits_per_byte"])
    unlike, alike = table(made, claim, replace(claim, row="other", over="dynamic")).verdicts
    assert unlike.outcome is Outcome.NOT_TESTABLE and "1,600,000 real tokens, not 2,000,000" in unlike.why
    assert alike.outcome is Outcome.HOLDS


@pytest.mark.parametrize("stated", ["mnli", "mnli_m_acc"])
@pytest.mark.parametrize("claimed", ["mnli", "mnli_m_acc"])
def test_a_margin_is_stated_for_a_figure_or_its_task(claimed: str, stated: str) -> None:
    found = verdict(
        runs("mnli", static=STATIC, dynamic=(59.8, 61.8, 60.81)),
        replace(CLAIM, columns=[claimed, claimed]),  # named twice, it is one claim
        margins={stated: 0.5},
    )
    assert found.outcome is Outcome.HOLDS and found.margin == 0.5


def test_claims_are_judged_together() -> None:
    """Holm: what one claim alone decides, twenty do not."""
    rows = runs("mnli", static=STATIC, dynamic=(61.0, 63.4, 62.3))
    assert verdict(rows).outcome is Outcome.HOLDS
    many = table(rows, *several(20)).verdicts
    assert {found.outcome for found in many} == {Outcome.UNDECIDED}
    again = table(rows, *[CLAIM] * 20).verdicts
    assert {found.outcome for found in again} == {Outcome.HOLDS}, "one test, however often it is claimed"
    assert counted_outcomes(map(as_json.verdict_content, many)) == "undecided: 20"


def test_every_form_has_the_verdicts(tmp_path: Path) -> None:
    made = table(runs("mnli", static=STATIC, dynamic=(61.0, 63.1, 62.0)), CLAIM)
    [found] = made.verdicts
    assert found.text in markdown.document(made, {}) and "Claim: holds here" in latex.document(made, {})
    assert found.words in table_page.html(made, [], {})
    [claim] = json.loads(as_json.document(made, {}, None))["claims"]
    assert (claim["verdict"], claim["row"], claim["over"]) == ("holds here", "dynamic", "static")
    assert claim["better_by"] == pytest.approx(1.0333, abs=1e-3) and claim["p_holds"] < 0.05 < claim["p_contradicted"]


def test_the_page_answers_its_question_at_the_top() -> None:
    """What holds, what is undecided, and claims that cannot be tested in one line for all their columns."""
    asked = (CLAIM, replace(CLAIM, columns=["common_bits_per_byte"]), replace(CLAIM, columns=["squad2", "sst2"]))
    found = [*runs("mnli", static=STATIC, dynamic=(61.0, 63.1, 62.0)), *common(static=(3.4, 3.1), dynamic=(3.3, 3.5))]
    margins = {"mnli": 0.5, "common_bits_per_byte": 0.01, "squad2": 0.5, "sst2": 0.5}
    made = table(found, *asked, margins=margins, leaves_out=("squad2", "sst2"))
    (first, said), (second, _), (third, untold) = wording.answers(made)
    assert (first, second, third) == ("holds here", "undecided", "not testable at this scale")
    assert said.startswith(
        "dynamic no worse than static on mnli (margin 0.5) (scored on pydoc_mnli, which stands in): better"
    )
    assert untold == "dynamic no worse than static on squad2, sst2"
    page = Page(table_page.html(made, [], {})).text
    assert page.index("Q?") < page.index(said) < page.index(untold) < page.index("The table")


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (replace(CLAIM, row="dynamo"), "claim 1 of sweep=t: no row dynamo. Did you mean 'dynamic'?"),
        (replace(CLAIM, columns=[]), "claim 1 of sweep=t: columns=[]: allowed are one or more"),
        (replace(CLAIM, over="dynamic"), "claim 1 of sweep=t: row=dynamic: it is compared with itself"),
        (replace(CLAIM, columns=["sst2"], direction="better"), "claim 1 of sweep=t: it needs a margin for sst2"),
        (replace(CLAIM, columns=["sst2"]), "claim 1 of sweep=t: it needs a margin for sst2"),
    ],
)
def test_mistakes_in_claims_are_answered(claim: ClaimConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        table(runs("mnli", static=STATIC), claim)
