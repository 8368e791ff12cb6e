"""The page of a run: what it shows is what its folder holds, and it is made again when that changes and only then."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from report_runs import HOSTILE, Page, finetuned, pretrained, write_run

from roberta_lab.reports.figures.run_curves import MOST_POINTS, curves, held_out
from roberta_lab.reports.figures.small import Axis, round_step, small, spark
from roberta_lab.reports.items import ScoredItems
from roberta_lab.reports.page import run_page
from roberta_lab.reports.page.examples import NUM_EACH, chosen, examples_of
from roberta_lab.reports.page.known import Holder, known
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.training.rows import EXAMPLES

ROWS = [
    *({"step": k, "tokens_seen": 8 * k, "lr": k / 1e4, "train/mlm_loss": 9.0 - k / 100, "train/grad_norm": 2.0} for k in range(1, 251)),
    *({"step": k, "tokens_seen": 8 * k, "val/ppl": 5000.0 / k} for k in (50, 150, 250)),
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    record = write_run(tmp_path, pretrained("static", 20.0), {"masking": {"name": "static"}})
    folder = tmp_path / "pretrain" / record.run_id
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


def test_curves_are_means_over_parts_and_know_their_ends(run: Path) -> None:
    found = {figure.slug: figure for figure in curves(run, known(run).result)}
    assert [*found] == ["val_ppl", "train_mlm_loss", "lr", "train_grad_norm"], "what everybody asks for first"
    [loss] = found["train_mlm_loss"].series
    values = [row["train/mlm_loss"] for row in ROWS[:250]]
    assert len(loss.points) == math.ceil(250 / 3) <= MOST_POINTS and loss.points[0] == (3.0, pytest.approx(np.mean(values[:3])))  # fmt: skip
    assert loss.ends[0] == (values[2], values[0]) and loss.points[-1] == (250.0, values[-1])
    ppl = found["val_ppl"]
    assert ppl.series[0].points == ((50.0, 100.0), (150.0, 5000 / 150), (250.0, 20.0)) and ppl.reference == ("unigram model", 700.0)  # fmt: skip
    assert held_out(run) == {"val/ppl": [(400.0, 100.0), (1200.0, 5000 / 150), (2000.0, 20.0)]}, "by tokens seen"


def test_what_is_no_number_is_said_and_not_drawn(run: Path) -> None:
    rows = [{"step": k, "train/mlm_loss": math.nan if k > 4 else 5.0} for k in range(1, 8)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    [figure] = curves(run, None)
    assert figure.note == "3 steps have no finite value" and len(figure.series[0].points) == 4
    (run / "metrics.jsonl").write_text('{"step": 1, "lr": 1.0}\n{"st')
    assert curves(run, None) == [] and held_out(run) == {}


def test_axes_begin_at_nought_or_say_that_they_are_cut(run: Path) -> None:
    found = {figure.slug: figure for figure in curves(run, None)}
    rate, loss = found["lr"], found["train_mlm_loss"]
    assert rate.y_range[0] == 0 and not rate.is_cut and "cut" not in rate.y_said
    assert loss.y_range[0] == 6.5 and loss.is_cut and loss.y_said == "nats per token (axis is cut)"
    for figure in (rate, loss):
        root = ElementTree.fromstring(small(figure).svg)
        cut = [element for element in root.iter() if element.get("class") == "cut"]
        said = "axis is cut" in "".join(root.itertext())
        assert bool(cut) == said == figure.is_cut
        tips = [element.get("data-tip") for element in root.iter() if element.get("data-tip")]
        assert len(tips) == len(figure.series[0].points) and "style" not in small(figure).svg


def test_axes_place_values_between_their_ends_at_round_ticks() -> None:
    line, log = Axis(0.0, 10.0, 100.0, 0.0), Axis(1.0, 100.0, 0.0, 50.0, is_log=True)
    assert [line.place(v) for v in (0, 5, 10)] == [100.0, 50.0, 0.0] and log.place(10) == pytest.approx(25.0)
    assert [round_step(width) for width in (1.0, 10.0, 35.0, 0.004)] == pytest.approx([0.5, 5.0, 10.0, 0.001])
    assert line.ticks == [0, 5, 10] and all(1 <= tick <= 100 for tick in log.ticks) and len(log.ticks) > 1
    drawn = ElementTree.fromstring(spark([(0, 3.0), (10, 1.0)], 10, (1.0, 3.0), HOSTILE))
    assert drawn.get("aria-label") == HOSTILE


# ---------------------------------------------------------------- the page
def test_it_has_curves_settings_provenance_examples_and_leads_back_to_tables(run: Path) -> None:
    attempt = {"git": {"commit": "c0ffee", "dirty": True}, "start": "2026-01-02", "hardware": {"cpus": 2}}
    (run / "provenance.json").write_text(json.dumps({"data": {}, "attempts": [attempt, {"start": "2026-01-03"}]}))
    filled = {"text": "The <mask> sat.", "word": "cat", "candidates": [["cat", 0.5], [HOSTILE, 0.25]]}
    (run / EXAMPLES).write_text(json.dumps({"fill_mask": [filled]}))
    tuned = write_run(run.parents[1], finetuned("static", "squad2", 1, 61.5), folder="child")
    assert tuned.result is not None
    (run.parents[1] / "finetune/child/result.json").write_text(json.dumps(replace(tuned.result, pretrain_run_id=run.name).to_json()))  # fmt: skip
    every = {one.run_id: one for one in (known(run), known(run.parents[1] / "finetune/child"))}
    holder = Holder("tables/t/smoke", "t", "Table 1", "smoke", frozenset({run.name}))
    page = Page(run_page.write_page(every[run.name], [holder], every).read_text())
    links = [value for name, value in page.attributes if name == "href"]
    assert "../../tables/t/smoke/index.html" in links and "../../finetune/child/index.html" in links
    for said in ("static seed 1", "held-out perplexity 20.0", "Learning rate", "Gradient norm", "masking=static", "Attempt 2", "commit c0ffee with uncommitted changes", "The <mask> sat.", HOSTILE, "squad2 accuracy 61.5"):  # fmt: skip
        assert said in page.text, said
    assert page.tags.count("figure") == 4 and page.tags.count("script") == 1
    child = Page(run_page.write_page(every["child"], [], every).read_text())
    assert f"../../pretrain/{run.name}/index.html" in [value for name, value in child.attributes if name == "href"]


def test_a_page_is_made_again_when_what_it_shows_has_changed_and_only_then(run: Path) -> None:
    def write(*holders: Holder) -> bool:
        """Whether the page is another one afterwards."""
        path = run / run_page.PAGE
        before = path.read_text() if path.is_file() else ""
        (path.write_text(before.replace("</body>", "<!--kept--></body>")), os.utime(path, (1, 1))) if before else None
        run_page.write_page(known(run), holders, {})
        return "<!--kept-->" not in path.read_text()

    table = Holder("tables/t/smoke", "t", "Table 1", "smoke", frozenset({run.name}))
    other = replace(table, folder="tables/u/smoke", runs=frozenset({"another"}))
    assert write() and not write() and not write(other), "a table that does not hold the run is nothing new"
    assert write(table) and not write(table)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 251, "lr": 0.5}\n')
    assert write(table) and not write(table)
    (run / "result.json").unlink()
    assert write(table), "it is not complete any more"


def test_a_run_that_is_not_complete_or_cannot_be_read_has_a_page(tmp_path: Path) -> None:
    record = write_run(tmp_path, pretrained("dynamic", None), {"batch_size": {"steps": 2000}})
    (tmp_path / "pretrain" / record.run_id / "overrides.yaml").write_text(json.dumps(["masking=<x>"]))
    broken = tmp_path / "finetune" / "abc"
    broken.mkdir(parents=True)
    for name in ("config.yaml", "overrides.yaml", "result.json", "metrics.jsonl", "provenance.json", EXAMPLES):
        (broken / name).write_text("{: [")
    write_landing(tmp_path)
    page = Page((tmp_path / "pretrain" / record.run_id / "index.html").read_text())
    assert "interrupted" in page.text and "step 10 of 2,000" in page.text and "roberta-lab pretrain 'masking=<x>'" in page.text  # fmt: skip
    assert "cannot be read" in Page((broken / "index.html").read_text()).text


# ---------------------------------------------------------------- examples
def test_examples_are_right_and_wrong_items_spread_over_dev(tmp_path: Path) -> None:
    right = np.arange(100) % 4 == 0
    items = ScoredItems(
        ids=tuple(f"i{n}" for n in range(100)),
        table=right.astype(float),
        score=lambda table: float(table.mean()),
        right=right,
        predictions=[0] * 100,
        said_of=lambda i: f"said {i}",
        gold_of=lambda i: f"gold {i}",
        texts_of=lambda i: {"text": "long " * 400 if i == 0 else f"text {i}"},
    )
    found = chosen(items, right)
    assert found["counts"] == {"wrong": 75, "right": 25}
    for name, is_right in (("wrong", False), ("right", True)):
        numbers = [int(item["id"][1:]) for item in found[name]]  # type: ignore[union-attr,index,call-overload]
        assert len(numbers) == NUM_EACH and all(right[n] == is_right for n in numbers)
        assert numbers[0] < 5 and numbers[-1] > 94 and numbers == sorted(set(numbers))
    assert len(found["right"][0]["texts"]["text"]) < 1000  # type: ignore[index,call-overload]
    assert chosen(items, np.ones(100, bool))["wrong"] == []


def test_without_examples_the_page_says_why(tmp_path: Path) -> None:
    record = write_run(tmp_path, pretrained("static", 20.0))
    folder = tmp_path / "pretrain" / record.run_id
    assert "older code" in examples_of(folder, known(folder).result)[1]
    tuned = write_run(tmp_path, finetuned("static", "squad2", 1, 60.0), folder="f")
    found, why = examples_of(tmp_path / "finetune" / "f", tuned.result)
    assert found == {} and why and not (tmp_path / "finetune" / "f" / EXAMPLES).exists()
