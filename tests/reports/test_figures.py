"""Figures: what is drawn is what the runs have; each only when its data are there; readable by machine and by eye."""

import hashlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from report_runs import SWEEP, finetuned, of_own_tasks, pretrained, write_run

from roberta_lab.config import MaskingConfig
from roberta_lab.reports.figures.choice import figures, main_figure
from roberta_lab.reports.figures.drawing import COLOURS, STYLES, _drawn, files, style, svg_for_page
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.figures.pretraining import expected, exposure
from roberta_lab.reports.figures.results import seeds
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.rows import Record

LINES = Figure(
    "curve",
    "Curve",
    "tokens seen",
    "ppl",
    (Series("static", ((1.0, 5.0), (2.0, 4.0))), Series("dynamic", ((1.0, 5.0), (2000.0, 3.0)))),
    reference=("unigram", 7.0),
)


def test_a_figure_for_a_page_is_well_formed_the_same_again_and_its_own() -> None:
    one, other = inline(LINES).svg, inline(replace(LINES, title="Other")).svg
    assert one == inline(LINES).svg
    texts = "".join(ElementTree.fromstring(one).itertext())
    assert all(name in texts for name in ("unigram", "tokens seen", "Curve"))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', one)) <= ids[0]
    assert "style" not in one, "the page's policy allows no style but its own"
    assert "#000000" not in one and "currentColor" in one


def test_every_mark_knows_its_value_and_every_series_can_be_hidden() -> None:
    root = ElementTree.fromstring(inline(LINES).svg)
    tips = [element.get("data-tip") for element in root.iter() if element.get("data-tip")]
    assert tips == [
        "static: 5, 1 tokens seen",
        "static: 4, 2 tokens seen",
        "dynamic: 5, 1 tokens seen",
        "dynamic: 3, 2,000 tokens seen",
    ]
    assert {e.get("data-series") for e in root.iter() if e.get("data-series")} == {"0", "1"}
    assert [(key.name, key.colour) for key in inline(LINES).legend] == [("static", COLOURS[0]), ("dynamic", COLOURS[1])]


@pytest.mark.parametrize("name", ["_hidden", "\N{CJK UNIFIED IDEOGRAPH-65E5}", "a\x0bb", "--><b>", "$x$", "\udc80"])
def test_any_name_is_text_and_what_an_axis_cannot_hold_is_left_out(name: str) -> None:
    points = ((1.0, 10.0), (2.0, math.nan), (3.0, math.inf), (4.0, 0.0), (5.0, 1.0))
    figure = Figure("f", name, name, "y", (Series(name, points),), reference=(name, math.nan), log_y=True, log_x=True)
    root = ElementTree.fromstring(inline(figure).svg)
    plain = name.replace("\x0b", "\N{REPLACEMENT CHARACTER}").replace("\udc80", "\N{REPLACEMENT CHARACTER}")
    assert plain in "".join(root.itertext())
    tips = [e.get("data-tip") for e in root.iter() if e.get("data-tip")]
    assert len(tips) == 2 and all(plain in tip for tip in tips)
    assert "nan" not in ElementTree.tostring(root, "unicode")
    assert files(figure)["f.svg"]


def test_files_are_vector_and_png_on_white_and_the_same_again() -> None:
    made = files(LINES)
    assert sorted(made) == ["curve.png", "curve.svg"] and made == files(LINES)
    assert made["curve.png"].startswith(b"\x89PNG\r\n")
    texts = "".join(ElementTree.fromstring(made["curve.svg"]).itertext())
    assert all(name in texts for name in ("static", "dynamic", "Curve", "unigram")), "with a legend of its own"


def test_lines_differ_in_colour_or_style_beyond_the_sixth() -> None:
    many = replace(LINES, series=tuple(Series(str(n), ((1.0, 1.0),)) for n in range(30)))
    looks = {(style(many, n)["color"], str(style(many, n)["linestyle"])) for n in range(30)}
    assert len(looks) == 30 == len(COLOURS) * len(STYLES)


# ---------------------------------------------------------------- masks
@pytest.mark.parametrize("selection", ["exact", "bernoulli"])
def test_exposure_is_near_its_formula_and_static_stops_growing(selection: str) -> None:
    dynamic, static = MaskingConfig("dynamic", selection=selection), MaskingConfig("static", 3, selection)
    counted = exposure(dynamic, 12)
    assert counted[0] == pytest.approx(0.15, abs=0.01) and counted == sorted(counted)
    assert counted == pytest.approx(expected(dynamic, 12), abs=0.01)
    fixed = exposure(static, 12)
    assert fixed[2:] == [fixed[2]] * 10 and fixed[2] == pytest.approx(1 - 0.85**3, abs=0.01)
    assert expected(static, 5) == pytest.approx([0.15, 1 - 0.85**2, 1 - 0.85**3, 1 - 0.85**3, 1 - 0.85**3])


# ---------------------------------------------------------------- which figures a table has
def made_of(outputs: Path, rows: dict[str, dict[str, Any]], key: str | None = None, scale: str = "smoke", own_tasks: bool = False, **scores: Any) -> dict[str, Figure]:  # fmt: skip
    """The figures of a sweep whose rows are pretrained with these results and settings and score `scores` on tasks."""
    sweep = replace(SWEEP, rows={name: [] for name in rows}, tasks=list(scores), published=key)
    found: list[Record] = []
    for name, said in rows.items():
        run = pretrained(
            name, said.get("ppl", 5.0), **{k: v for k, v in said.items() if k in ("tokens_seen", "epochs")}
        )
        identity = hashlib.sha256(name.encode()).hexdigest()[:8]
        found.append(write_run(outputs, run, said.get("settings"), identity))
        for task, values in scores.items():
            if values.get(name) is not None:
                found.append(finetuned(name, task, 1, values[name]))
    found = of_own_tasks(found) if own_tasks else found
    folder = outputs / "tables" / "t" / scale
    folder.mkdir(parents=True)
    return {f.slug: f for f in figures(assemble(sweep, scale, found), folder, key)}


def test_curves_are_the_runs_metrics(tmp_path: Path) -> None:
    made = made_of(tmp_path, {"static": {}, "dynamic": {}})
    assert set(made) == {"perplexity", "loss"}
    [static, _] = made["perplexity"].series
    assert static == Series("static", ((2000.0, 450.0), (6000.0, 150.0), (10000.0, 90.0)))
    assert made["perplexity"].log_y, "450 to 90, and 700 for the unigram model"
    assert made["loss"].series[0].points[0] == (1000.0, 6.9)


def test_gradient_noise_is_the_ratio_of_means_at_the_batch_of_the_steps(tmp_path: Path) -> None:
    """A row whose means are not both positive has none; one run of two rows is one mark."""
    measured = {"small": [(2, 1.0, 30.0), (4, 3.0, 50.0)], "quiet": [(8, -1.0, 9.0)], "odd": [(8, 1.0, -9.0)]}
    found = []
    for name, steps in measured.items():
        record = write_run(tmp_path, pretrained(name, 5.0))
        noise = [{"step": k, "train/noise_batch": b, "train/noise_signal": s, "train/noise_trace": t} for k, (b, s, t) in enumerate(steps)]  # fmt: skip
        file = tmp_path / "pretrain" / record.run_id / "metrics.jsonl"
        file.write_text(file.read_text() + "".join(json.dumps(row) + "\n" for row in noise))
        found.append(record)
    found += [replace(found[0], row="again"), pretrained("small", 6.0, seed=2)]
    folder = tmp_path / "tables" / "t" / "smoke"
    folder.mkdir(parents=True)
    made = assemble(replace(SWEEP, rows={name: [] for name in (*measured, "again")}, tasks=[]), "smoke", found)
    [figure] = [figure for figure in figures(made, folder) if figure.slug == "noise_scale"]
    ours, itself = figure.series
    assert (ours.points, ours.notes) == (((3.0, 20.0),), ("small, again (one run): 20.0, 2 steps",))
    assert itself.points == ((3.0, 3.0),) and figure.note.endswith("the first pretraining seed.")
    assert files(figure) and inline(figure)


def test_rows_that_are_one_run_are_one_line(tmp_path: Path) -> None:
    record = write_run(tmp_path, pretrained("a", 5.0))
    folder = tmp_path / "tables" / "t" / "smoke"
    folder.mkdir(parents=True)
    made = assemble(replace(SWEEP, rows={"a": [], "b": []}, tasks=[]), "smoke", [record, replace(record, row="b")])
    assert [s.name for s in figures(made, folder)[0].series] == ["a, b (one run)"]


def test_without_runs_there_is_nothing_to_draw(tmp_path: Path) -> None:
    made = assemble(SWEEP, "smoke", [replace(pretrained("static", 5.0), result=None)])
    assert figures(made, tmp_path, "table1_masking") == [] and main_figure([]) is None


def test_batch_size_has_a_line_per_amount_of_text(tmp_path: Path) -> None:
    sizes = {"256": (256, 100), "2k": (2048, 102), "8k": (8192, 100), "8k_long": (8192, 400)}
    rows = {name: {"ppl": 10.0 + i, "tokens_seen": seen * 10**6, "settings": {"batch_size": {"sequences": size}}} for i, (name, (size, seen)) in enumerate(sizes.items())}  # fmt: skip
    figure = made_of(tmp_path, rows, "table3_batch_size")["batch_size"]
    assert [(s.name, s.points) for s in figure.series] == [
        ("100M tokens seen", ((256.0, 10.0), (2048.0, 11.0), (8192.0, 12.0))),
        ("400M tokens seen", ((8192.0, 13.0),)),
    ]
    paper = made_of(tmp_path / "paper", rows, "table3_batch_size", "paper")["batch_size"]
    assert paper.series[-1].published and paper.series[-1].points == ((256.0, 3.99), (2048.0, 3.68), (8192.0, 3.77))


def test_scores_by_tokens_and_by_data_when_rows_differ_in_them(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {"less": {"tokens_seen": 1000, "epochs": 10.0}, "more": {"tokens_seen": 4000, "epochs": 4.0}}  # fmt: skip
    scores = {"less": 60.0, "more": 70.0}
    one_mix = made_of(tmp_path / "one", rows, mnli=scores)
    assert "score_by_data" not in one_mix, "formats make inputs of other lengths, of the same data"
    rows["more"]["settings"] = {"data_mix": {"train_tokens": 1000}}
    made = made_of(tmp_path, rows, mnli=scores, qnli=scores, sst2={"less": 50.0})
    assert [s.name for s in made["score_by_tokens"].series] == ["mnli, qnli", "sst2"], "what is the same is drawn once"
    assert made["score_by_tokens"].series[0].points == ((1000.0, 60.0), (4000.0, 70.0))
    assert made["score_by_data"].series[0].points == ((100.0, 60.0), (1000.0, 70.0))
    assert made["score_by_data"].series[0].notes == ("less: 60.0", "more: 70.0")
    alike = {"less": {"tokens_seen": 1000, "epochs": 10.0}, "more": {"tokens_seen": 1001, "epochs": 10.0}}
    assert not {"score_by_tokens", "score_by_data"} & set(
        made_of(tmp_path / "b", alike, mnli={"less": 60.0, "more": 70.0})
    )


def test_every_run_of_a_row_is_a_point_and_the_median_is_drawn() -> None:
    scores = {"static": [50.0, 61.5, 53.0], "dynamic": [70.0]}
    runs = [finetuned(row, task, seed, score, majority=40.0) for row, own in scores.items() for task in ("mnli", "qnli") for seed, score in enumerate(own, 1)]  # fmt: skip
    made = assemble(replace(SWEEP, tasks=["mnli", "qnli"], published=None), "smoke", runs)
    [figure] = [*seeds(made)]
    [series] = figure.series
    assert [(round(x), y) for x, y in series.points] == [(0, 50.0), (0, 61.5), (0, 53.0), (1, 70.0)]
    assert len({x for x, _ in series.points}) == 4 and figure.categories == ("static", "dynamic")
    assert series.notes[1] == "seed 1, finetuned with 2: 61.5" and figure.reference == ("constant prediction", 40.0)
    assert "stands in for mnli" in figure.note and figure.is_cut and "axis is cut" in svg_for_page(figure)
    root = ElementTree.fromstring(inline(figure).svg)
    assert [e.get("data-tip") for e in root.iter() if e.get("data-tip")][
        3
    ] == "run: seed 1, finetuned with 1: 70, dynamic"
    assert inline(figure).legend == ()
    one = assemble(replace(SWEEP, tasks=["mnli"], published=None), "smoke", runs[:1])
    assert not [*seeds(one)], "one run is no figure"


@pytest.mark.parametrize(("values", "bottom"), [((100.0, 20.0), 0.0), ((100.0, 90.0), None), ((5.0, -3.0), None)])
def test_the_y_axis_begins_at_nought_or_is_marked_as_cut(values: tuple[float, ...], bottom: float | None) -> None:
    figure = replace(LINES, series=(Series("a", tuple(enumerate(values, 1))),), reference=None)
    with _drawn(figure, legend=False) as canvas:
        [axes] = canvas.axes
        low = axes.get_ylim()[0]
        assert (low == 0) == (bottom == 0) and axes.get_xlim()[0] == 0
        assert ("cut" in axes.get_ylabel()) == (low > 0) == figure.is_cut


def test_marks_nearly_at_one_place_are_named_there_once(tmp_path: Path) -> None:
    seen = {"256": 1_631_971, "8k": 1_618_949, "8k_long": 6_527_715}
    made = made_of(
        tmp_path,
        {name: {"tokens_seen": n} for name, n in seen.items()},
        mnli={**dict.fromkeys(seen, 60.0), "256": 59.0},
    )
    svg = svg_for_page(made["score_by_tokens"])
    assert re.findall(r">([\d.]+M)</text>", svg) == ["1.62M", "6.53M"]
    heights = [re.findall(rf'translate\([\d.]+ ([\d.]+)\)">{name}</text>', svg) for name in ("8k", "256")]
    assert float(heights[0][0]) < float(heights[1][0]) - 5, "one above the other, as their marks"
    apart = made_of(tmp_path / "b", {"a": {"tokens_seen": 1630}, "b": {"tokens_seen": 1990}, "c": {"tokens_seen": 2050}}, mnli=dict.fromkeys("abc", 6.0))  # fmt: skip
    assert re.findall(r">([\d.]+k)</text>", svg_for_page(apart["score_by_tokens"])) == ["1.63k", "1.99k", "2.05k"]
    assert made["score_by_tokens"].series[0].points[0][0] == 1_618_949.0, "the marks stay where they are"


def test_a_waterfall_leaves_room_above_a_bar_that_falls() -> None:
    falls = Figure("recipe", "Steps", "", "points", (Series("ours", ((0.0, 0.0), (1.0, 2.0), (2.0, 0.5)), ("78", "+2", "-1.5")),), "steps", ("a", "b", "c"))  # fmt: skip
    with _drawn(falls, legend=True) as canvas:
        low, high = canvas.axes[0].get_ylim()
        assert low == 0.0 and high > 2.2


def test_masks_are_shown_where_rows_mask_differently(tmp_path: Path) -> None:
    rows = {name: {"settings": {"masking": {"name": name, "num_patterns": 4}}, "epochs": 9.0} for name in ("static", "dynamic")}  # fmt: skip
    figure = made_of(tmp_path, rows)["mask_exposure"]
    assert [s.name for s in figure.series] == ["static", "dynamic", "static, formula", "dynamic, formula"]
    assert len(figure.series[0].points) == 9 and figure.series[0].points[3:][0][1] == figure.series[0].points[-1][1]
    same = {name: {"settings": {"masking": {"name": "dynamic", "num_patterns": n}}} for n, name in enumerate("ab")}
    assert "mask_exposure" not in made_of(tmp_path / "b", same), "dynamic masking reads no number of patterns"


TABLE4 = ("books_wiki_100k", "all_100k", "all_300k", "all_500k")


def test_the_recipe_is_ours_when_all_of_it_is_there_and_else_the_papers_and_says_so(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {name: {} for name in TABLE4}
    ours = made_of(tmp_path, rows, "table4_data", mnli=dict(zip(TABLE4, (50.0, 53.0, 52.0, 60.0), strict=True)))
    figure = ours["recipe"]
    assert figure.series[0].points == ((0.0, 0.0), (1.0, 3.0), (2.0, 2.0), (3.0, 10.0)) and not figure.series[0].published  # fmt: skip
    assert [note.partition(":")[0] for note in figure.series[0].notes] == ["50.0", "+3.0", "\N{MINUS SIGN}1.0", "+8.0"]
    assert "by pydoc_mnli" in figure.note
    paper = made_of(tmp_path / "b", rows, "table4_data", mnli={"all_100k": 50.0})["recipe"]
    assert paper.series[0].published and "PUBLISHED" in paper.note and "published" in paper.title
    assert [round(y, 1) for _, y in paper.series[0].points] == [0.0, 2.4, 2.7, 3.4, 3.6], "86.6, 89.0, 89.3, 90.0, 90.2"
    root = ElementTree.fromstring(inline(paper).svg)
    assert [e.get("data-tip") for e in root.iter() if e.get("data-tip")][1] == "published: +2.4: 89.0 in all, books_wiki_100k"  # fmt: skip


def test_glue_bars_stand_beside_the_published_ones(tmp_path: Path) -> None:
    tasks = {task: {"roberta": 60.0 + i} for i, task in enumerate(("mnli", "qnli", "rte", "sst2"))}
    figure = made_of(tmp_path, {"roberta": {}}, "table5_glue_dev", own_tasks=True, **tasks)["glue"]
    assert figure.categories == ("mnli_m_acc", "mnli_mm_acc", "qnli_acc", "rte_acc", "sst2_acc")
    assert [s.name for s in figure.series] == ["roberta", *(f"{n} (published)" for n in ("bert_large", "xlnet_large", "roberta"))]  # fmt: skip
    assert figure.series[0].points == ((0.0, 60.0), (2.0, 61.0), (3.0, 62.0), (4.0, 63.0)), "no bar where nothing was measured"  # fmt: skip
    assert figure.series[1].points == ((0.0, 86.6), (2.0, 92.3), (3.0, 70.4), (4.0, 93.2))
    stood_in = made_of(tmp_path / "b", {"roberta": {}}, "table5_glue_dev", **tasks)["glue"]
    assert "not GLUE" in stood_in.note and [s.name for s in stood_in.series] == ["roberta"], (
        "no published bar beside those"
    )
    root = ElementTree.fromstring(inline(figure).svg)
    assert len([e for e in root.iter() if e.get("data-tip")]) == 4 + 4 + 4 + 5
    assert main_figure([figure, LINES]) is figure
