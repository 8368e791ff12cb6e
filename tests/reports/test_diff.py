"""`roberta-lab diff` against a slow reading of the runs' files; sides, mistakes, pages, and the links of a table's rows."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
from diff_runs import HOSTILE, ITEMS, LABELS, OVERRIDES, PARTED, STEPS
from report_runs import Page, finetuned, pretrained
from scipy import stats

from roberta_lab.cli import diff as command
from roberta_lab.cli import main
from roberta_lab.config import ConfigError, DiffConfig
from roberta_lab.reports.diff.compare import OTHER_TEXT, compare
from roberta_lab.reports.diff.sides import Member, Side, sides
from roberta_lab.runs import composition
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.names import slug
from roberta_lab.runs.outside import open_places
from roberta_lab.runs.overrides import parse

SWEEP = ["sweep=own", *OVERRIDES[1:]]
SEEDS, TUNINGS = (1, 2), (1, 2)


@pytest.fixture(autouse=True)
def inside(lab: tuple[Path, list[Job]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab[0])
    open_places(OVERRIDES)


def run_of(lab: tuple[Path, list[Job]], row: str, seed: int, tuning: int | None = None) -> Path:
    [found] = [job.path for job in lab[1] if (job.row, job.seed, job.finetune_seed) == (row, seed, tuning)]
    return found


def job_of(a: str, b: str, *words: str) -> Job:
    """The job that the command line makes of both words, without composing once more what tests share."""
    overrides = parse(words)
    with composition.composing():
        config = composition.composed(overrides)
    return Job("diff", replace(config, diff=DiffConfig(a, b, output="out")), overrides)


def diff(a: str, b: str, *words: str) -> dict[str, Any]:
    command.main(job_of(a, b, *words))
    return json.loads(Path("out/diff.json").read_text())


@pytest.fixture(scope="module")
def rows(lab: tuple[Path, list[Job]]) -> dict[str, Any]:
    """What the command line says of both rows, with every item."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(lab[0])
        assert main.main(["diff", "static", "dynamic", *OVERRIDES, "diff.items=1000", "diff.output=rows"]) == 0
        open_places(OVERRIDES)
        return json.loads(Path("rows/diff.json").read_text())


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


# ---------------------------------------------------------------- against the files
def test_settings_and_circumstance_that_differ(rows: dict[str, Any]) -> None:
    science = {s["key"]: (s["a"], s["b"]) for s in rows["science"]}
    assert science == {"masking.name": ("static", "dynamic"), "masking.num_patterns": (10, None)}
    cut = ("micro-batches of 16", "micro-batches of 8")
    circumstance = {s["key"]: (s["a"], s["b"]) for s in rows["circumstance"]}
    assert circumstance == {"cut": cut, "code": ("1" * 12, "2" * 12)}


def test_where_losses_part(lab: tuple[Path, list[Job]], rows: dict[str, Any]) -> None:
    parted = {loss["pair"]: loss for loss in rows["losses"]}
    for seed in SEEDS:
        a, b = (
            {
                r["step"]: r["train/mlm_loss"]
                for r in lines(run_of(lab, row, seed) / "metrics.jsonl")
                if "val/ppl" not in r
            }
            for row in ("static", "dynamic")
        )
        both = [step for step in range(1, STEPS + 1) if step in a and step in b]
        first = min(step for step in both if a[step] != b[step])
        found = parted[f"seed {seed}"]
        assert (found["first"], found["steps"], found["last"]) == (first, STEPS - 1, both[-1]) and first == PARTED
        assert found["there"] == b[first] - a[first] and found["end"] == b[both[-1]] - a[both[-1]]
    same = parted["seed 1, text_classification 2"]
    assert (same["first"], same["there"], same["steps"]) == (None, 0.0, 1)


def test_metrics_have_the_t_interval_over_pretraining_seeds(lab: tuple[Path, list[Job]], rows: dict[str, Any]) -> None:
    metrics = {(m["of"], m["name"]): m for m in rows["metrics"]}
    ppl = [result(run_of(lab, "dynamic", s))["val/ppl"] - result(run_of(lab, "static", s))["val/ppl"] for s in SEEDS]
    scores = {
        row: [np.mean([result(run_of(lab, row, s, t))["score"] for t in TUNINGS]) for s in SEEDS]
        for row in ("static", "dynamic")
    }
    score = np.subtract(scores["dynamic"], scores["static"])
    for key, values in ((("pretraining", "val/ppl"), ppl), (("text_classification", "score"), score)):
        found = metrics[key]
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert found["n"] == 2
        np.testing.assert_allclose([found["difference"], found["low"], found["high"]], [np.mean(values), low, high])
    assert metrics["text_classification", "score"]["a"] == pytest.approx(np.mean(scores["static"]))
    assert not {"seconds", "majority", "tokens_seen"} & {name for _, name in metrics}


def test_a_diverged_run_costs_its_own_metrics_alone(tmp_path: Path) -> None:
    """One whose figures are nan or infinite is no pair of those metrics; a metric that no pair has is left out."""

    def side(row: str, *figures: tuple[float, float]) -> Side:
        found = [pretrained(row, ppl, seed, **{"val/nsp_acc": acc}) for seed, (ppl, acc) in enumerate(figures, 1)]
        members = [
            Member("pretrain", r.seed, None, None, tmp_path / r.run_id, r.result, None) for r in found if r.result
        ]
        return Side(row, "row", tuple(members), True)

    a = side("a", (30.0, math.nan), (31.0, math.nan), (32.0, math.nan))
    b = side("b", (33.0, 0.5), (math.inf, 0.5), (36.0, 0.5))
    found = {m.name: m for m in compare(a, b, 0).metrics}
    assert "val/nsp_acc" not in found
    assert (found["val/ppl"].n, found["val/ppl"].difference) == (2, pytest.approx(3.5))


def test_figures_of_other_common_texts_are_no_metrics(tmp_path: Path) -> None:
    def side(row: str, text: str) -> Side:
        run = pretrained(row, 30.0, common_bits_per_byte=1.2, common_perplexity=20.0, common_text=text)
        assert run.result is not None
        return Side(row, "row", (Member("pretrain", 1, None, None, tmp_path / row, run.result, None),), True)

    same, other = compare(side("a", "t"), side("b", "t"), 0), compare(side("a", "t"), side("b", "u"), 0)
    names = [{metric.name for metric in found.metrics} for found in (same, other)]
    assert names[0] - names[1] == {"common_bits_per_byte", "common_perplexity"} and "val/ppl" in names[1]
    assert OTHER_TEXT in other.notes and OTHER_TEXT not in same.notes


def test_means_are_of_pretraining_seeds_as_the_difference_is(tmp_path: Path) -> None:
    """Of the first seed one run of finetuning is missing."""

    def side(row: str, scores: dict[tuple[int, int], float]) -> Side:
        members = []
        for (seed, tuning), score in scores.items():
            run = finetuned(row, "sst2", tuning, score)
            assert run.result is not None
            found = replace(run.result, pretrain_run_id=f"{row}{seed}")
            members.append(Member("finetune", seed, "sst2", tuning, tmp_path / f"{row}{seed}{tuning}", found, None))
        return Side(row, "row", tuple(members), True)

    a = side("a", {(1, 1): 60.0, (2, 1): 50.0, (2, 2): 54.0})
    b = side("b", {(1, 1): 61.0, (2, 1): 54.0, (2, 2): 58.0})
    [score] = [metric for metric in compare(a, b, 0).metrics if metric.name == "score"]
    assert (score.a, score.b, score.difference) == (56.0, 58.5, 2.5)


def test_items_that_flip(lab: tuple[Path, list[Job]], rows: dict[str, Any]) -> None:
    with open("weather/dev.csv", newline="") as file:
        items = list(csv.DictReader(file))
    said = {
        row: [[LABELS[p["prediction"]] for p in lines(run_of(lab, row, s, t) / "predictions.jsonl")] for s in SEEDS for t in TUNINGS]
        for row in ("static", "dynamic")
    }  # fmt: skip
    [found] = rows["items"]
    assert found["pairs"] == [f"seed {s}, text_classification {t}" for s in SEEDS for t in TUNINGS]
    by_direction = {flips["direction"]: flips for flips in found["flips"]}
    for direction, was_right in (("right to wrong", True), ("wrong to right", False)):
        expected, counts = {}, [0] * 4
        for i, item in enumerate(items):
            for pair in range(4):
                a, b = (said[row][pair][i] == item["label"] for row in ("static", "dynamic"))
                if a == was_right and b != was_right:
                    expected[str(i)] = expected.get(str(i), 0) + 1
                    counts[pair] += 1
        flips = by_direction[direction]
        assert {flip["id"]: flip["times"] for flip in flips["items"]} == expected and flips["counts"] == counts
        times = [flip["times"] for flip in flips["items"]]
        assert times == sorted(times, reverse=True) and sum(counts) > 4
        for flip in flips["items"]:
            item = items[int(flip["id"])]
            assert flip["gold"] == item["label"] and flip["texts"] == {"text_a": item["text"]}
            most = [max(LABELS, key=[said[row][pair][int(flip["id"])] for pair in range(4)].count) for row in said]
            counts_of_a = [said["static"][pair][int(flip["id"])] for pair in range(4)].count(flip["a"])
            assert counts_of_a >= 2 and (counts_of_a == 2 or flip["a"] == most[0])
    assert by_direction["wrong to other wrong"]["items"] == [], "there are two classes"
    interval = found["interval"]
    whole = np.mean([[s == i["label"] for s, i in zip(one, items, strict=True)] for one in said["dynamic"]])
    whole -= np.mean([[s == i["label"] for s, i in zip(one, items, strict=True)] for one in said["static"]])
    assert interval["mean"] == pytest.approx(100 * whole) and interval["low"] < 100 * whole < interval["high"]
    assert (interval["num_seeds"], interval["num_items"]) == (2, ITEMS)


def test_what_both_took(rows: dict[str, Any]) -> None:
    for side in ("a", "b"):
        cost = rows[side]["cost"]
        assert (cost["pretraining_seconds"], cost["task_seconds"], cost["tokens"]) == (30.0, 10.0, 3000)
        assert cost["devices"] == ["1 x a CPU"] and cost["flops"] > 0
        assert len(rows[side]["runs"]) == 6


# ---------------------------------------------------------------- sides
def test_runs_by_path_prefix_and_overrides_are_the_same_side(lab: tuple[Path, list[Job]]) -> None:
    a, b = (run_of(lab, row, 1) for row in ("static", "dynamic"))
    by_path, by_id = diff(str(a), str(b)), diff(a.name[:9], b.name)
    assert by_path == by_id
    assert [s["key"] for s in by_path["science"]] == ["masking.name", "masking.num_patterns"]
    assert all(m["n"] == 1 and m["low"] is None for m in by_path["metrics"])
    assert any("no interval over seeds" in note for note in by_path["notes"])
    words = "model=tiny data_mix=pydoc"
    [static] = [job for job in lab[1] if job.path == a]
    own = [word for word in static.words if not word.startswith("sweep")]
    typed = diff(
        " ".join(own), " ".join(w.replace("static", "dynamic") for w in own if "num_patterns" not in w), *words.split()
    )
    assert typed["metrics"] == by_path["metrics"] and typed["losses"] == by_path["losses"]
    assert typed["a"]["runs"][0]["id"] == a.name


def test_two_finetuning_runs_have_an_interval_over_items(lab: tuple[Path, list[Job]]) -> None:
    found = diff(str(run_of(lab, "static", 1, 1)), str(run_of(lab, "dynamic", 2, 2)))
    [items] = found["items"]
    assert items["interval"]["num_seeds"] == 1 and items["interval"]["num_items"] == ITEMS
    assert [m["name"] for m in found["metrics"]] == ["score", "accuracy"]
    assert {"seed", "finetune.seed", "masking.name"} <= {s["key"] for s in found["science"]}


def test_a_run_differs_from_itself_in_nothing(lab: tuple[Path, list[Job]]) -> None:
    run = str(run_of(lab, "static", 1, 1))
    found = diff(run, run)
    assert not found["science"] and not found["circumstance"] and not found["losses"]
    assert "both sides have the same run" in " ".join(found["notes"])
    assert {m["difference"] for m in found["metrics"]} == {0.0}
    assert [flips["items"] for flips in found["items"][0]["flips"]] == [[], [], []]


def test_items_that_have_changed_cost_their_own_part(lab: tuple[Path, list[Job]], tmp_path: Path) -> None:
    """Another gold label, a prediction too few, and no file: each is said, and the rest is there."""
    a, b = run_of(lab, "static", 1, 1), run_of(lab, "dynamic", 1, 1)
    file, dev = a / "predictions.jsonl", Path("weather/dev.csv")
    predictions, items = file.read_bytes(), dev.read_bytes()
    try:
        dev.write_bytes(items.replace(b"day 1 of dev,dry", b"day 1 of dev,wet"))
        assert "have changed" in diff(str(a), str(b))["items"][0]["note"]
        dev.write_bytes(items)
        file.write_bytes(b"".join(predictions.splitlines(keepends=True)[:-1]))
        assert "does not fit the items" in diff(str(a), str(b))["items"][0]["note"]
        file.unlink()
        found = diff(str(a), str(b))
        assert "is not there" in found["items"][0]["note"] and found["items"][0]["interval"] is None
        assert found["metrics"]
    finally:
        dev.write_bytes(items)
        file.write_bytes(predictions)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["stati", "dynamic", *SWEEP], ["stati:", "'static'", "Allowed: a run's id"]),
        (["dynamic", "static"], ["dynamic:", "'table1_masking/dynamic'"]),
        (["own/stati", "own/dynamic", *SWEEP], ["stati:", "'static'", "static, dynamic, absent"]),
        (["absent", "dynamic", *SWEEP], ["none of its 6 runs is complete", "roberta-lab reproduce sweep="]),
        (["masking=statc", "masking=static"], ["masking=statc", "'static'"]),
        (["masking=static seed=77", "masking=static"], ["seed=77", "is not complete: roberta-lab pretrain"]),
        (["sweep=own", "masking=static"], ["SWEEP/ROW"]),
        (["masking='", "masking=static"], ["No closing quotation"]),
        (["fffffff", "static"], ["fffffff: no such run"]),
        (["weather", "static"], ["weather: no run"]),
        (["", "static"], ["an empty word"]),
    ],
)
def test_a_mistake_is_one_line(words: list[str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as said:
        sides(job_of(*words))
    assert "\n" not in str(said.value) and all(part in str(said.value) for part in parts), said.value


def test_a_row_may_be_named_as_an_override_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rates.yaml").write_text("rows: {seed=3: [seed=3], seed=4: [seed=4]}\ntasks: []\n")
    for words in (["seed=3", "seed=4"], ["rates/seed=3", "rates/seed=4"]):
        assert main.main(["diff", *words, f"sweep={tmp_path / 'rates.yaml'}", "paths.outputs=out"]) == 2
        assert "rates/seed=3: none of its 1 runs is complete" in capsys.readouterr().err


def test_both_words_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["static"], ["static", "--cfg"], []):
        assert main.main(["diff", *words]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and "A and B are missing" in err and "--help" in err
    assert main.main(["diff", "stati", "dynamic", *OVERRIDES]) == 2
    assert "stati: no run, row or override. Did you mean 'static'?" in capsys.readouterr().err


def test_a_row_and_a_run_do_not_compare(lab: tuple[Path, list[Job]]) -> None:
    run, tuned = str(run_of(lab, "static", 1)), str(run_of(lab, "static", 1, 1))
    with pytest.raises(ConfigError, match="Allowed: two rows, or two runs"):
        diff("static", run, *SWEEP)
    with pytest.raises(ConfigError, match="Allowed: two runs of one kind"):
        diff(run, tuned)


# ---------------------------------------------------------------- forms
def test_the_command_returns_what_it_writes_and_prints_the_text(
    rows: dict[str, Any], capsys: pytest.CaptureFixture[str], lab: tuple[Path, list[Job]]
) -> None:
    found = diff("static", "dynamic", *SWEEP)
    printed = capsys.readouterr().out
    assert Path("out/diff.txt").read_text() in printed and "next: open out/index.html" in printed
    assert found["science"] == rows["science"] and found["metrics"] == rows["metrics"]
    assert f"at step {PARTED} by" in printed


def test_hostile_text_is_text_on_the_page(rows: dict[str, Any]) -> None:
    text = Path("rows/index.html").read_text()
    page = Page(text)
    assert "<script>document" not in text and HOSTILE in page.text and page.tags.count("script") == 1
    [policy] = [value for name, value in page.attributes if name == "content" and value and "default-src" in value]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    for link in [value for name, value in page.attributes if name == "href" and value and "index" not in value]:
        assert Path("rows", link).is_file(), link


def test_folders_are_safe_names() -> None:
    assert slug("dynamic_0.4+nsp") == "dynamic_0.4+nsp"
    odd = ["masking=static seed=2", "../../x", "", "ü" * 200, "a/b", "a b", "x" * 90]
    slugs = [slug(name) for name in odd]
    assert len(set(slugs)) == len(odd) and all(s and len(s) <= 70 and "/" not in s and s[0] != "." for s in slugs)


def test_without_an_output_it_lies_among_the_outputs() -> None:
    job = job_of("static", "dynamic", *SWEEP)
    command.main(replace(job, config=replace(job.config, diff=replace(job.config.diff, output=""))))
    folder = Path("outputs/diffs/static--dynamic")
    assert sorted(path.name for path in folder.iterdir()) == ["diff.json", "diff.txt", "index.html"]
    command.main(replace(job, config=replace(job.config, diff=replace(job.config.diff, output=""))))
    assert [*folder.parent.iterdir()] == [folder], "the same runs"
    there = json.loads((folder / "diff.json").read_text())
    there["a"]["runs"][0]["id"] = "0123456789ab"  # of rows of these names at another scale
    (folder / "diff.json").write_text(json.dumps(there))
    command.main(replace(job, config=replace(job.config, diff=replace(job.config.diff, output=""))))
    assert json.loads((folder / "diff.json").read_text()) == there
    [beside] = [path for path in folder.parent.iterdir() if path != folder]
    assert beside.name.startswith("static--dynamic--") and (beside / "diff.txt").is_file()


def test_every_row_of_a_table_leads_to_its_diff(lab: tuple[Path, list[Job]]) -> None:
    assert main.main(["table", *OVERRIDES]) == 0
    folder = Path("outputs/tables/own/smoke--task.path=weather")
    assert [path.name for path in (folder / "diffs").iterdir()] == ["dynamic.html"], "absent has no runs"
    page = Page((folder / "index.html").read_text())
    assert [value for name, value in page.attributes if name == "href" and value and "diffs" in value] == ["diffs/dynamic.html"]  # fmt: skip
    assert "differs from static" in page.text and "[differs from static](diffs/dynamic.html)" in (folder / "table.md").read_text()  # fmt: skip
    own = Page((folder / "diffs" / "dynamic.html").read_text())
    links = [value for name, value in own.attributes if name == "href" and value]
    assert len(links) == 13 and all((folder / "diffs" / link).is_file() for link in links)


@pytest.mark.skipif(chromium.found() is None, reason="no Chromium here")
def test_a_phone_needs_no_sideways_scrolling(rows: dict[str, Any], tmp_path: Path) -> None:
    program = chromium.found()
    assert program is not None
    browser = chromium.Browser(program, tmp_path)
    try:
        browser.appear(width=420, dark=True)
        browser.open(Path("rows/index.html"))
        assert browser.run("document.scrollingElement.scrollWidth") <= 420 and not browser.errors
        assert browser.run("document.title") != "owned"
    finally:
        browser.close()
