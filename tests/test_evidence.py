"""The committed evidence: kept runs are whole and have the ids of their settings; tables and text say what these runs found."""

import csv
import json
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml
from scipy.stats import t

from roberta_lab.runs import composition, identity, results
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register
from roberta_lab.runs.tracking import read

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
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
    claims = [claim for claim in said["claims"] if claim["column"] == "common_bits_per_byte"]
    assert claims
    text = " ".join((EVIDENCE / "README.md").read_text(encoding="utf-8").split())
    for claim in claims:
        gains = [value[claim["over"], seed] - value[claim["row"], seed] for seed in seeds]
        half = t.ppf(0.975, len(gains) - 1) * stdev(gains) / math.sqrt(len(gains))
        assert claim["better_by"] == pytest.approx(fmean(gains))
        assert (claim["low"], claim["high"]) == pytest.approx((fmean(gains) - half, fmean(gains) + half))
    for claim in said["claims"]:
        assert claim["text"] in text
