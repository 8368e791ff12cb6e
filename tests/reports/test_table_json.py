"""`table.json`: every number is finite or null, and each cell says what `table.csv` says; runs of folders count once."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from report_runs import META, changed, composed, finetuned, pretrained
from scipy import stats

from roberta_lab.config import ClaimConfig, SweepConfig
from roberta_lab.reports.statistics.paired import Paired
from roberta_lab.reports.table import as_json, markdown
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.differences import Outcome
from roberta_lab.reports.table.files import csv_text
from roberta_lab.reports.table.rows import Record, Table
from roberta_lab.reports.table.wording import SEEDS_OF_FINETUNING

CLAIM = ClaimConfig(row="near", over="base", direction="same", columns=["mnli"], margin=0.5)
BASE = (60.0, 62.0, 61.0)


def assembled(found: Sequence[Record], **sweep: Any) -> Table:
    rows: dict[str, list[str]] = {row: [] for row in dict.fromkeys(record.row for record in found)}
    return assemble(SweepConfig("t", "T", "Q?", rows=rows, tasks=["mnli"], **sweep), "smoke", found)


def scored(row: str, *scores: float | None, **more: Any) -> list[Record]:
    """Runs of a task, one for each pretraining seed."""
    return [
        replace(finetuned(row, "mnli", 1, score, **more), seed=seed, run_id=f"{row}-{seed}")
        for seed, score in enumerate(scores, 1)
    ]


@pytest.fixture
def mixed() -> Table:
    """A table with every outcome, with missing, broken and single runs, and numbers that are not finite."""
    own = [
        changed(pretrained(row, ppl, seed), unigram_ppl=unigram, metrics={"val/ppl": ppl})
        for row, ppl, unigram in (("base", 30.0, 700.0), ("far", math.nan, math.inf))
        for seed in (1, 2)
    ]
    found = [
        *own,
        *scored("base", *BASE, majority=math.nan),
        *scored("far", 70.0, 72.1, 71.0),
        *scored("near", 60.1, 62.0, 61.1),
        *scored("wide", 50.0, 79.0, None),
        *scored("one", 61.0),
        *scored("none", None, None),
        *scored("broken", math.nan, 60.0, -math.inf),
        *scored("poor", 61.0, 62.0, 63.1, at_chance=True),
        *(replace(record, row="alias") for record in scored("base", *BASE)),
    ]
    return assembled(found, claims=[CLAIM, replace(CLAIM, row="one")], margins={"mnli": 0.5})


def read(table: Table) -> dict[str, Any]:
    text = as_json.document(table, META, {"figure": math.nan})
    found: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return found


def test_every_cell_says_what_the_csv_says(mixed: Table) -> None:
    """Fields of the same names, and those that have others."""
    found = read(mixed)
    cells = {(row["name"], cell["column"]): cell for row in found["rows"] for cell in row["cells"]}
    lines = {(line["row"], line["metric"]): line for line in csv.DictReader(io.StringIO(csv_text(mixed)))}
    assert cells.keys() == lines.keys() and len(cells) == 9 * len(found["columns"])
    for key, line in lines.items():
        cell, difference = cells[key], cells[key]["difference"]

        def same(ours: float | None, theirs: str) -> bool:
            return ours == (float(theirs) if theirs and math.isfinite(float(theirs)) else None)

        assert all(same(cell[name], line[name]) for name in ("median", "low", "high", "published", "expected", "settings"))  # fmt: skip
        assert len(cell["values"]) == int(line["n"]) and "; ".join(cell["marks"]) == line["marks"]
        assert " ".join(cell["runs"]) == line["runs"] and cell["setting"] == line["setting"]
        if difference is None:
            assert not any(line[name] for name in ("reference", "difference", "pairs", "outcome", "told_apart"))
            continue
        named = {"difference": "mean", "difference_low": "low", "difference_high": "high", "pairs": "pairs"}
        assert all(same(difference[ours], line[name]) for name, ours in named.items())
        assert (line["reference"], difference["outcome"]) == (found["reference"], line["outcome"])
        if line["told_apart"]:
            assert all(same(difference[name], line[name]) for name in ("p", "p_holm", "smallest_seen"))
            assert (line["told_apart"] == "true") is (difference["p_holm"] <= 0.05)
        else:
            assert difference["why_untested"] or difference["outcome"] == "the same runs"
            assert difference["p_holm"] is None


def test_the_table_of_the_last_test_has_every_outcome(mixed: Table) -> None:
    found = read(mixed)
    outcomes = {
        cell["difference"]["outcome"]
        for row in found["rows"]
        for cell in row["cells"]
        if cell["difference"] is not None
    }
    assert outcomes == {outcome.value for outcome in Outcome}
    facts = {row["name"]: row["unigram_ppl"] for row in found["rows"]}
    assert facts["base"] == 700.0 and facts["far"] is None and found["landing"] == {"figure": None}
    assert [column["majority"] for column in found["columns"] if column["task"] == "mnli"] == [None]


def test_values_differences_and_claims_are_numbers_that_can_be_recomputed(mixed: Table) -> None:
    found = read(mixed)
    [cell] = [c for row in found["rows"] if row["name"] == "near" for c in row["cells"] if c["column"] == "mnli_m_acc"]
    assert [(v["seed"], v["finetune_seed"], v["value"]) for v in cell["values"]] == [(1, 1, 60.1), (2, 1, 62.0), (3, 1, 61.1)]  # fmt: skip
    difference = cell["difference"]
    assert difference["mean"] == pytest.approx(0.2 / 3) and difference["deviation"] == pytest.approx(0.1 / math.sqrt(3))
    assert (difference["pairs_are"], difference["margin"]) == ("pretraining seeds", 0.5)
    first, second = found["claims"]
    seen = Paired(difference["mean"], difference["deviation"], 3)
    assert (first["verdict"], first["pairs"], first["p_holds"]) == (
        "holds here",
        3,
        pytest.approx(2 * seen.p_within(0.5)),
    )
    assert (first["better_by"], first["low"], first["high"]) == pytest.approx((seen.mean, seen.low, seen.high))
    assert (second["verdict"], second["better_by"], second["low"]) == ("undecided", 1.0, None)
    assert "p_holds" not in second


def test_what_is_tested_is_corrected_for_all_that_is_tested_and_for_nothing_else(mixed: Table) -> None:
    """Holm by its definition; rows that are the same runs and differences that cannot be tested do not count."""
    every = [cell["difference"] for row in read(mixed)["rows"] for cell in row["cells"] if cell["difference"]]
    tested = [one for one in every if not one["why_untested"] and one["outcome"] != "the same runs"]
    assert 3 <= len(tested) < len(every) and {one["tests"] for one in tested} == {len(tested)}
    within = [2 * Paired(one["mean"], one["deviation"], one["pairs"]).p_within(one["margin"]) for one in tested]
    for name, ps in (("p_holm", [one["p"] for one in tested]), ("p_alike_holm", within)):
        for one, p in zip(tested, ps, strict=True):
            steps = [(len(ps) - sum(other < q for other in ps)) * q for q in ps if q <= p]
            assert one[name] == pytest.approx(min(1.0, max(steps)))
    assert all(one["p_holm"] is None for one in every if one not in tested)
    for one in tested:
        critical = stats.t.isf(0.05 / len(tested) / 2, one["pairs"] - 1)
        shift = one["smallest_seen"] / one["deviation"] * math.sqrt(one["pairs"])
        assert stats.nct.sf(critical, one["pairs"] - 1, shift) == pytest.approx(0.8, abs=1e-3)


# ---------------------------------------------------------------- the unit
def tuned(row: str, start: str, pretraining: Sequence[int], path: str = "", score: float = 60.0) -> list[Record]:
    """Three finetunings of each pretraining seed, of a run or, with `path`, of a folder, from which all seeds give the same runs."""
    config = composed({})
    config = replace(config, pretrained=replace(config.pretrained, path=path))
    found = []
    for seed in pretraining:
        for tuning in (1, 2, 3):
            run_id = f"{row}-{start if path else f'{start}-{seed}'}-{tuning}"
            record = finetuned(row, "mnli", tuning, score + tuning + 0.1 * tuning * len(row))
            assert record.result is not None
            result = replace(record.result, pretrain_run_id=None if path else f"{start}-{seed}")
            found.append(replace(record, seed=seed, run_id=run_id, result=result, config=config))
    return found


def difference_of(*rows: list[Record]) -> tuple[dict[str, Any], str]:
    """The difference of the second row from the first in JSON, and the table as Markdown."""
    table = assembled([record for row in rows for record in row])
    [cell] = [cell for cell in read(table)["rows"][1]["cells"] if cell["column"] == "mnli_m_acc"]
    return cell["difference"], markdown.document(table, META)


def test_runs_from_a_folder_count_once_however_many_pretraining_seeds_are_asked_for() -> None:
    table = assembled([*tuned("a", "A", (1, 2, 3), "A"), *tuned("bb", "B", (1, 2, 3), "A")])
    for row in table.rows:
        assert len(row.cells[0].values) == 3 and not [mark for mark in row.cells[0].marks if "run" in mark]
    assert "18 runs" not in markdown.document(table, META) and (table.num_runs, table.num_missing) == (6, 0)
    lines = [line for line in csv.DictReader(io.StringIO(csv_text(table))) if line["column"] == "mnli"]
    assert [(line["n"], line["expected"], len(line["runs"].split())) for line in lines] == [("3", "3", 3)] * 2
    gone = [replace(record, result=None) if record.finetune_seed == 3 else record for record in tuned("a", "A", (1, 2), "A")]  # fmt: skip
    assert "1 of 3 runs missing" in assembled(gone).rows[0].cells[0].marks


@pytest.mark.parametrize("path", ["", "roberta-base"])
def test_from_the_same_weights_finetuning_seeds_are_the_pairs_and_a_note_says_so(path: str) -> None:
    found, text = difference_of(tuned("a", "A", (1,), path), tuned("bb", "A", (1,), path))
    assert (found["pairs"], found["pairs_are"]) == (3, "finetuning seeds") and found["p"] is not None
    assert found["mean"] == pytest.approx(0.2) and SEEDS_OF_FINETUNING in text


@pytest.mark.parametrize("paths", [("", ""), ("roberta-base", "bert-base"), ("", "roberta-base")])
def test_from_different_weights_they_are_not(paths: tuple[str, str]) -> None:
    """Of each there is one pretraining, which says nothing of another."""
    found, text = difference_of(tuned("a", "A", (1,), paths[0]), tuned("bb", "B", (1,), paths[1]))
    assert (found["pairs"], found["pairs_are"], found["p"]) == (1, "pretraining seeds", None)
    assert SEEDS_OF_FINETUNING not in text and found["why_untested"].startswith("one seed of pretraining")


def test_with_several_pretraining_seeds_they_are_the_pairs() -> None:
    found, text = difference_of(tuned("a", "A", (1, 2)), tuned("bb", "A", (1, 2), score=61.0))
    assert (found["pairs"], found["pairs_are"]) == (2, "pretraining seeds") and SEEDS_OF_FINETUNING not in text
