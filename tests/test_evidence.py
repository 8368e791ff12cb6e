"""The committed evidence: kept runs are whole and have the ids of their settings; tables and text say what these runs found."""

import csv
import json
import math
from itertools import combinations
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pytest
import yaml
from scipy.stats import t

from roberta_lab.runs import composition, identity, results
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register
from roberta_lab.runs.tracking import read

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
MINUS = "\N{MINUS SIGN}"
RUNS = sorted(path.parent for path in EVIDENCE.glob("runs/*/*/result.json"))
TABLES = sorted(path.parent for path in EVIDENCE.glob("runs/tables/*/*/table.json"))


def found_by(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.parent.name}-{run.name}")
def test_a_kept_run_is_whole_and_its_last_row_is_its_result(run: Path) -> None:
    result = results.read(run)
    assert result is not None and result.run_id == run.name
    whole = json.loads((run / "whole.json").read_text())
    assert len(whole["metrics.jsonl"]["sha256"]) == 64
    if run.parent.name == "pretrain":
        rows, found = read(run / "metrics.jsonl"), found_by(run)
        held_out = [row for row in rows if "val/ppl" in row]
        assert rows[-1]["step"] == found["steps"] and len(held_out) >= 10
        assert held_out[-1]["val/common_bits_per_byte"] == found["common_bits_per_byte"]
        assert {row["step"] for row in rows} >= {*range(50, found["steps"], 50)}


@pytest.mark.parametrize("run", [run for run in RUNS if run.parent.name == "pretrain"], ids=lambda run: run.name)
def test_its_settings_still_have_its_id(run: Path) -> None:
    register()
    with composition.composing():
        config = composition.composed(parse(yaml.safe_load((run / "overrides.yaml").read_text())))
        assert identity.directory(config, "pretrain").name == run.name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.parent.name)
def test_a_table_has_the_figures_of_its_runs(table: Path) -> None:
    with open(table / "results.csv", newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    compared = 0
    for row in rows:
        run = EVIDENCE / "runs" / row["kind"] / row["run_id"]
        found = found_by(run)
        values = {**found, **found.get("metrics", {})}
        if row["metric"] in values:
            assert float(row["value"]) == values[row["metric"]], row
            compared += 1
    assert {row["run_id"] for row in rows} <= {run.name for run in RUNS} and compared > 20


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.parent.name)
def test_its_verdicts_follow_from_the_runs_and_stand_in_the_text(table: Path) -> None:
    """Means and intervals of paired differences, computed here from the results; bits per byte are better where they are lower."""
    said = json.loads((table / "table.json").read_text())
    with open(table / "results.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "common_bits_per_byte"]
    value = {(row["row"], row["seed"]): float(row["value"]) for row in rows}
    seeds = {seed for _, seed in value}
    claims = [
        one for one in said["claims"] if one["column"] == "common_bits_per_byte" and "not asked for" not in one["text"]
    ]
    assert claims
    for claim in claims:
        gains = [value[claim["over"], seed] - value[claim["row"], seed] for seed in seeds]
        half = t.ppf(0.975, len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
        assert claim["better_by"] == pytest.approx(fmean(gains))
        assert (claim["low"], claim["high"]) == pytest.approx((fmean(gains) - half, fmean(gains) + half))
        error = stdev(gains) / math.sqrt(len(gains))
        ruled_out = -claim["margin"] if claim["direction"] == "no_worse" else 0.0  # the least that would contradict it
        p = min(1.0, 2 * t.sf((fmean(gains) - ruled_out) / error, len(gains) - 1))  # one of both sides
        assert f"p = {p:.4f}; {claim['p_holds']:.4f} after Holm" in text()
    for row in {row for row, _ in value}:
        found = [value[row, seed] for seed in sorted(seeds)]
        assert f"{median(found):.4f} ({min(found):.4f} to {max(found):.4f})" in text()
        if row != said["reference"]:
            gaps = [value[row, seed] - value[said["reference"], seed] for seed in sorted(seeds)]
            assert interval(gaps, 4) in text()
    for claim in said["claims"]:
        assert claim["text"] in text() or "not asked for" in claim["text"]


# ---------------------------------------------------------------- figures of the text that no table has
def text() -> str:
    """Return the words of all pages."""
    return " ".join(" ".join(page.read_text(encoding="utf-8").split()) for page in sorted(EVIDENCE.glob("*.md")))


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", MINUS)


def interval(values: list[float], digits: int) -> str:
    """Return the mean of paired differences with its t interval, as the text writes it."""
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    low, mean, high = (signed(fmean(values) + side * half, digits) for side in (-1, 0, 1))
    return f"{mean} ({low} to {high})"


def masking_runs(kind: str, task: str | None = None) -> dict[tuple[str, int], Path]:
    """Return the runs of Table 1 by their mask and seed, as their settings have them."""
    found = {}
    for run in RUNS:
        config = yaml.safe_load((run / "config.yaml").read_text())
        is_table_1 = config["input_format"]["name"] == "segment_pair" and config["nsp"]["mode"] == "auto"
        if run.parent.name == kind and is_table_1 and task in (None, config["task"]["name"]):
            found[config["masking"]["name"], config["seed"]] = run
    return found


def held_out(run: Path) -> list[dict[str, Any]]:
    return [row for row in read(run / "metrics.jsonl") if "val/ppl" in row]


def test_differences_by_pass_and_seed_stand_in_the_text() -> None:
    runs = masking_runs("pretrain")
    seeds = sorted({seed for _, seed in runs})
    rows = {key: held_out(run) for key, run in runs.items()}
    last, passes = rows["dynamic", 1][-1], found_by(runs["dynamic", 1])["epochs"]
    assert len(seeds) >= 3
    for place, row in enumerate(rows["dynamic", 1]):
        if last["step"] - row["step"] in range(1, 100):  # as good as the last
            continue
        gaps = [
            rows["dynamic", seed][place]["val/common_bits_per_byte"] - rows["static", seed][place]["val/common_bits_per_byte"]
            for seed in seeds
        ]  # fmt: skip
        when = "end" if row is last else f"{row['step'] / last['step'] * passes:.0f}"
        assert f"| {when} | {' | '.join(signed(gap, 4) for gap in gaps)} | {interval(gaps, 4)} |" in text()


def test_costs_stand_in_the_text() -> None:
    hours = {
        kind: sum(found_by(run)["seconds"] for run in RUNS if run.parent.name == kind) / 3600 for kind in identity.KINDS
    }
    cost = f"{len(RUNS)} runs, {sum(hours.values()):.1f} core-hours: {hours['pretrain']:.2f} for pretraining"
    assert f"{cost}, {hours['finetune']:.2f} for finetuning, {hours['evaluate']:.2f} for BLiMP" in text()


def test_the_gap_between_training_and_held_out_loss_stands_in_the_text() -> None:
    """MLM loss: the mean of the kept rows of training in the last ten passes, and of held-out inputs at the end."""
    for mask in ("static", "dynamic"):
        trained, held = [], []
        for (name, _), run in sorted(masking_runs("pretrain").items()):
            if name == mask:
                rows = read(run / "metrics.jsonl")
                late = [row for row in rows if row["step"] > rows[-1]["step"] * 3 / 4]
                trained.append(fmean(row["train/mlm_loss"] for row in late if "train/mlm_loss" in row))
                held.append(held_out(run)[-1]["val/mlm_loss"])
        gap = fmean(held) - fmean(trained)
        assert f"| {mask} | {fmean(trained):.2f} | {fmean(held):.2f} | {gap:.2f} |" in text()


@pytest.mark.parametrize(("kind", "task"), [("evaluate", "blimp"), ("finetune", "sst2"), ("finetune", "mnli")])
def test_how_much_predictions_differ_stands_in_the_text(kind: str, task: str) -> None:
    runs = masking_runs(kind, task)
    digits = {key: (run / "classes.txt").read_text().strip() for key, run in runs.items()}
    number = len(next(iter(digits.values())))

    def differing(a: tuple[str, int], b: tuple[str, int]) -> float:
        return 100 * sum(x != y for x, y in zip(digits[a], digits[b], strict=True)) / number

    mask = [differing(("static", seed), ("dynamic", seed)) for name, seed in runs if name == "static"]
    seed = [differing(a, b) for a, b in combinations(sorted(runs), 2) if a[0] == b[0]]
    alike = 100 * sum(len(set(one)) == 1 for one in zip(*digits.values(), strict=True)) / number
    assert f"| {task} | {fmean(mask):.1f} | {fmean(seed):.1f} | {alike:.0f} |" in text()


@pytest.mark.parametrize("run", [run for run in RUNS if run.parent.name == "evaluate"], ids=lambda run: run.name)
def test_kept_digits_give_the_score_of_minimal_pairs(run: Path) -> None:
    """The kept paradigms have 200 pairs each; a tie counts half."""
    digits = (run / "classes.txt").read_text().strip()
    score = 100 * (digits.count("1") + digits.count("2") / 2) / len(digits)
    assert score == pytest.approx(found_by(run)["score"], abs=1e-9)
