"""The page of claims: of all tables by scale, in three forms that agree; what is old, damaged or hostile."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_runs import HOSTILE, Page, config, finetuned

from roberta_lab.config import ClaimConfig, SweepConfig
from roberta_lab.reports.page.claims import claims_in, counted_outcomes, write_claims
from roberta_lab.reports.page.landing import write_landing
from roberta_lab.reports.table import as_json
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.rows import Table
from roberta_lab.reports.table.verdict import Outcome

STATIC = (60.0, 62.0, 61.0)
BETTER, WORSE, FEW = (61.0, 63.1, 62.0), (50.0, 52.1, 51.0), (61.0,)


def table(name: str, scale: str, dynamic: tuple[float, ...], row: str = "dynamic", **claim: Any) -> Table:
    """A table of one claim, that `dynamic` is no worse than `static`."""
    found = [
        replace(finetuned(of, "mnli", 1, score), seed=seed, run_id=f"{of}-{seed}")
        for of, scores in (("static", STATIC), (row, dynamic))
        for seed, score in enumerate(scores, 1)
    ]
    said = {"row": row, "over": "static", "direction": "no_worse", "columns": ["mnli"], "margin": 0.5, "source": "S 4"}
    rows: dict[str, list[str]] = {"static": [], row: []}
    sweep = SweepConfig(name, f"Title of {name}", "Q?", rows=rows, tasks=["mnli"], claims=[ClaimConfig(**said | claim)])
    return assemble(sweep, scale, found)


def write(outputs: Path, made: Table) -> Path:
    folder = outputs / "tables" / made.name / made.scale
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").touch()
    file = folder / as_json.JSON_FILE
    file.write_text(as_json.document(made, {}, None))
    return file


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for name, scale, dynamic in (
        ("masking_rate", "smoke", BETTER),
        ("table1_masking", "paper", FEW),
        ("table1_masking", "smoke", WORSE),
        ("masking_rate", "own", WORSE),
        ("masking_rate", "mini", FEW),
    ):
        write(tmp_path, table(name, scale, dynamic))
    return tmp_path


def grid(outputs: Path) -> tuple[list[str], list[list[str]]]:
    """The cells of the Markdown table."""
    lines = [line for line in (outputs / "claims.md").read_text().splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return head, rows


def test_each_scale_has_its_own_verdict_in_the_order_of_the_papers_tables(outputs: Path) -> None:
    page = write_claims(outputs)
    head, rows = grid(outputs)
    assert head == ["table", "claim", "smoke", "mini", "paper", "own"], "from small to large, then others"
    words = "dynamic no worse than static on mnli (margin 0.5)"
    assert [row[:2] for row in rows] == [[name, rf"{words} \[S 4\]"] for name in ("table1_masking", "masking_rate")]
    short = [[cell.partition(";")[0] for cell in row[2:]] for row in rows]
    assert short == [
        ["contradicted here", "no table", "undecided", "no table"],
        ["holds here", "undecided", "no table", "contradicted here"],
    ]
    shown = Page(page.read_text())
    assert shown.tags.count("caption") == shown.tags.count("table") == 1
    links = [link for key, link in shown.attributes if key == "href" and link and "tables/" in link]
    assert links == [
        *("tables/table1_masking/smoke/index.html", "tables/table1_masking/paper/index.html"),
        *(f"tables/masking_rate/{scale}/index.html" for scale in ("smoke", "mini", "own")),
    ]
    assert "Title of table1_masking" in shown.text and shown.text.count("no table") == 3


def test_markdown_json_and_page_agree_with_the_tables(outputs: Path) -> None:
    text = Page(write_claims(outputs).read_text()).text
    head, rows = grid(outputs)
    found = json.loads((outputs / "claims.json").read_text())
    assert len(found) == len(rows) == 2
    for claim, row in zip(found, rows, strict=True):
        for scale, cell in zip(head[2:], row[2:], strict=True):
            file = outputs / "tables" / claim["sweep"] / scale / "table.json"
            if not file.is_file():
                assert scale not in claim["verdicts"] and cell == "no table"
                continue
            [verdict] = json.loads(file.read_text())["claims"]
            assert claim["verdicts"][scale] == verdict and claim["pages"][scale].startswith(f"tables/{claim['sweep']}/")
            parts = [part for part in (verdict["verdict"], verdict["estimate"], verdict["why"]) if part]
            assert cell == "; ".join(parts) and all(part in text for part in parts)


def test_tables_of_older_code_and_damaged_ones_are_passed_over(outputs: Path) -> None:
    before = claims_in(outputs)
    good = json.loads((outputs / "tables" / "table1_masking" / "smoke" / "table.json").read_text())
    for place, content in enumerate(
        (
            {key: value for key, value in good.items() if key != "claims"},
            {**good, "claims": None},
            {**good, "claims": [{}]},
            {**good, "claims": ["holds"]},
            {**good, "claims": [{k: v for k, v in good["claims"][0].items() if k != "estimate"}]},
            [],
            None,
        )
    ):
        folder = outputs / "tables" / "t" / str(place)
        folder.mkdir(parents=True)
        (folder / "table.json").write_text(json.dumps(content))
    (folder.with_name("cut")).mkdir()
    (folder.with_name("cut") / "table.json").write_text(json.dumps(good)[:-9])
    assert claims_in(outputs) == before and len(before) == 2
    assert write_landing(outputs).is_file()


def test_claims_that_differ_in_words_are_lines_of_their_own(outputs: Path) -> None:
    """Another margin is another claim."""
    write(outputs, table("masking_rate", "laptop", BETTER, margin=0.7))
    found = {claim.words.partition("(")[2]: claim for claim in claims_in(outputs) if claim.sweep == "masking_rate"}
    assert {margin: [*claim.verdicts] for margin, claim in found.items()} == {
        "margin 0.5)": ["mini", "own", "smoke"],
        "margin 0.7)": ["laptop"],
    }


def test_hostile_names_are_text_in_every_form(tmp_path: Path) -> None:
    write(tmp_path, table("t|[x](y)", "smoke", BETTER, row=HOSTILE, source=f"`{HOSTILE}|"))
    shown = Page(write_claims(tmp_path).read_text())
    assert HOSTILE in shown.text and shown.tags.count("script") == 1 and "img" not in shown.tags
    [line] = [line for line in (tmp_path / "claims.md").read_text().splitlines() if "holds here" in line]
    assert "<script" not in line and "<img" not in line and line.replace("\\|", "").count("|") == 4
    [claim] = json.loads((tmp_path / "claims.json").read_text())
    assert HOSTILE in claim["words"] and claim["pages"]["smoke"] == "tables/t|[x](y)/smoke/index.html"
    assert "tables/t%7C%5Bx%5D%28y%29/smoke/index.html" in {value for _, value in shown.attributes}


def test_what_stands_in_is_named(tmp_path: Path) -> None:
    write(tmp_path, table("t", "smoke", BETTER))
    assert "on pydoc_mnli" in Page(write_claims(tmp_path).read_text()).text


def test_the_landing_page_leads_there_and_without_tables_nothing_is_claimed(tmp_path: Path) -> None:
    assert "Claims of all tables" not in Page(write_landing(tmp_path).read_text()).text
    assert "None yet" in Page((tmp_path / "claims.html").read_text()).text and claims_in(tmp_path) == []
    made = table("table1_masking", "smoke", BETTER)
    from roberta_lab.reports.table.files import write_table

    folder = tmp_path / "tables" / made.name / made.scale
    folder.mkdir(parents=True)
    sweep = SweepConfig(made.name, "T", "Q?", rows={"static": []}, tasks=[])
    write_table(config(sweep, tmp_path), [], folder)
    assert ("href", "claims.html") in Page(write_landing(tmp_path).read_text()).attributes
    assert ("href", "index.html") in Page((tmp_path / "claims.html").read_text()).attributes


def test_outcomes_are_counted_in_their_order() -> None:
    said = [Outcome.UNDECIDED, Outcome.HOLDS, Outcome.UNDECIDED, Outcome.NOT_TESTABLE]
    assert counted_outcomes({"verdict": str(one)} for one in said) == (
        "holds here: 1, undecided: 2, not testable at this scale: 1"
    )
    assert counted_outcomes([]) == "none"
