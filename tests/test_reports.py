"""Tables: medians and marks by hand; renderings that agree, survive hostile names, and need nothing remote."""

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_runs import META, SWEEP, Page, config, finetuned, pretrained, records

from roberta_lab.config import ConfigError
from roberta_lab.reports import page, provenance, render
from roberta_lab.reports.columns import published
from roberta_lab.reports.figures import Figure, Series
from roberta_lab.reports.inline_svg import inline
from roberta_lab.reports.rows import Table, table
from roberta_lab.reports.wording import warning


@pytest.fixture
def made() -> Table:
    return table(SWEEP, "smoke", records())


def test_cells_are_medians_with_spread_and_marks(made: Table) -> None:
    (static, dynamic), (squad, mnli) = made.rows, made.rows[0].cells
    assert (squad.median, squad.spread, squad.published) == (65.5, (60.0, 70.0), 78.3)
    assert squad.marks == ("stand-in: pydoc_squad2",)
    assert "at chance" in mnli.marks and mnli.published == 84.3
    assert dynamic.cells[0].median == 65.0 and "1 of 3 runs missing" in dynamic.cells[0].marks
    assert dynamic.cells[1].median is None and dynamic.cells[1].spread is None
    assert (static.perplexity.median, static.unigram_ppl, static.passes) == (500.0, 700.0, 40.0)
    assert made.num_missing == 1 + 1 + 3
    assert made.published_only == {"reference": (76.3, 84.3, None)}
    assert [(c.metric, c.majority, c.num_dev) for c in made.columns] == [("squad2_f1", 50.0, 1000), ("mnli_m_acc", 50.0, 1000)]  # fmt: skip


def test_published_figures_are_the_papers() -> None:
    assert published("table1_masking")["dynamic"] == {"squad2_f1": 78.7, "mnli_m_acc": 84.0, "sst2_acc": 92.9}
    assert published("table3_batch_size")["2k"]["ppl"] == 3.68
    with pytest.raises(ConfigError, match="Allowed: table1_masking"):
        published("table1")


def test_markdown_has_the_warning_and_both_figures_in_a_table_of_equal_columns(made: Table) -> None:
    text = render.markdown(made, META)
    assert "says nothing about the paper's claim" in text and "smoke scale" in text
    rows = [line for line in text.partition("## ")[0].splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1 and len(rows) == 2 + 2 + 1
    assert "65.5 (60.0 to 70.0, n=3) [78.3]" in text and "at chance" in text and "[p-static-1](../../pretrain/p-static-1)" in text  # fmt: skip


def test_csv_reads_back(made: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(render.csv_text(made))))
    assert [(r["row"], r["column"]) for r in rows] == [(a, b) for a in ("static", "dynamic") for b in ("squad2", "mnli", "held_out")]  # fmt: skip
    assert (rows[0]["median"], rows[0]["n"], rows[0]["published"], rows[0]["runs"].split()[0]) == ("65.5", "3", "78.3", "f-static-squad2-1")  # fmt: skip
    assert rows[5]["median"] == "" and rows[5]["expected"] == "1"


CURVE = Figure("curve", "Curve", "x", "y", (Series("a", ((1.0, 2.0), (2.0, 3.0))),))


def test_the_page_is_one_file_and_runs_its_own_script_alone(made: Table) -> None:
    text = page.html(made, [inline(CURVE)], META)
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
    for said in ("Mind the <style>.", "65.5", "78.3", "at chance", "1 of 3 runs missing", "published only", "commit abc"):  # fmt: skip
        assert said in shown.text


def test_at_paper_scale_there_is_no_warning(made: Table) -> None:
    assert warning(replace(made, scale="paper")) is None


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a|b\n| c", "`x` & \"y\" 'z'", "$\\frac{1}$"])
def test_hostile_names_are_shown_as_they_are(hostile: str) -> None:
    sweep = replace(SWEEP, title=hostile, question=hostile, rows={hostile: []})
    found = [replace(record, row=hostile) for record in records()[:8] if record.row == "static"]
    made = table(sweep, "smoke", found)
    drawn = inline(Figure("a", hostile, hostile, hostile, (Series(hostile, ((1.0, 1.0),)),), note=hostile))
    shown = Page(page.html(made, [drawn], {hostile: hostile}, command=hostile))
    assert shown.tags.count("script") == 1 and hostile in shown.text
    main = render.markdown(made, {hostile: hostile}).partition("\n## ")[0]
    lines = [line for line in main.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<script" not in render.markdown(made, {hostile: hostile})
    assert next(csv.DictReader(io.StringIO(render.csv_text(made))))["row"] == hostile


def test_a_score_that_is_no_number_is_shown_as_such() -> None:
    found = [pretrained("static", 1.0), finetuned("static", "squad2", 1, float("nan"), diverged=True)]
    made = table(SWEEP, "smoke", found)
    assert "nan" in render.markdown(made, {}) and "1 diverged" in page.html(made, [], {})


def test_an_empty_sweep_still_renders(tmp_path: Path) -> None:
    made = table(SWEEP, "smoke", [replace(r, result=None) for r in records()])
    assert "14 runs are missing" in Page(page.html(made, [], {})).text
    assert "not pretrained yet" in render.markdown(made, {})


def scores(*values: float | None, **more: Any) -> Table:
    runs = [finetuned("static", "squad2", s, 0.0, **more) for s in range(len(values))]
    return table(SWEEP, "smoke", [replace(r, result={**(r.result or {}), "score": v}) for r, v in zip(runs, values, strict=True)])  # fmt: skip


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
    text = render.markdown(table(replace(SWEEP, rows={hostile: []}), "smoke", found), {hostile: hostile})
    assert not re.search(r"(?<!\\)\]\((javascript|http)", text) and not re.search(r"(?<!\\)\*b", text)
    assert "&lt;script" not in text.replace("&amp;lt;", ""), "an entity in a name is text, not a tag"
    assert r"[a\]b](../my%20runs%20%282%29/x)" in text


def test_each_row_stands_beside_its_own_unigram_model(made: Table) -> None:
    other = replace(made.rows[1], unigram_ppl=321.5)
    text = Page(page.html(replace(made, rows=(made.rows[0], other)), [], META)).text
    assert "unigram 700.0" in text and "unigram 321.5" in text


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
    found = [replace(done, directory="run", result={**(done.result or {}), "seconds": 3.0})]
    meta = provenance(config(SWEEP, tmp_path), found, tmp_path)
    assert meta["code"] == "commit aaa with uncommitted changes; commit bbb"
    assert meta["date"] == "2026-01-02 to 2026-01-04" and meta["data"] == "pydoc (corpus c, tokens t)"
