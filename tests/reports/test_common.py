"""The common held-out text: the first column of every table and form, compared only where rows have the same text."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_runs import META, SWEEP, Page, composed, config, finetuned, pretrained, write_run

from roberta_lab.config import SweepConfig
from roberta_lab.model.metrics import COMMON_BITS, accuracy
from roberta_lab.reports import tidy
from roberta_lab.reports.figures import choice, held_out_text, pretraining, results
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.page import table_page
from roberta_lab.reports.table import latex, markdown
from roberta_lab.reports.table.alike import OTHER_TEXT
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.columns import PERPLEXITY
from roberta_lab.reports.table.files import csv_text
from roberta_lab.reports.table.notes import COMMON, LEFT_OUT, notes
from roberta_lab.reports.table.rows import Record, Table

ROWS = replace(SWEEP, tasks=[], published=None)  # static, dynamic


def measured(row: str, bits: float | None, ppl: float | None = None, text: str = "t1", **more: Any) -> Record:
    """A run of own perplexity 9; of the common text, 2^(4 * bits) unless said: tokens of four bytes."""
    ppl = 2 ** (4 * bits) if ppl is None and bits is not None else ppl
    common = {"common_bits_per_byte": bits, "common_perplexity": ppl, "common_text": text if bits is not None else ""}
    return pretrained(row, 9.0, **common, **more)


def table(*runs: Record, sweep: SweepConfig = ROWS) -> Table:
    return assemble(sweep, "smoke", runs)


def test_it_is_the_first_column_before_tasks_and_the_runs_own_figures() -> None:
    made = table(
        *(measured(row, bits) for row, bits in (("static", 1.25), ("dynamic", 1.5))),
        *(finetuned(row, "mnli", 1, 60.0, task="mnli") for row in SWEEP.rows),
        sweep=replace(SWEEP, tasks=["mnli"]),
    )
    titles = ["common bits per byte", "common perplexity", "mnli (mnli_m_acc)", "the run's own ppl"]
    assert [column.title for column in made.all_columns] == titles and COMMON in notes(made)
    assert [cell.median for cell in made.rows[1].all_cells] == [1.5, 64.0, 60.0, 9.0]
    against = made.rows[1].common[0].difference
    assert against is not None and against.seen.mean == pytest.approx(0.25) and made.all_columns[0].lower_is_better
    assert made.published_only["reference"] == (None, None, 84.3, None), "the paper's figures stay below their tasks"


def test_every_form_shows_it_first() -> None:
    made = table(measured("static", 1.25), measured("dynamic", 1.5))
    head, _, first, *_ = [line for line in markdown.document(made, META).splitlines() if line.startswith("| ")]
    assert head.startswith("| row | common bits per byte | common perplexity | the run's own ppl |")
    assert first.startswith("| static | 1.250 (n=1) | 32.0 (n=1) | 9.0 (n=1) |")
    page = Page(table_page.html(made, [], META)).text
    assert page.index("common") < page.index("the run's own") and "1.250" in page and "+0.250" in page
    assert latex.tabular(made).index("}common") < latex.tabular(made).index(" own")
    lines = [*csv.DictReader(io.StringIO(csv_text(made)))]
    assert [line["metric"] for line in lines[:3]] == ["common_bits_per_byte", "common_perplexity", "ppl"]
    assert (lines[3]["median"], lines[3]["difference"]) == ("1.5", "0.25")


def test_its_perplexity_is_shown_where_all_rows_predict_the_same_tokens() -> None:
    """Tokens of another length, in bytes, are another tokenizer's; then bits per byte compare, and perplexities do not."""
    same, other = measured("dynamic", 1.5), measured("dynamic", 1.5, ppl=70.0)
    assert len(table(measured("static", 1.25), same).common) == 2
    assert len(table(measured("static", 1.25), other).common) == 1
    assert len(table(measured("static", 1.25), measured("dynamic", None)).common) == 2, "one row is not measured yet"


def test_rows_of_another_text_are_marked_and_not_compared() -> None:
    made = table(measured("static", 1.25), measured("dynamic", 1.5, text="t2"))
    static, dynamic = made.rows
    assert OTHER_TEXT in dynamic.common[0].marks and OTHER_TEXT not in static.common[0].marks
    assert dynamic.common[0].difference is None and dynamic.perplexity.difference is not None
    assert OTHER_TEXT in markdown.document(made, META) and OTHER_TEXT in csv_text(made)
    assert not any("common" in figure.title for figure in results.seeds(made)), "no figure has both"
    turned = table(
        measured("static", 1.25), measured("dynamic", 1.5, text="t2"), sweep=replace(ROWS, reference="dynamic")
    )
    assert [OTHER_TEXT in row.common[0].marks for row in turned.rows] == [True, False]


def test_runs_of_older_code_are_not_measured() -> None:
    made = table(pretrained("static", 9.0), pretrained("dynamic", 8.0))
    assert [row.common[0].marks for row in made.rows] == [("not measured",)] * 2 and COMMON not in notes(made)
    assert [column.metric for column in made.common] == ["common_bits_per_byte"]
    for text in (markdown.document(made, META), Page(table_page.html(made, [], META)).text, latex.tabular(made)):
        assert "not measured" in text
    mixed = table(measured("static", 1.25), pretrained("static", 9.0, seed=2), pretrained("dynamic", 8.0))
    assert mixed.rows[0].common[0].marks == ("1 of 2 runs not measured",) and mixed.rows[0].common[0].median == 1.25
    broken = table(measured("static", float("nan")), measured("dynamic", 1.5))
    assert broken.rows[0].common[0].marks == ("1 of 1 runs nan",)


def test_the_frame_has_them_as_metrics(tmp_path: Path) -> None:
    runs = [replace(run, config=composed({})) for run in (measured("static", 1.25), pretrained("dynamic", 8.0))]
    frame = tidy.frame(config(ROWS, tmp_path), runs)
    values = {(line.row, line.metric): line.value for line in frame.itertuples()}
    assert (values["static", "common_bits_per_byte"], values["static", "common_perplexity"]) == (1.25, 32.0)
    assert ("dynamic", "common_bits_per_byte") not in values


def test_what_a_scale_leaves_out_has_no_column_and_is_said() -> None:
    runs = [
        measured(row, 1.25, **{"val/nsp_acc": 0.56, "declared": (PERPLEXITY, accuracy("nsp"))}) for row in ROWS.rows
    ]
    every, fewer = assemble(ROWS, "smoke", runs), assemble(ROWS, "smoke", runs, ["nsp_acc"])
    assert [column.metric for column in every.held_out] == ["ppl", "nsp_acc"]
    assert [column.metric for column in fewer.held_out] == ["ppl"] and not any(
        LEFT_OUT in note for note in notes(every)
    )
    assert f"the run's own nsp acc, %: {LEFT_OUT}" in notes(fewer)
    tasks = assemble(replace(ROWS, tasks=["squad2", "sst2"]), "smoke", [*runs, finetuned("static", "sst2", 1, 70.0)])
    assert [column.task for column in tasks.columns] == ["sst2"] and f"squad2: {LEFT_OUT}" in notes(tasks)


# ---------------------------------------------------------------- figures
def test_the_figure_by_batch_size_is_of_the_common_text_where_each_row_has_it() -> None:
    configs = {row: composed({"batch_size": {"sequences": n}}) for row, n in (("static", 256), ("dynamic", 2048))}

    def drawn(*runs: Record) -> tuple[str, list[float]]:
        figure = results.batch_size(table(*runs), configs, None)
        assert figure is not None
        return figure.y_label, [y for series in figure.series for _, y in series.points]

    one, other = measured("static", 1.25), measured("dynamic", 1.5)
    assert drawn(one, other) == ("common bits per byte", [1.25, 1.5])
    for second in (pretrained("dynamic", 9.0), measured("dynamic", 1.5, text="t2")):
        assert drawn(one, second) == ("held-out perplexity", [9.0, 9.0])


@pytest.mark.parametrize(("rows_with_it", "texts"), [(2, ("t", "t")), (1, ("t", "t")), (2, ("t", "u"))])
def test_the_curves_are_of_the_common_text_where_each_run_measured_it(
    tmp_path: Path, rows_with_it: int, texts: tuple[str, str]
) -> None:
    runs = [write_run(tmp_path, measured(row, 1.25, text=text)) for row, text in zip(SWEEP.rows, texts, strict=True)]
    folders = {run.row: tmp_path / "pretrain" / run.run_id for run in runs}
    for folder in [*folders.values()][:rows_with_it]:
        with open(folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": 11, "tokens_seen": 11000, COMMON_BITS: 1.25}) + "\n")
    first = next(pretraining.curves(table(*runs), folders, {folder: [folder] for folder in folders.values()}))
    compares = rows_with_it == 2 and len({*texts}) == 1
    own = PERPLEXITY.name.replace("ppl", "perplexity")
    assert first.slug == "perplexity" and first.y_label == ("bits per byte of the common text" if compares else own)


@pytest.mark.parametrize("repeats", [True, False])
def test_the_curve_is_the_mean_of_seeds_over_passes_with_a_mark_where_static_patterns_repeat(
    tmp_path: Path, repeats: bool
) -> None:
    found = []
    for row, values in {"static": ((2.0, 1.5), (2.2, 1.9)), "dynamic": ((2.0, 1.0),)}.items():
        for seed, bits in enumerate(values, 1):
            settings = {"masking": {"name": row, "num_patterns": 10 if repeats else 40}}
            run = write_run(tmp_path, measured(row, bits[-1], seed=seed), settings)
            rows = [
                {
                    "step": k,
                    "tokens_seen": 50 * k,
                    "epoch": 4.0 * k,
                    COMMON_BITS: b,
                    held_out_text.OWN: 100 * b,
                }
                for k, b in enumerate(bits, 1)
            ]
            (tmp_path / "pretrain" / run.run_id / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
            found.append(run)
    folder = tmp_path / "tables" / "t" / "smoke"
    folder.mkdir(parents=True)
    figures = {figure.slug: figure for figure in choice.figures(table(*found), folder)}
    own, drawn = (figures["perplexity"], figures["common"]) if repeats else (None, figures["perplexity"])
    assert own is None or [y for _, y in own.series[0].points] == pytest.approx([210.0, 170.0])
    static, dynamic = drawn.series
    assert drawn.x_label == ("passes over the data" if repeats else "tokens seen")
    assert [x for x, _ in static.points] == ([4.0, 8.0] if repeats else [50.0, 100.0])
    assert [y for _, y in static.points] == pytest.approx([2.1, 1.7]) and static.ends == ((2.0, 2.2), (1.5, 1.9))
    assert dynamic.ends == () and dynamic.points[-1][1] == 1.0
    assert [x for _, x in drawn.places] == ([10.0] if repeats else [])
    svg = inline(drawn).svg
    assert ("10 patterns repeat" in svg) is repeats and 'data-series="0"' in svg
