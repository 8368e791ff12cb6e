"""Tables: medians and marks by hand; renderings that agree, survive hostile names, and need nothing remote."""

import base64
import csv
import hashlib
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from composed_jobs import at
from report_runs import (
    META,
    SWEEP,
    Page,
    changed,
    composed,
    config,
    finetuned,
    of_own_tasks,
    pretrained,
    records,
    write_run,
)

from roberta_lab.config import ConfigError, SweepConfig
from roberta_lab.model.metrics import accuracy
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.page import table_page
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.statistics.multi_bootstrap import SeedsAndItems
from roberta_lab.reports.table import latex, markdown, wording
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.columns import PAPER, published
from roberta_lab.reports.table.comparing import with_items
from roberta_lab.reports.table.files import csv_text, write_table
from roberta_lab.reports.table.notes import (
    CHANCE,
    ENCODING,
    FOLDED,
    FRESH,
    LIMITED,
    PAIRS,
    SHARED,
    notes,
    provenance,
    recipes,
    same_tokens,
    shared_unigram,
    unlike_rows,
)
from roberta_lab.reports.table.row_facts import facts, own, shared
from roberta_lab.reports.table.rows import Cell, Record, Table, read_record
from roberta_lab.reports.table.wording import (
    LIKE,
    ONE_SETTING,
    SEARCHED,
    STAND_IN,
    UNLIKE,
    legend,
    signs,
    warning,
)
from roberta_lab.runs.jobs import Job


@pytest.fixture
def made() -> Table:
    return assemble(SWEEP, "smoke", records())


def test_cells_are_medians_with_spread_and_marks(made: Table) -> None:
    (static, dynamic), (squad, mnli) = made.rows, made.rows[0].cells
    assert (squad.median, squad.spread, squad.published) == (65.5, (60.0, 70.0), None)
    assert squad.marks == ("stand-in: pydoc_squad2",)
    assert "at chance" in mnli.marks and mnli.published is None
    assert dynamic.cells[0].median == 65.0 and "1 of 3 runs missing" in dynamic.cells[0].marks
    assert dynamic.cells[1].median is None and dynamic.cells[1].spread is None
    assert (static.perplexity.median, static.unigram_ppl, static.passes) == (500.0, 700.0, 40.0)
    assert made.num_missing == 1 + 1 + 3
    assert made.published_below == {}
    assert made.published_apart == {"reference": (76.3, 84.3), "static": (78.3, 84.3), "dynamic": (78.7, 84.0)}
    assert [(c.metric, c.majority, c.num_dev) for c in made.columns] == [("squad2_f1", 50.0, 1000), ("mnli_m_acc", 50.0, 1000)]  # fmt: skip


def test_a_row_that_starts_from_no_run_has_a_dash_and_nothing_missing() -> None:
    """It is in its place all the same, although runs of pretraining come first."""
    found = [pretrained("dynamic", 500.0), finetuned("static", "squad2", 1, 70.0), finetuned("dynamic", "squad2", 1, 7.0)]  # fmt: skip
    made = assemble(SWEEP, "smoke", found)
    assert [row.name for row in made.rows] == ["static", "dynamic"] and (made.num_runs, made.num_missing) == (3, 0)
    assert made.rows[0].perplexity.median is None and made.rows[0].perplexity.marks == ()
    [line, _] = [line for line in markdown.document(made, META).splitlines() if line.startswith("| static")]
    assert line.endswith("| \N{EN DASH} (n=0) | \N{EN DASH} |")


def test_published_values_stand_beside_scores_of_the_same_task_alone() -> None:
    """Stand-in and own task in one table: 78.3 is SQuAD's, and stands nowhere near what `pydoc_squad2` scores."""
    mixed = [*records()[:5], *of_own_tasks(records()[5:])]
    made = assemble(SWEEP, "smoke", mixed)
    squad, mnli = made.rows[0].cells
    assert (squad.published, mnli.published) == (None, 84.3)
    assert made.published_below == {"reference": (None, None, 84.3, None)}
    assert made.published_apart == {"reference": (76.3,), "static": (78.3,), "dynamic": (78.7,)}
    for text in (markdown.document(made, META), Page(table_page.html(made, [], META)).text):
        assert text.index("78.3") > text.index("Published values") > text.index("84.3")
    whole = assemble(SWEEP, "smoke", of_own_tasks(records()))
    assert whole.published_apart == {} and whole.rows[0].cells[0].published == 78.3
    assert "Published values" not in markdown.document(whole, META)


def test_published_figures_are_the_papers() -> None:
    assert published("table1_masking")["dynamic"] == {"squad2_f1": 78.7, "mnli_m_acc": 84.0, "sst2_acc": 92.9}
    assert published("table3_batch_size")["2k"]["ppl"] == 3.68
    with pytest.raises(ConfigError, match="Allowed: table1_masking"):
        published("table1")


def test_markdown_has_the_warning_and_both_figures_in_a_table_of_equal_columns(made: Table) -> None:
    text = markdown.document(made, META)
    assert "says nothing about the paper's claim" in text and "smoke scale" in text
    rows = [line for line in text.partition("## ")[0].splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1 and len(rows) == 2 + 2
    assert "65.5† (60.0 to 70.0, n=3) |" in text and "at chance" in text and "[p-static-1](../../pretrain/p-static-1)" in text  # fmt: skip


def test_csv_reads_back(made: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(made))))
    assert [(r["row"], r["column"]) for r in rows] == [(a, b) for a in ("static", "dynamic") for b in ("held_out", "squad2", "mnli", "held_out")]  # fmt: skip
    assert (rows[1]["median"], rows[1]["n"], rows[1]["published"], rows[1]["runs"].split()[0]) == ("65.5", "3", "", "f-static-squad2-1")  # fmt: skip
    assert rows[7]["median"] == "" and rows[7]["expected"] == "1"


CURVE = Figure("curve", "Curve", "x", "y", (Series("a", ((1.0, 2.0), (2.0, 3.0))),))


def test_the_page_is_one_file_and_runs_its_own_script_alone(made: Table) -> None:
    text = table_page.html(made, [inline(CURVE)], META)
    shown = Page(text)
    assert shown.tags.count("script") == shown.tags.count("style") == 1 and "link" not in shown.tags and "svg" in shown.tags  # fmt: skip
    policy = next(v for k, v in shown.attributes if k == "content" and "default-src" in (v or ""))
    for name in ("script", "style"):
        [content] = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy, name
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert not [k for k, _ in shown.attributes if k == "style" or k.startswith("on")], "the policy forbids them"
    remote = [v for k, v in shown.attributes if k in ("src", "href", "xlink:href") and v and v.startswith(("http", "//"))]  # fmt: skip
    assert not remote and "url(http" not in text and "@import" not in text
    assert "says nothing about the paper's claim" in shown.text.split("Row")[0], "the warning comes first"
    for said in ("Mind the <style>.", "65.5", "78.3", "at chance", "1 of 3 runs missing", "Published values", "commit abc"):  # fmt: skip
        assert said in shown.text


def test_at_paper_scale_there_is_no_warning(made: Table) -> None:
    assert warning(replace(made, scale="paper")) is None


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a|b\n| c", "`x` & \"y\" 'z'", "$\\frac{1}$"])
def test_hostile_names_are_shown_as_they_are(hostile: str) -> None:
    sweep = replace(SWEEP, title=hostile, question=hostile, rows={hostile: []})
    found = [replace(record, row=hostile) for record in records()[:8] if record.row == "static"]
    made = assemble(sweep, "smoke", found)
    drawn = inline(Figure("a", hostile, hostile, hostile, (Series(hostile, ((1.0, 1.0),)),), note=hostile))
    shown = Page(table_page.html(made, [drawn], {hostile: hostile}, command=hostile))
    assert shown.tags.count("script") == 1 and hostile in shown.text
    main = markdown.document(made, {hostile: hostile}).partition("\n## ")[0]
    lines = [line for line in main.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<script" not in markdown.document(made, {hostile: hostile})
    assert next(csv.DictReader(io.StringIO(csv_text(made))))["row"] == hostile


def test_a_score_that_is_no_number_is_shown_as_such() -> None:
    found = [pretrained("static", 1.0), finetuned("static", "squad2", 1, float("nan"), diverged=True)]
    made = assemble(SWEEP, "smoke", found)
    assert "nan" in markdown.document(made, {}) and "1 diverged" in table_page.html(made, [], {})


def test_a_damaged_result_costs_its_cell_and_says_how_to_mend_it(tmp_path: Path) -> None:
    """The result of one of two rows is cut short: in the table, and on the page over all runs."""
    found = [write_run(tmp_path, pretrained(row, 5.0)) for row in ("static", "dynamic")]
    path = tmp_path / "pretrain" / "p-static-1"
    (path / "result.json").write_text('{"kind": "pretrain", "run_')
    run = at(Job("pretrain", composed({}), (), "static"), path)
    found[0] = read_record(run, tmp_path / "tables" / "t" / "smoke")
    assert found[0].result is None and "delete it" in (found[0].damage or "")
    made = assemble(replace(SWEEP, tasks=[]), "smoke", found)
    assert made.rows[0].perplexity.marks == ("1 of 1 runs damaged",) and made.rows[1].perplexity.median == 5.0
    page, landing = Page(table_page.html(made, [], META)), Page(write_landing(tmp_path).read_text())
    for text in (markdown.document(made, META), page.text, landing.text):
        assert "damaged" in text and "result.json cannot be read" in text and "makes it again" in text
    assert "damaged" in latex.tabular(made) and "delete it" in latex.document(made, META)


def test_an_empty_sweep_still_renders(tmp_path: Path) -> None:
    made = assemble(SWEEP, "smoke", [replace(r, result=None) for r in records()])
    assert "14 runs are missing" in Page(table_page.html(made, [], {})).text
    assert "not pretrained yet" in markdown.document(made, {})


def scores(*values: float | None, **more: Any) -> Table:
    runs = [finetuned("static", "squad2", s, 0.0, **more) for s in range(len(values))]
    return assemble(SWEEP, "smoke", [changed(r, score=v) for r, v in zip(runs, values, strict=True)])  # fmt: skip


@pytest.mark.parametrize("broken", [float("nan"), float("-inf"), None])
def test_a_broken_score_does_not_move_the_median_wherever_it_stands(broken: float | None) -> None:
    # Sorted with the others, a NaN gives 10, 80 or NaN by its place; the median of 80 and 10 is 45.
    for order in ((broken, 80.0, 10.0), (80.0, broken, 10.0), (80.0, 10.0, broken)):
        cell = scores(*order).rows[0].cells[0]
        assert (cell.median, cell.spread, len(cell.values)) == (45.0, (10.0, 80.0), 2)
        assert "1 of 3 runs nan" in cell.marks


def test_names_begin_no_markdown_of_their_own() -> None:
    hostile = "[x](javascript:y) ![z](http://w) *b* &lt;script&gt;"
    found = [replace(pretrained("static", 5.0), row=hostile, run_id="a]b", directory="../my runs (2)/x")]
    text = markdown.document(assemble(replace(SWEEP, rows={hostile: []}), "smoke", found), {hostile: hostile})
    assert not re.search(r"(?<!\\)\]\((javascript|http)", text) and not re.search(r"(?<!\\)\*b", text)
    assert "&lt;script" not in text.replace("&amp;lt;", ""), "an entity in a name is text, not a tag"
    assert r"[a\]b](../my%20runs%20%282%29/x)" in text


def test_each_row_stands_beside_its_own_unigram_model(made: Table) -> None:
    other = replace(made.rows[1], unigram_ppl=321.5)
    text = Page(table_page.html(replace(made, rows=(made.rows[0], other)), [], META)).text
    assert "unigram 700.0" in text and "unigram 321.5" in text


def test_what_rows_settings_do_to_their_figures_is_said() -> None:
    settings: dict[str, dict[str, dict[str, Any]]] = {
        "wordpiece": {"tokenizer": {"kind": "wordpiece"}},
        "bpe": {},
        "10": {"masking": {"name": "static", "num_patterns": 10}},
        "40": {"masking": {"name": "static", "num_patterns": 40}},
    }
    found = [replace(pretrained(row, 5.0), config=composed(said)) for row, said in settings.items()]  # 40 passes each
    made = assemble(replace(SWEEP, rows={row: [] for row in settings}, tasks=[]), "smoke", found)
    assert unlike_rows(made) == [f"wordpiece: {FOLDED}", f"40: {FRESH}"]
    assert unlike_rows(replace(made, rows=made.rows[1:3])) == [] == unlike_rows(replace(made, rows=made.rows[:1])), (
        "one encoding"
    )
    longer = replace(made, rows=(replace(made.rows[3], passes=40.1),))
    assert unlike_rows(longer) == [] == unlike_rows(replace(made, rows=(replace(made.rows[3], passes=None),)))


def compared(scores: dict[str, list[float]], **sweep: Any) -> Table:
    """A table of one task: the scores of each row, one a seed of pretraining."""
    found = [replace(finetuned(row, "mnli", 1, score), seed=seed) for row, values in scores.items() for seed, score in enumerate(values, 1)]  # fmt: skip
    named = [replace(run, run_id=f"{run.run_id}-{run.seed}") for run in found]
    return assemble(replace(SWEEP, tasks=["mnli"], **sweep), "smoke", named)


def test_a_sign_stands_only_for_what_the_seeds_say() -> None:
    scores = {"static": [60.0, 62.0, 61.0], "dynamic": [65.0, 67.1, 66.2]}
    far, near = compared(scores), compared({**scores, "dynamic": [60.1, 62.0, 61.1]}, margins={"mnli": 0.5})
    unknown = compared({**scores, "dynamic": [60.1, 62.0, 61.1]})
    for made, sign, text in (
        (far, UNLIKE, "told apart"),
        (near, LIKE, "alike: no difference of 0.5 or more"),
        (unknown, "", "3 seeds: a difference below 0.2 would not be seen"),
    ):
        [found] = [cell for column, cell in made.cells(made.rows[1]) if column.task == "mnli"]
        assert signs(found, made.columns[0]) == f"{STAND_IN} {sign}".rstrip()
        assert (
            found.difference is not None
            and wording.said(found.difference) == text
            and text in markdown.document(made, META)
        )
        assert all((other in legend(made)) == (other == sign) for other in (LIKE, UNLIKE))
    [line] = [r for r in csv.DictReader(io.StringIO(csv_text(far))) if (r["row"], r["column"]) == ("dynamic", "mnli")]
    assert (line["outcome"], line["told_apart"], line["pairs"]) == ("told apart", "true", "3")
    assert float(line["p"]) == float(line["p_holm"]) < 0.01 and float(line["difference_low"]) > 4.5


def test_a_difference_that_other_items_may_undo_says_so() -> None:
    made = compared({"static": [60.0, 62.0, 61.0], "dynamic": [65.0, 67.1, 66.2]})
    [column] = made.columns
    for low, told in (
        (-1.0, "told apart on these dev items; the interval over seeds and items has 0 in it"),
        (0.5, "told apart"),
    ):
        found = with_items(made, {"dynamic": {"mnli": SeedsAndItems(5.0, low, 9.0, 1000, 3, 400)}})
        difference = found.rows[1].cells[0].difference
        assert difference is not None and wording.said(difference) == told and told in markdown.document(found, META)
        assert signs(found.rows[1].cells[0], column) == f"{STAND_IN} {UNLIKE}", "the sign is that of the seeds"


def test_an_interval_over_items_alone_is_not_beside_one_over_seeds() -> None:
    made = compared({"static": [60.0, 62.0, 61.0], "dynamic": [65.0, 67.1, 66.2]})
    found = with_items(made, {"dynamic": {"mnli": SeedsAndItems(5.0, 1.0, 9.0, 1000, 1, 400)}})
    assert found.rows[1].cells[0].difference == made.rows[1].cells[0].difference


def test_finetuning_seeds_of_one_pretraining_test_nothing() -> None:
    several = [finetuned(row, "mnli", seed, 50.0 + seed) for row in ("static", "dynamic") for seed in (1, 2, 3)]
    made = assemble(
        replace(SWEEP, tasks=["mnli"]), "smoke", [pretrained("static", 500.0), pretrained("dynamic", 9.0), *several]
    )
    assert {signs(cell, column) for column, cell in made.cells(made.rows[1])} <= {STAND_IN, ""}
    [_, score, perplexity] = [row for row in csv.DictReader(io.StringIO(csv_text(made))) if row["row"] == "dynamic"]
    assert (perplexity["difference"], perplexity["difference_low"], perplexity["p"]) == ("-491.0", "", "")
    assert (score["pairs"], score["p"], score["told_apart"]) == ("1", "", "")
    assert "one seed of pretraining: no test" in markdown.document(made, META)


def test_what_is_tested_is_corrected_together() -> None:
    """Twice as many columns, twice the p: Holm's first step. Figures of another measurement do not count."""
    scores = {"static": [60.0, 62.0, 61.0], "dynamic": [65.0, 67.1, 66.2]}
    one = compared(scores).rows[1].cells[0].difference
    found = [replace(finetuned(row, task, 1, score), seed=seed, run_id=f"{row}-{task}-{seed}") for row, values in scores.items() for task in ("squad2", "mnli") for seed, score in enumerate(values, 1)]  # fmt: skip
    both = [cell.difference for cell in assemble(SWEEP, "smoke", found).rows[1].cells]
    assert one is not None and all(two is not None and two.p_holm == pytest.approx(2 * one.p_holm) for two in both)


def test_a_table_names_the_source_of_its_published_figures(made: Table) -> None:
    longer = replace(SWEEP, published="table3_extended")
    assert "ICLR 2020" in (assemble(longer, "smoke", records()).source or "") and made.source == PAPER
    plain = assemble(replace(SWEEP, published=None), "smoke", records())
    for text in (markdown.document(plain, META), table_page.html(plain, [], META), latex.document(plain, META)):
        assert "published value" not in text and PAPER not in text
    for text in (markdown.document(made, META), table_page.html(made, [], META), latex.document(made, META)):
        assert "published values" in text and "1907.11692v1" in text


def test_marks_of_some_runs_at_chance_and_of_a_model_that_knows_no_more_than_frequencies() -> None:
    found = [pretrained("static", 700.0), pretrained("dynamic", 699.9)]
    found += [finetuned("static", "squad2", seed, 50.0, at_chance=seed == 1) for seed in (1, 2, 3)]
    found += [finetuned("dynamic", "squad2", seed, 50.0, at_chance=seed < 3) for seed in (1, 2, 3)]
    made = assemble(replace(SWEEP, tasks=["squad2"], published="table6_squad"), "smoke", found)
    marks = {(row.name, c.metric): [m for m in cell.marks if "stand-in" not in m] for row in made.rows for c, cell in made.cells(row)}  # fmt: skip
    assert marks["static", "squad2_f1"] == ["1 of 3 at chance"] and marks["dynamic", "squad2_f1"] == ["at chance"]
    assert marks["static", "squad2_em"] == ["not measured by pydoc_squad2", "1 of 3 at chance"]
    assert (marks["static", "ppl"], marks["dynamic", "ppl"]) == (["no better than the unigram model"], [])
    assert CHANCE in notes(made) and CHANCE not in notes(replace(made, rows=()))


def test_notes_of_pairs_and_of_what_is_predicted() -> None:
    def of(*results: dict[str, Any]) -> Table:
        found = [pretrained(row, **result) for row, result in zip(SWEEP.rows, results, strict=True)]
        return assemble(replace(SWEEP, tasks=[]), "smoke", found)

    bits = "val/bits_per_nonspace_byte"
    made = of({"ppl": 256.0, bits: 4.0, "val/nsp_acc": 0.5625}, {"ppl": 16.0, bits: 2.0, "unigram_ppl": 600.0})
    titles = [f"the run's own {name}" for name in ("ppl", "bits per byte", "nsp acc, %")]
    assert [column.title for column in made.held_out] == titles and PAIRS not in notes(made)
    for copies, noted in ((1, True), (10, False)):
        drawn = composed({"input_format": "segment_pair", "nsp": {"copies": copies}})
        runs = [replace(pretrained(row, 5.0), config=drawn) for row in SWEEP.rows]
        assert (PAIRS in notes(assemble(replace(SWEEP, tasks=[]), "smoke", runs))) == noted
    assert [(row.held_out[2].median, row.held_out[2].marks) for row in made.rows] == [
        (56.25, ()),
        (None, ("not measured",)),
    ]
    assert same_tokens(made) and any(text.endswith("predict the same tokens.") for text in unlike_rows(made))
    other = of({"ppl": 256.0, bits: 4.0}, {"ppl": 16.0, bits: 2.1, "unigram_ppl": 600.0})
    assert same_tokens(other) is False and any(
        text.endswith("so compare bits per byte.") for text in unlike_rows(other)
    )
    assert same_tokens(of({"ppl": 256.0, bits: 4.0}, {"ppl": 16.0})) is None


def test_an_objective_without_perplexity_is_no_broken_run() -> None:
    """In a table of its own, and beside runs that have one; a perplexity that is no number is broken."""
    declared = (accuracy("order"),)
    found = [pretrained(row, 9.0, declared=declared, **{"val/order_acc": 0.5}) for row in SWEEP.rows]
    alone = [changed(record, metrics={"val/order_acc": 0.5}) for record in found]
    for runs, perplexity in ((alone, None), ([found[0], alone[1]], 9.0)):
        made = assemble(replace(SWEEP, tasks=[]), "smoke", runs)
        assert [column.title for column in made.held_out] == ["the run's own ppl", "the run's own order acc, %"]
        first, second = (row.held_out for row in made.rows)
        assert (first[0].median, second[0].median, second[0].marks) == (perplexity, None, ("not measured",))
        assert first[1].median == second[1].median == 50.0
        assert same_tokens(made) is None and notes(made)
    broken = assemble(replace(SWEEP, tasks=[]), "smoke", [pretrained(row, math.nan) for row in SWEEP.rows])
    assert broken.rows[0].held_out[0].marks == ("1 of 1 runs nan",)


def test_text_cut_by_tokens_and_columns_of_one_stand_in_are_noted() -> None:
    settings = {row: {"tokenizer": {"kind": kind}, "data_mix": {"train_tokens": 9}} for row, kind in (("static", "wordpiece"), ("dynamic", "bytelevel_bpe"))}  # fmt: skip
    found = [replace(pretrained(row, 5.0), config=composed(said)) for row, said in settings.items()]
    found += [finetuned("static", task, 1, 50.0, task="pydoc_pair") for task in ("squad2", "mnli")]
    assert {LIMITED, SHARED} <= set(notes(assemble(SWEEP, "smoke", found)))
    plain = assemble(SWEEP, "smoke", [replace(run, config=composed({})) for run in found[:-1]])
    assert {LIMITED, SHARED}.isdisjoint(notes(plain))


def test_a_row_says_what_it_was_made_with(made: Table) -> None:
    said = facts(replace(made.rows[0], held_out=(Cell((replace(pretrained("a", 5.0), config=composed({"data_mix": {"train_tokens": 41320}})),), {}),)))  # fmt: skip
    assert said == "2,000,000 tokens seen, 40.0 passes, 2,000 steps of 256 inputs, peak rate 0.0001, 2 layers of 128, 2,048 pieces, text: 41,320 tokens of pydoc"  # fmt: skip
    published = replace(pretrained("a", 5.0), config=composed({"tokenizer": {"path": "/x/roberta.base"}}))
    assert facts(replace(made.rows[0], held_out=(Cell((published,), {}),))).endswith(
        ", tokens of roberta.base, text: pydoc"
    )
    assert facts(made.rows[0]) == "2,000,000 tokens seen, 40.0 passes, 2,000 steps"


def test_what_rows_share_is_said_once_and_of_each_row_what_differs() -> None:
    made_with = {"static": {"masking": {"name": "static"}, "batch_size": {"peak_lr": 1e-4}}, "dynamic": {"batch_size": {"peak_lr": 2e-4}}}  # fmt: skip
    found = [replace(pretrained(row, 5.0), config=composed(said)) for row, said in made_with.items()]
    made = assemble(replace(SWEEP, tasks=[]), "smoke", found)
    static, dynamic = made.rows
    assert own(static, made.rows) == "masking=static, masking.num_patterns=10, peak rate 0.0001"
    assert own(dynamic, made.rows) == "masking=dynamic, peak rate 0.0002"
    same = "2,000,000 tokens seen, 40.0 passes, 2,000 steps of 256 inputs, 2 layers of 128, 2,048 pieces, text: pydoc"
    assert shared(made.rows) == same and shared([static]) == "" and own(static, [static]) == facts(static)
    for text in (markdown.document(made, META), Page(table_page.html(made, [], META)).text):
        assert text.count("2,048 pieces") == 1 and same in text and "masking=static" in text
    assert own(static, [static, static]) == "" and "peak rate" not in shared([static, static, dynamic])
    document = latex.document(made, META)
    assert document.count("2,\\allowbreak{}048 pieces") == 1


def test_rows_that_rest_on_other_tokens_or_on_more_are_said_in_every_rendering(made: Table) -> None:
    static, dynamic = (replace(row, unigram_ppl=700.0, tokens_seen=1_000_000) for row in made.rows)
    assert unlike_rows(replace(made, rows=(static, replace(dynamic, unigram_ppl=None, tokens_seen=None)))) == []
    assert unlike_rows(replace(made, rows=(static, replace(dynamic, unigram_ppl=703.0, tokens_seen=1_009_000)))) == []
    other = replace(made, rows=(static, replace(dynamic, unigram_ppl=644.5, tokens_seen=1_250_000)))
    said = [
        "Unigram perplexities differ between rows (644.5 to 700.0): they predict other tokens (then compare bits per byte) or had other text.",
        "Rows have not seen equally many tokens: 1,000,000 to 1,250,000.",
    ]
    assert unlike_rows(other) == said
    assert shared_unigram(other) is None and shared_unigram(replace(made, rows=(static, dynamic))) == 700.0
    for text in (markdown.document(other, META), table_page.html(other, [], META), latex.document(other, META)):
        assert all(line in re.sub(r"\\allowbreak\{\}", "", text) for line in said)


def test_provenance_counts_every_attempt_and_gives_dates(tmp_path: Path) -> None:
    common = {"packages": {"torch": "2"}, "python": "3.11", "hardware": {"platform": "Linux", "cpus": 2}}
    attempts = [
        {"git": {"commit": "aaa", "dirty": True}, "start": "2026-01-02T03:04:05+0000", **common},
        {"git": {"commit": "bbb", "dirty": False}, "start": "2026-01-03T03:04:05+0000", "end": "2026-01-04T00:00:00+0000", **common},
    ]  # fmt: skip
    (tmp_path / "run").mkdir()
    said = {"data": {"corpus": "c", "tokens": "t"}, "attempts": attempts}
    (tmp_path / "run" / "provenance.json").write_text(json.dumps(said))
    done = pretrained("static", 5.0)
    assert done.result is not None
    found = [replace(done, directory="run", result=replace(done.result, seconds=3.0))]
    meta = provenance(config(SWEEP, tmp_path), found, tmp_path)
    assert meta["code"] == "commit aaa with uncommitted changes; commit bbb"
    assert meta["date"] == "2026-01-02 to 2026-01-04" and meta["data"] == "pydoc (corpus c, tokens t)"


# ---------------------------------------------------------------- several figures of a task, held-out columns, grids
def test_a_task_has_a_column_for_each_figure_that_the_paper_gives() -> None:
    """Table 5's MNLI-m and -mm, Table 6's EM and F1, Table 7's middle and high: each from its place in result.json."""
    results = {
        "mnli": {"score": 86.0, "metrics": {"accuracy": 86.0}, "others": {"dev_mm": {"accuracy": 87.0}}},
        "squad2": {"score": 80.0, "metric": "f1", "metrics": {"f1": 80.0, "em": 77.0}},
        "race": {"score": 70.0, "metrics": {"accuracy": 70.0, "accuracy_middle": 75.0, "accuracy_high": 68.0}},
    }
    keys = {"mnli": "table5_glue_dev", "squad2": "table6_squad", "race": "table7_race"}
    found = {}
    for task, result in results.items():
        sweep = replace(SWEEP, rows={"roberta": []}, tasks=[task], published=keys[task])
        run = finetuned("roberta", task, 1, 0.0, **{"task": task, "metric": "accuracy", **result})
        made = assemble(sweep, "paper", [run])
        found |= {c.metric: (cell.median, cell.published) for c, cell in zip(made.columns, made.rows[0].cells, strict=True)}  # fmt: skip
    assert found == {
        "mnli_m_acc": (86.0, 90.2),
        "mnli_mm_acc": (87.0, 90.2),
        "squad2_em": (77.0, 86.5),
        "squad2_f1": (80.0, 89.4),
        "race_acc": (70.0, 83.2),
        "race_middle_acc": (75.0, 86.5),
        "race_high_acc": (68.0, 81.3),
    }


def test_what_a_stand_in_does_not_measure_is_said_and_not_shown_as_broken() -> None:
    sweep = replace(SWEEP, rows={"roberta": []}, tasks=["race"], published="table7_race")
    run = finetuned("roberta", "race", 1, 40.0, metrics={"accuracy": 40.0})
    made = assemble(sweep, "smoke", [changed(run, task="pydoc_choice")])
    whole, middle, _ = made.rows[0].cells
    assert whole.median == 40.0 and middle.median is None
    assert "not measured by pydoc_choice" in middle.marks and not any("nan" in mark for mark in middle.marks)
    assert [c.majority for c in made.columns] == [50.0, None, None], "the baseline is of the score alone"


def test_another_metric_than_the_papers_is_named() -> None:
    run = finetuned("static", "squad2", 1, 61.0, task="squad2", metric="best_f1", metrics={"f1": 60.0, "best_f1": 61.0})
    made = assemble(SWEEP, "smoke", [run])
    assert (
        made.rows[0].cells[0].median == 61.0
        and "squad2 (squad2_f1), by best_f1" in markdown.document(made, {})
        and "†" not in markdown.document(made, {})
    )


def test_bits_per_byte_is_a_column_when_a_run_measured_it(made: Table) -> None:
    assert [c.metric for c in made.held_out] == ["ppl"]
    runs = [pretrained("static", 50.0, **{"val/bits_per_nonspace_byte": 1.2345}), pretrained("dynamic", 40.0)]
    made = assemble(replace(SWEEP, tasks=[]), "smoke", runs)
    assert [c.metric for c in made.held_out] == ["ppl", "bits_per_byte"]
    assert "| 1.234 (n=1) |" in markdown.document(made, {}) or "| 1.235 (n=1) |" in markdown.document(made, {})
    assert "not measured" in made.rows[1].held_out[1].marks, "a run of older code"


GRID = replace(
    SWEEP,
    name="grid",
    rows={"a": ["finetune.lr=1e-5"], "b": ["finetune.lr=2e-5", "finetune.batch=32"]},
    published=None,
)


def test_of_a_grid_the_best_median_counts() -> None:
    runs = [finetuned(row, task, seed, score) for row, task, seed, score in (
        ("a", "squad2", 1, 50.0), ("a", "squad2", 2, 60.0), ("a", "squad2", 3, 61.0),  # median 60
        ("b", "squad2", 1, 99.0), ("b", "squad2", 2, 55.0), ("b", "squad2", 3, 56.0),  # median 56, though the best run
        ("b", "mnli", 1, 40.0),
    )]  # fmt: skip
    made = assemble(GRID, "smoke", runs)
    assert [(b.column.task, b.row, b.cell.median, b.num_settings) for b in made.best] == [("squad2", "a", 60.0, 2), ("mnli", "b", 40.0, 1)]  # fmt: skip
    assert "Best setting of each task" in Page(table_page.html(made, [], {})).text
    assert "chosen on dev" in markdown.document(made, {})
    assert not assemble(SWEEP, "smoke", records()).best


def searched(row: str, task: str, scores: dict[str, list[float | None]], **more: Any) -> list[Record]:
    """Runs of a grid: the scores of each setting, one a seed."""
    found = []
    for setting, values in scores.items():
        for seed, score in enumerate(values, start=1):
            run = finetuned(row, task, seed, score, **more)
            found.append(replace(run, setting=setting, run_id=f"{run.run_id}-{setting}"))
    return found


def test_a_cell_shows_the_setting_with_the_best_median_over_seeds() -> None:
    """Not that of the best run; and for each row and task its own."""
    more = {"metric": "f1", "metrics": {"em": 7.0}}
    runs = [
        *searched("static", "squad2", {"lr=1": [50.0, 60.0, 61.0], "lr=2": [99.0, 55.0, 56.0]}, **more),
        *searched("dynamic", "squad2", {"lr=1": [40.0, 41.0, 42.0], "lr=2": [70.0, 71.0, None]}, **more),
        *searched("static", "mnli", {"lr=1": [1.0, 1.0, 1.0]}),
    ]
    made = assemble(SWEEP, "paper", runs)
    static, dynamic = (row.cells[0] for row in made.rows)
    assert (static.setting, static.median, static.values, static.num_settings) == ("lr=1", 60.0, (50.0, 60.0, 61.0), 2)
    assert (dynamic.setting, dynamic.median, len(dynamic.shown)) == ("lr=2", 70.5, 3)
    assert "1 of 6 runs missing" in dynamic.marks and made.num_missing == 1 and made.num_runs == 15
    assert dynamic.difference is not None and dynamic.difference.seen.mean == pytest.approx((70 - 50 + 71 - 60) / 2)
    assert made.rows[0].cells[1].num_settings == 1
    text = markdown.document(made, {})
    assert "(50.0 to 61.0, n=3, best of 2)" in text and SEARCHED in text and "(1.0 to 1.0, n=3)" in text
    line = next(
        line for line in csv.DictReader(csv_text(made).splitlines()) if line["row"] == "dynamic" and line["setting"]
    )
    assert (line["setting"], line["settings"], line["expected"], line["runs"].count("f-")) == ("lr=2", "2", "3", 2)


def test_the_best_of_several_settings_is_sooner_at_chance() -> None:
    """A useless run has one chance more of luck with each setting."""
    doubtful = {"share_no_better": 0.02, "majority": 50.0}
    one = assemble(SWEEP, "paper", searched("static", "squad2", {"lr=1": [51.0, 51.0]}, **doubtful))
    two = assemble(
        SWEEP, "paper", searched("static", "squad2", {"lr=1": [51.0, 51.0], "lr=2": [50.0, 50.0]}, **doubtful)
    )
    assert ["at chance" in table.rows[0].cells[0].marks for table in (one, two)] == [False, True]
    rows = [finetuned(row, "squad2", 1, score, **doubtful) for row, score in (("a", 50.0), ("b", 51.0))]
    assert "at chance" in assemble(GRID, "smoke", rows).best[0].cell.marks


def test_a_table_says_how_its_tasks_were_finetuned() -> None:
    def tuned(task: str, **settings: Any) -> Record:
        return replace(finetuned("static", task, 1, 50.0), config=composed({"finetune": settings}))

    grid = {"lr": [1e-5, 2e-5], "batch": [16]}
    runs = [tuned("squad2", recipe="BERT's", batch=48, lr=5e-5, epochs=2), tuned("mnli", grid=grid)]
    made = assemble(SWEEP, "paper", runs)
    assert recipes(made) == [
        "Finetuning of squad2: BERT's; at most 2 epochs, warmup over 6% of the steps, weight decay 0.1, dropout 0.1, beta2 0.98, "
        "batch 48, peak rate 5e-05.",
        "Finetuning of mnli: RoBERTa's; at most 10 epochs, warmup over 6% of the steps, weight decay 0.1, dropout 0.1, beta2 0.98, "
        "batch 16, peak rate 2e-05.",
    ]
    page = " ".join(Page(table_page.html(made, [], {})).text.split())
    for form in (markdown.document(made, {}), page):
        assert all(said in form for said in (*recipes(made), ONE_SETTING))
    assert "peak rate 2e{-}05" in latex.document(made, {})
    both = [replace(tuned("mnli", lr=lr, grid=grid), setting=f"lr={lr}", run_id=str(lr)) for lr in (2e-5, 1e-5)]
    made = assemble(SWEEP, "paper", both)
    assert recipes(made)[0].endswith("batch 16, peak rate 1e-05 or 2e-05.") and ONE_SETTING not in notes(made)
    assert ONE_SETTING not in notes(assemble(replace(SWEEP, published=None), "paper", runs)), "nothing to compare with"


def test_tables_1_to_3_say_that_the_papers_text_encoding_is_probably_another() -> None:
    def noted(kind: str, sweep: SweepConfig = SWEEP) -> list[str]:
        run = replace(pretrained("static", 5.0), config=composed({"tokenizer": {"kind": kind}}))
        return notes(assemble(replace(sweep, tasks=[]), "paper", [run]))

    assert ENCODING in noted("bytelevel_bpe") and ENCODING not in noted("wordpiece")
    assert ENCODING not in noted("bytelevel_bpe", replace(SWEEP, published="table4_data"))


def test_a_run_that_two_rows_share_is_counted_once_and_not_compared_with_itself() -> None:
    shared = [replace(pretrained(row, 5.0), run_id="same") for row in ("static", "dynamic")]
    made = assemble(replace(SWEEP, tasks=[]), "smoke", shared)
    assert made.num_runs == 1 and "the same runs" in markdown.document(made, {})
    missing = assemble(replace(SWEEP, tasks=[]), "smoke", [replace(r, result=None) for r in shared])
    assert missing.num_missing == 1


def test_the_reference_row_is_the_sweeps_choice() -> None:
    made = assemble(replace(SWEEP, reference="dynamic"), "smoke", records())
    assert made.reference == "dynamic"
    assert made.rows[1].cells[0].difference is None and made.rows[0].cells[0].difference is not None
    assert made.rows[0].cells[0].difference.seen.mean == pytest.approx(2.75)  # (70 - 70 + 65.5 - 60) / 2, seeds 1 and 3
    with pytest.raises(ConfigError, match="Allowed: static, dynamic"):
        assemble(replace(SWEEP, reference="nothing"), "smoke", records())


def test_all_files_are_written_and_again_the_same(tmp_path: Path) -> None:
    found = [write_run(tmp_path, pretrained(row, 5.0), {"masking": {"name": row}}) for row in ("static", "dynamic")]
    folder = tmp_path / "tables" / "t" / "smoke"
    folder.mkdir(parents=True)
    _, files = write_table(config(replace(SWEEP, tasks=[]), tmp_path), found, folder)
    forms = ["table.md", "table.csv", "table.json", "table.tex", "tabular.tex", "results.csv", "results.parquet"]
    assert [f.name for f in files] == [*forms, "index.html"]
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert drawn == {f"{name}.{kind}" for name in ("perplexity", "loss", "mask_exposure") for kind in ("svg", "png")}
    for target in re.findall(r"!\[[^]]*\]\(([^)]*)\)", files[0].read_text()):
        assert (folder / target).is_file()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_table(config(replace(SWEEP, tasks=[]), tmp_path), found, folder)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_settings_with_columns_of_their_own_are_literal_and_rows_without_them_blank(made: Table) -> None:
    text = markdown.document(replace(made, settings={"static": {"a|b": "<x>"}}), META)
    rows = [
        line.split(" | ")[:2] for line in text.splitlines() if line.startswith(("| row | ", "| static", "| dynamic"))
    ]
    assert [cells[1] for cells in rows[:3]] == ["a\\|b", "&lt;x>", ""]
