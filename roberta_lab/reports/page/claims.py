"""`outputs/claims.html`: every claim of every table that is there, by scale; also as Markdown and JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from roberta_lab.data.storage import write
from roberta_lab.reports.page.table_page import rendered
from roberta_lab.reports.table import as_json, wording
from roberta_lab.reports.table.as_json import JSON_FILE
from roberta_lab.reports.table.markdown import escaped, grid
from roberta_lab.reports.table.verdict import Outcome
from roberta_lab.runs.options import reading_order

CLAIMS = "claims.html"
SCALES = ("smoke", "laptop", "mini", "paper")  # from small to large; others come after them


@dataclass(frozen=True)
class Claim:
    """A claim of a sweep in one column, with what the table of each scale says of it (`as_json.verdict_content`)."""

    sweep: str
    title: str
    words: str
    source: str
    verdicts: Mapping[str, Mapping[str, Any]]  # by scale
    pages: Mapping[str, str]  # of the tables, by scale, relative to the outputs


def claims_in(outputs: Path) -> list[Claim]:
    """Return the claims of all tables that lie in the outputs, in the order of the sweeps; tables of older code have none."""
    found: dict[tuple[str, str, str], Claim] = {}
    files = outputs.glob(f"tables/*/*/{JSON_FILE}")
    for file in sorted(files, key=lambda file: (reading_order(file.parts[-3]), file)):
        try:
            table = as_json.read(file.parent)
            title, said = table["title"], {_key(claim): claim for claim in table["claims"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        scale = file.parent.name  # with the settings that make it another table than the sweep's own
        page = (file.parent / "index.html").relative_to(outputs).as_posix()
        for (words, source), verdict in said.items():
            key = (file.parts[-3], words, source)
            claim = found.get(key) or Claim(key[0], title, words, source, {}, {})
            verdicts, pages = {**claim.verdicts, scale: verdict}, {**claim.pages, scale: page}
            found[key] = replace(claim, verdicts=verdicts, pages=pages)
    return list(found.values())


def _key(verdict: Mapping[str, Any]) -> tuple[str, str]:
    """Return what tells a claim from others of its sweep. Raises KeyError for a verdict that lacks what the page shows."""
    if missing := {"verdict", "estimate", "why", "stand_in"} - verdict.keys():
        raise KeyError(*missing)
    return verdict["words"], verdict["source"]


def scales_of(claims: Sequence[Claim]) -> list[str]:
    """Return the scales that claims have verdicts at, from small to large."""
    there = {scale for claim in claims for scale in claim.verdicts}
    return [*(scale for scale in SCALES if scale in there), *sorted(there - set(SCALES))]


def write_claims(outputs: Path) -> Path:
    """Write the claims of all tables as a page, as Markdown and as JSON; return the page."""
    claims = claims_in(outputs)
    scales = scales_of(claims)
    forms = {
        CLAIMS: rendered("claims.html.j2", claims=claims, scales=scales, rule=wording.CLAIMS),
        "claims.md": markdown(claims, scales),
        "claims.json": json.dumps([vars(claim) for claim in claims], indent=1, ensure_ascii=False) + "\n",
    }
    for name, content in forms.items():
        write(outputs / name, content)
    return outputs / CLAIMS


def markdown(claims: Sequence[Claim], scales: Sequence[str]) -> str:
    """Return the claims as a table: a row for each, a column for each scale."""
    rows = [["table", "claim", *scales]]
    for claim in claims:
        said = [_cell(claim.verdicts.get(scale)) for scale in scales]
        rows.append([escaped(text) for text in (claim.sweep, f"{claim.words} [{claim.source}]", *said)])
    return "\n".join(["# Claims", "", *grid(rows, "l" * len(rows[0])), ""])


def _cell(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return "no table"
    return "; ".join(text for text in (verdict["verdict"], verdict["estimate"], verdict["why"]) if text)


def counted_outcomes(verdicts: Iterable[Mapping[str, Any]]) -> str:
    """Return how claims came out, of verdicts as they stand in `table.json`: `holds here: 2, undecided: 5`."""
    found = Counter(verdict["verdict"] for verdict in verdicts)
    return ", ".join(f"{outcome}: {found[outcome]}" for outcome in Outcome if found[outcome]) or "none"
