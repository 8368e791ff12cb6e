"""The first sentence of a table, on results that were never made: what it claims, how sure it is, and when it claims nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import META, SWEEP, Page, changed, composed, config, finetuned, pretrained

from roberta_lab.config import SweepConfig
from roberta_lab.reports.page import table_page
from roberta_lab.reports.table import latex, markdown
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.files import write_table
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import Record
from roberta_lab.training.rows import Cut

Bits = Sequence[float | None]  # of seeds 1, 2, ...; None: the run is missing


def measured(row: str, bits: Bits, text: str = "t1", **more: object) -> list[Record]:
    figures = {"common_perplexity": 30.0, "common_text": text, **more}
    return [
        pretrained(row, None if value is None else 30.0, seed, common_bits_per_byte=value, **figures)
        for seed, value in enumerate(bits, 1)
    ]


def said(rows: Mapping[str, Bits], *more: Record, reference: str | None = None) -> str:
    sweep = SweepConfig(name="t", title="T", question="Q?", rows={name: [] for name in rows}, reference=reference)
    found = [*(run for name, bits in rows.items() for run in measured(name, bits)), *more]
    return first_sentence(assemble(replace(sweep, rows=sweep.rows | {run.row: [] for run in more}), "smoke", found))


def test_it_says_which_row_ends_best_by_how_much_and_how_many_pairs_agree() -> None:
    assert said({"static": (3.43, 3.44, 3.42), "dynamic": (3.31, 3.30, 3.32)}) == (
        "On the common held-out text dynamic ends 0.120 bits per byte below static (3.310 against 3.430): 3 seeds each; all 3 pairs "
        "of seeds agree; paired difference 0.120 (95%: 0.070 to 0.170), told apart (p=0.009, corrected for 1 test)."
    )


def test_seeds_that_disagree_do_not_tell_rows_apart() -> None:
    assert said({"static": (3.31, 3.33, 3.30), "dynamic": (3.30, 3.28, 3.34)}) == (
        "On the common held-out text dynamic ends 0.010 bits per byte below static (3.300 against 3.310): 3 seeds each; 2 of 3 pairs "
        "of seeds agree; paired difference 0.007 (95%: \N{MINUS SIGN}0.105 to 0.119), not told apart: 3 seeds: a difference below "
        "0.147 would not be seen."
    )


def test_one_seed_cannot_tell() -> None:
    assert said({"static": (3.43,), "dynamic": (3.31,)}) == (
        "On the common held-out text dynamic ends 0.120 bits per byte below static (3.310 against 3.430): one seed each, which cannot "
        "tell whether another seed would agree."
    )


def test_rows_that_are_equal_as_shown_end_alike() -> None:
    text = said({"static": (3.4301, 3.43), "dynamic": (3.43, 3.4302)})
    assert "end equal at 3.430 bits per byte: 2 seeds each; " in text
    assert text.endswith(
        "\N{MINUS SIGN}0.002 to 0.002), not told apart: 2 seeds: a difference below 0.002 would not be seen."
    )


def test_the_best_of_many_is_compared_with_the_reference_or_with_the_next() -> None:
    rows: dict[str, Bits] = {"a": (3.5, 3.5), "b": (3.4, 3.4), "c": (3.3, 3.3)}
    assert "c, lowest of 3, ends 0.200 bits per byte below a (3.300 against 3.500)" in said(rows, reference="a")
    assert "c, lowest of 3, ends 0.100 bits per byte below b (3.300 against 3.400)" in said(rows, reference="c")


def test_the_interval_is_of_the_two_rows_that_are_compared() -> None:
    """Not of the best row and a reference that is left out; nor is a run of the reference under another name `the same runs`."""
    rows: dict[str, Bits] = {"b": (3.4, 3.41, 3.42), "c": (3.3, 3.31, 3.325)}
    text = said(rows, *measured("a", (3.5, 3.52, 3.51), unigram_ppl=20.0), reference="a")
    assert "c ends 0.100 bits per byte below b" in text and "3 pairs of seeds agree; not compared: a" in text
    same = [replace(run, row="z") for run in measured("a", (3.2, 3.21, 3.23))]
    text = said({"b": rows["b"]}, *same, *measured("a", (3.2, 3.21, 3.23)), reference="a")
    assert "z and a end 0.200" in text and "paired difference 0.197 (95%: 0.182 to 0.211), told apart (p<0.001" in text


def test_the_interval_has_the_sign_of_the_difference_that_the_sentence_states() -> None:
    """The medians say that b is lower, the means that it is higher."""
    text = said({"a": (3.30, 3.31, 3.32), "b": (3.29, 3.30, 3.49)})
    assert "b ends 0.010 bits per byte below a" in text
    assert "paired difference \N{MINUS SIGN}0.050 (95%: \N{MINUS SIGN}0.308 to 0.208)" in text


def test_missing_runs_and_rows_are_counted() -> None:
    assert (
        said({"static": (None, None), "dynamic": (None, None)}) == "Nothing can be said yet; 4 of 4 runs are missing."
    )
    assert said({"static": (3.43, 3.45), "dynamic": (None, None)}) == (
        "On the common held-out text only static has a figure that counts (3.440 bits per byte, 2 seeds), so nothing is compared; 2 of "
        "4 runs are missing."
    )
    text = said({"static": (3.43, 3.45), "dynamic": (3.3, None)})
    assert text.endswith("(3.300 against 3.440): 1 seed against 2 seeds, of which one is in both rows, which cannot tell whether another seed would agree; 1 of 4 runs are missing.")  # fmt: skip
    assert "2 seeds each, none of them in both rows" not in text
    alone = said({"static": (3.43, None), "dynamic": (None, 3.3)})
    assert "1 seed each, none of them in both rows, so none are paired" in alone


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (measured("dynamic", (3.31,), text="t2"), "of another common text: does not compare"),
        (measured("dynamic", (float("nan"),)), ""),
        (measured("dynamic", (3.31,), unigram_ppl=20.0), "no better than the unigram model"),
        (
            [replace(run, config=composed({})) for run in measured("dynamic", (3.31,), tokens_seen=1000)],
            "1,000 real tokens, not 2,000,000",
        ),
        (
            measured("dynamic", (3.31,), cuts=(Cut(0, 4, 1, 4, "cpu"),)),
            "cut into micro-batches of 4, not micro-batches of 16",
        ),
    ],
)
def test_nothing_is_claimed_of_a_row_with_a_mark(row: list[Record], why: str) -> None:
    static = [replace(run, config=composed({})) for run in measured("static", (3.43,), cuts=(Cut(0, 16, 1, 1, "cpu"),))]
    row = row if "cut" in why else [changed(run, cuts=(Cut(0, 16, 1, 1, "cpu"),)) for run in row]
    text = said({}, *static, *row)
    assert " ends " not in text and "only static has a figure that counts" in text
    assert not why or f"not compared: dynamic ({why})" in text


@pytest.mark.parametrize("masking", ["dynamic", "other rule"])
def test_where_only_repetition_differs_the_runs_own_perplexities_compare_too(masking: str) -> None:
    rows: list[Record] = []
    for row, bits, ppl in (("static", 3.32, 500.0), ("dynamic", 3.31, 450.0)):
        settings = {"name": row} | ({"mask_prob": 0.3} if row != masking == "other rule" and row == "dynamic" else {})
        found = [pretrained(row, ppl + s, s, common_bits_per_byte=bits, common_text="t") for s in (1, 2)]
        rows += [replace(run, config=composed({"masking": settings})) for run in found]
    own = (
        "; on their own held-out inputs, which are the same, dynamic has the lower perplexity (451.5 against 501.5, both pairs of "
        "seeds agree)"
    )
    assert (own in said({}, *rows)) == (masking == "dynamic")


def test_where_rows_share_their_pretraining_a_task_is_compared() -> None:
    """Higher is better there, and finetuning seeds say nothing of another pretraining."""
    shared = measured("a", (3.3,))
    scores = {"a": (70.0, 71.0, 72.0), "b": (73.0, 74.0, 75.0)}
    found = [*shared, *(replace(run, row="b") for run in shared)]
    found += [finetuned(row, "squad2", seed, value) for row, values in scores.items() for seed, value in enumerate(values, 1)]  # fmt: skip
    sweep = replace(SWEEP, rows={"a": [], "b": []}, tasks=["squad2"])
    assert first_sentence(assemble(sweep, "smoke", found)) == (
        "On pydoc_squad2, which stands in for squad2, b ends 3.0 points above a (74.0 against 71.0): 3 seeds each, all of one "
        "pretraining, so they cannot tell whether another would agree."
    )
    for doubt in ({"at_chance": True}, {"diverged": True}):
        doubtful = [changed(run, **doubt) if run.kind == "finetune" and run.row == "b" else run for run in found]
        assert " ends " not in first_sentence(assemble(sweep, "smoke", doubtful))


def test_rows_that_are_one_run_are_named_together() -> None:
    one = measured("a", (3.4,))
    text = said({"c": (3.3,)}, *one, *(replace(run, row="b") for run in one))
    assert "c ends 0.100 bits per byte below a and b (3.300 against 3.400)" in text
    assert "only a and b has" in said({}, *one, *(replace(run, row="b") for run in one))


def test_it_comes_first_in_every_form(tmp_path: Path) -> None:
    runs = [run for row, bits in (("static", (3.43, 3.44)), ("dynamic", (3.31, 3.33))) for run in measured(row, bits)]
    sweep = replace(SWEEP, tasks=[])
    table = assemble(sweep, "smoke", runs)
    sentence = first_sentence(table)
    assert markdown.document(table, META).splitlines()[2] == sentence
    assert latex.escaped(sentence) in latex.document(table, META).partition("Which?")[0]
    shown = Page(table_page.html(table, [], META)).text
    assert shown.index("Which?") < shown.index(sentence) < shown.index("The table"), "the question, then what was seen"
    (tmp_path / "tables" / "t" / "smoke").mkdir(parents=True)
    write_table(config(sweep, tmp_path), runs, tmp_path / "tables" / "t" / "smoke")
    assert sentence in (tmp_path / "tables" / "t" / "smoke" / "table.json").read_text()
