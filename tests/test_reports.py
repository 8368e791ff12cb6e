"""Tables: medians and marks by hand; three renderings that agree, survive hostile names, and need nothing remote."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from roberta_lab.config import Config, ConfigError, DataMixConfig, ScaleConfig, SourceConfig, SweepConfig
from roberta_lab.reports import provenance, render
from roberta_lab.reports.figures import curves
from roberta_lab.reports.rows import Record, Table, published, table

SWEEP = SweepConfig(
    name="table1_masking",
    title="Table 1",
    question="Which?",
    rows={"static": ["masking=static"], "dynamic": ["masking=dynamic"]},
    tasks=["squad2", "mnli"],
    finetune_seeds=[1, 2, 3],
    published="table1_masking",
)
META = {"data": "pydoc", "code": "commit abc"}


def pretrained(row: str, ppl: float | None, seed: int = 1) -> Record:
    result = {"val/ppl": ppl, "unigram_ppl": 700.0, "tokens_seen": 2000000, "epochs": 40.0, "steps": 2000}
    return Record("pretrain", row, seed, None, None, f"p-{row}-{seed}", f"../../pretrain/p-{row}-{seed}", result if ppl else None)  # fmt: skip


def finetuned(row: str, task: str, seed: int, score: float | None, **more: Any) -> Record:
    result = {"score": score, "majority": 50.0, "task": f"pydoc_{task}", "num_dev": 1000, "at_chance": False, "diverged": False, "caution": "Mind the <style>.", **more}  # fmt: skip
    return Record("finetune", row, 1, task, seed, f"f-{row}-{task}-{seed}", "../../finetune/x", result if score is not None else None)  # fmt: skip


def records() -> list[Record]:
    return [
        pretrained("static", 500.0),
        pretrained("dynamic", None),
        *(finetuned("static", "squad2", s, v) for s, v in ((1, 70.0), (2, 60.0), (3, 65.5))),
        *(finetuned("static", "mnli", s, 51.0, at_chance=True) for s in (1, 2, 3)),
        *(finetuned("dynamic", "squad2", s, v) for s, v in ((1, 70.0), (2, None), (3, 60.0))),
        *(finetuned("dynamic", "mnli", s, None) for s in (1, 2, 3)),
    ]


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
    assert made.published_only == {"reference": (76.3, 84.3)}
    assert [(c.metric, c.majority, c.num_dev) for c in made.columns] == [("squad2_f1", 50.0, 1000), ("mnli_m_acc", 50.0, 1000)]  # fmt: skip


def test_published_figures_are_the_papers() -> None:
    assert published("table1_masking")["dynamic"] == {"squad2_f1": 78.7, "mnli_m_acc": 84.0, "sst2_acc": 92.9}
    assert published("table3_batch_size")["2k"]["ppl"] == 3.68
    with pytest.raises(ConfigError, match="Allowed: table1_masking"):
        published("table1")


def test_markdown_has_the_warning_and_both_figures_in_a_table_of_equal_columns(made: Table) -> None:
    text = render.markdown(made, META)
    assert "says nothing about the paper's claim" in text and "smoke scale" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1 and len(rows) == 2 + 2 + 1
    assert "65.5 (60.0 to 70.0, n=3) [78.3]" in text and "at chance" in text and "[p-static-1](../../pretrain/p-static-1)" in text  # fmt: skip


def test_csv_reads_back(made: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(render.csv_text(made))))
    assert [(r["row"], r["column"]) for r in rows] == [(a, b) for a in ("static", "dynamic") for b in ("squad2", "mnli", "held_out")]  # fmt: skip
    assert (rows[0]["median"], rows[0]["n"], rows[0]["published"], rows[0]["runs"].split()[0]) == ("65.5", "3", "78.3", "f-static-squad2-1")  # fmt: skip
    assert rows[5]["median"] == "" and rows[5]["expected"] == "1"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_without_scripts_or_remote_parts(made: Table) -> None:
    text = render.html(made, {"Curve": curves({"a": [(1, 2), (2, 3)]}, "Curve", "x", "y")}, META)
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags and "svg" in page.tags
    policy = next(v for k, v in page.attributes if k == "content" and "default-src" in (v or ""))
    assert "default-src 'none'" in policy and "script" not in policy
    remote = [
        v for k, v in page.attributes if k in ("src", "href", "xlink:href") and v and v.startswith(("http", "//"))
    ]
    assert not remote and "url(http" not in text and "@import" not in text
    assert "says nothing about the paper's claim" in page.text.split("Row")[0], "the warning comes first"
    for shown in (
        "Mind the <style>.",
        "65.5",
        "78.3",
        "at chance",
        "1 of 3 runs missing",
        "published only",
        "commit abc",
    ):
        assert shown in page.text


def test_at_paper_scale_there_is_no_warning(made: Table) -> None:
    assert render.warning(replace(made, scale="paper")) is None


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "a|b\n| c", "`x` & \"y\" 'z'", "$\\frac{1}$"])
def test_hostile_names_are_shown_as_they_are(hostile: str) -> None:
    sweep = replace(SWEEP, title=hostile, question=hostile, rows={hostile: []})
    found = [replace(record, row=hostile) for record in records()[:8] if record.row == "static"]
    made = table(sweep, "smoke", found)
    page = Page(render.html(made, {hostile: curves({hostile: [(1, 1)]}, hostile, hostile, "y")}, {hostile: hostile}))
    assert "script" not in page.tags and hostile in page.text
    lines = [line for line in render.markdown(made, {hostile: hostile}).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "<script" not in render.markdown(made, {hostile: hostile})
    assert next(csv.DictReader(io.StringIO(render.csv_text(made))))["row"] == hostile


def test_a_score_that_is_no_number_is_shown_as_such() -> None:
    found = [pretrained("static", 1.0), finetuned("static", "squad2", 1, float("nan"), diverged=True)]
    made = table(SWEEP, "smoke", found)
    assert "nan" in render.markdown(made, {}) and "1 diverged" in render.html(made, {}, {})


def test_figures_are_well_formed_deterministic_and_apart() -> None:
    series = {"static": [(1.0, 5.0), (2.0, 4.0)], "dynamic": [(1.0, 5.0), (2.0, 3.0)]}
    one = curves(series, "Curve", "tokens seen", "ppl", ("unigram", 7.0))
    assert one == curves(series, "Curve", "tokens seen", "ppl", ("unigram", 7.0))
    root = ElementTree.fromstring(one)
    texts = "".join(root.itertext())
    assert all(name in texts for name in ("static", "dynamic", "unigram", "tokens seen", "Curve"))
    other = curves(series, "Other", "tokens seen", "ppl")
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', one)) <= ids[0]


def test_an_empty_sweep_still_renders(tmp_path: Path) -> None:
    made = table(SWEEP, "smoke", [replace(r, result=None) for r in records()])
    assert "14 runs are missing" in Page(render.html(made, {}, {})).text
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
    text = Page(render.html(replace(made, rows=(made.rows[0], other)), {}, META)).text
    assert "unigram 700.0" in text and "unigram 321.5" in text


@pytest.mark.parametrize("name", ["_hidden", "\N{CJK UNIFIED IDEOGRAPH-65E5}", "a\x0bb", "--><b>", "$x$"])
def test_figures_name_every_line_and_leave_out_what_an_axis_cannot_hold(name: str) -> None:
    points = [(1.0, 10.0), (2.0, float("nan")), (3.0, float("inf")), (4.0, 0.0), (5.0, 1.0)]
    root = ElementTree.fromstring(curves({name: points}, "Curve", "x", "y", ("none", float("nan")), log_y=True))
    shown = "".join(root.itertext())
    assert name.replace("\x0b", "\N{REPLACEMENT CHARACTER}") in shown and "nan" not in ElementTree.tostring(root, "unicode")  # fmt: skip


def test_lines_differ_in_colour_or_style_beyond_the_sixth() -> None:
    from roberta_lab.reports.figures import COLOURS, STYLES

    pairs = {(COLOURS[n % len(COLOURS)], STYLES[n % len(STYLES)]) for n in range(12)}
    assert len(pairs) == 12


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
    config = Config(data_mix=DataMixConfig({"pydoc": SourceConfig("pydoc")}), scale=ScaleConfig(name="smoke"))
    meta = provenance(config, found, tmp_path)
    assert meta["code"] == "commit aaa with uncommitted changes; commit bbb"
    assert meta["date"] == "2026-01-02 to 2026-01-04" and meta["data"] == "pydoc (corpus c, tokens t)"
