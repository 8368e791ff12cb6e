"""A table as CSV, for spreadsheets and programs: one line per cell, unrounded."""

from __future__ import annotations

import csv
import io

from roberta_lab.reports.table.rows import Cell, Table

FIELDS = (
    *("row", "column", "metric", "stand_in", "measured", "median", "low", "high", "n", "expected", "published"),
    *("majority", "marks", "reference", "difference", "difference_low", "difference_high", "pairs", "p"),
    *("told_apart", "runs"),
)


def csv_text(table: Table) -> str:
    """Return the cells as CSV.

    Held-out figures are columns like the tasks; the `majority` of perplexity is the unigram model's. Runs are ids separated by
    spaces. `told_apart` is empty where nothing could be compared.
    """
    written = io.StringIO()
    writer = csv.DictWriter(written, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for column, cell in table.cells(row):
            low, high = cell.spread or (cell.median, cell.median)
            values: dict[str, object] = {
                "row": row.name,
                "column": column.task,
                "metric": column.metric,
                "stand_in": column.stand_in,
                "measured": column.measured,
                "median": cell.median,
                "low": low,
                "high": high,
                "n": len(cell.values),
                "expected": len(cell.records),
                "published": cell.published,
                "majority": row.unigram_ppl if column.metric == "ppl" else column.majority,
                "marks": "; ".join(cell.marks),
                "runs": " ".join(record.run_id for record in cell.records if record.result),
            }
            writer.writerow(values | _difference(table, cell))
    return written.getvalue()


def _difference(table: Table, cell: Cell) -> dict[str, object]:
    d = cell.difference
    if d is None:
        return {}
    tested = {"difference_low": d.low, "difference_high": d.high, "p": d.p} if d.was_tested else {}
    found = {"reference": table.reference, "difference": d.mean, "pairs": d.n}
    return {**found, **tested, "told_apart": str(d.apart).lower()}
