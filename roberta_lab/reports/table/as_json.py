"""A table as JSON: everything that its page shows, for programs; NaN and infinity are null."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roberta_lab.data.storage import Json, finite
from roberta_lab.data.verified import recall, sealed
from roberta_lab.reports.table import row_facts, wording
from roberta_lab.reports.table.columns import Column
from roberta_lab.reports.table.differences import Difference
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.notes import footnotes, origins
from roberta_lab.reports.table.rows import Cell, Row, Table
from roberta_lab.reports.table.verdict import Verdict

JSON_FILE = "table.json"  # of a table, beside its page
LANDING = "landing"  # its key with what the landing page shows


def document(table: Table, meta: Mapping[str, str], landing: Json) -> str:
    """Return the file `table.json`; `meta` names where the numbers come from, `landing` is what the landing page shows."""
    found = finite({**content(table, meta), LANDING: landing})
    assert isinstance(found, dict)
    return json.dumps(sealed(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(folder: Path) -> dict[str, Any]:
    """Return the `table.json` of a table's folder; nothing where there is none, or where it is damaged, which is said."""
    name = f"sweep={folder.parent.name}" if not folder.parent.name.startswith("runs-") else "table.runs=[...]"
    return recall(folder / JSON_FILE, f"roberta-lab table {name} makes it again")


def content(table: Table, meta: Mapping[str, str]) -> dict[str, Json]:
    """Return the table as JSON values. Differences are of a row from `reference`; those of claims have `more` as better."""
    return {
        **{"sweep": table.name, "title": table.title, "question": table.question, "scale": table.scale},
        **{"first_sentence": first_sentence(table), "warning": wording.warning(table), "reference": table.reference},
        **{"runs": table.num_runs, "missing": table.num_missing},
        "columns": [_column(column) for column in table.all_columns],
        "rows": [_row(table, row) for row in table.rows],
        "published_only": {name: [*values] for name, values in table.published_only.items()},
        "published_apart": {
            "metrics": [column.metric for column in table.stood_in_for],
            "rows": {name: [*values] for name, values in table.published_apart.items()},
        },
        "claims": [verdict_content(verdict) for verdict in table.verdicts],
        "best_settings": [
            {"task": best.column.task, "row": best.row, "score": best.cell.median, "settings": best.num_settings}
            for best in table.best
        ],
        "notes": [*footnotes(table)],
        "origins": [*origins(table, dict(meta))],
    }


def _column(column: Column) -> dict[str, Json]:
    return {
        **{"task": column.task, "metric": column.metric, "title": column.title, "stand_in": column.stand_in},
        **{"lower_is_better": column.lower_is_better, "majority": column.majority, "dev_items": column.num_dev},
    }


def _row(table: Table, row: Row) -> dict[str, Json]:
    return {
        **{"name": row.name, "marks": [*row.marks], "facts": row_facts.facts(row), "unigram_ppl": row.unigram_ppl},
        "settings": {**table.settings.get(row.name, {})},
        **{"tokens_seen": row.tokens_seen, "passes": row.passes, "steps": row.steps},
        "cells": [{"column": column.metric, **_cell(cell)} for column, cell in table.cells(row)],
    }


def _cell(cell: Cell) -> dict[str, Json]:
    low, high = cell.spread or (cell.median, cell.median)
    return {
        **{"median": cell.median, "low": low, "high": high, "published": cell.published, "marks": [*cell.marks]},
        "values": [
            {"seed": seed, "finetune_seed": finetune_seed, "value": value}
            for (seed, finetune_seed), value in cell.by_seed.items()
        ],
        "runs": [record.run_id for record in cell.shown if record.result],
        **{"expected": len(cell.shown), "setting": cell.setting, "settings": cell.num_settings},
        "difference": None if cell.difference is None else _difference(cell.difference),
    }


def _difference(difference: Difference) -> dict[str, Json]:
    seen = difference.seen
    return {
        **{"mean": seen.mean, "deviation": seen.deviation, "pairs": seen.n},
        **{"low": seen.low, "high": seen.high, "p": seen.p},
        **{"p_holm": difference.p_holm, "p_alike_holm": difference.p_alike_holm},
        **{"tests": difference.num_tests, "margin": difference.margin, "outcome": difference.outcome.value},
        **{"why_untested": difference.why_untested, "smallest_seen": difference.smallest_seen},
        "seeds_and_items": None if difference.items is None else asdict(difference.items),
        "pairs_are": "finetuning seeds" if difference.same_weights else "pretraining seeds",
    }


def verdict_content(verdict: Verdict) -> dict[str, Json]:
    """Return a verdict as JSON values."""
    claim, seen, found = verdict.claim, verdict.seen, verdict.found
    return {
        **{"row": claim.row, "over": claim.over, "direction": claim.direction, "column": verdict.column},
        **{"margin": verdict.margin, "source": claim.source, "words": verdict.words, "text": verdict.text},
        **{"verdict": verdict.outcome.value, "why": verdict.why, "stand_in": verdict.stand_in, "seeds": verdict.seeds},
        "estimate": verdict.estimate if seen else "",
        **({"better_by": seen.mean, "low": seen.low, "high": seen.high, "pairs": seen.n} if seen else {}),
        **({"p_holds": found.holds, "p_contradicted": found.contradicted} if found else {}),
    }
