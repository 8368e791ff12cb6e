"""Write a table in all its forms: Markdown, CSV, LaTeX, figures, an HTML page, and a summary for the landing page."""

import csv
import io
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from roberta_lab.config import Config
from roberta_lab.config.formatting import csv_cell
from roberta_lab.data.storage import write
from roberta_lab.reports import tidy
from roberta_lab.reports.diff import files as diff
from roberta_lab.reports.figures import choice, drawing
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.page import table_page
from roberta_lab.reports.page.summaries import summary
from roberta_lab.reports.table import as_json, assembly, latex, markdown, notes
from roberta_lab.reports.table.alike import cut_text
from roberta_lab.reports.table.comparing import with_items
from roberta_lab.reports.table.differences import Difference, Outcome
from roberta_lab.reports.table.rows import Record, Table
from roberta_lab.runs.command_line import typed

FIELDS = (
    *("row", "column", "metric", "stand_in", "measured", "median", "low", "high", "n", "expected", "published"),
    *("majority", "marks", "row_marks", "cut", "reference"),
    *("difference", "difference_low", "difference_high", "pairs", "p", "p_holm", "smallest_seen", "outcome"),
    *("items_low", "items_high"),
    *("told_apart", "runs", "setting", "settings"),
)


def write_table(
    config: Config,
    records: list[Record],
    folder: Path,
    command: str | None = None,
    settings: str = "",
    by_row: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> tuple[Table, list[Path]]:
    """Write the table in all its forms, the results of its runs, figures/ and index.html; return the table and the files.

    `command` makes what is missing, `settings` is what makes it another table than the sweep's own; its title says it.
    `by_row` are settings that stand in columns of their own.
    """
    assert config.sweep is not None
    table = assembly.assemble(config.sweep, config.scale.name, records, config.scale.leaves_out)
    table = replace(table, settings=by_row)
    if settings:
        table = replace(table, title=f"{table.title}, with {settings}")
    meta = notes.provenance(config, records, folder)
    figures = choice.figures(table, folder, config.sweep.published)
    home = Path(os.path.relpath(Path(config.paths.outputs) / "index.html", folder)).as_posix()
    command = command or typed("reproduce", [f"sweep={config.sweep.name}"])
    compared = diff.of_rows(table, folder)
    diffs = diff.write_rows(table, folder, compared)
    table = with_items(table, {row: found.over_items for row, found in compared.items()})
    noted = summary(table, command, choice.main_figure(figures))
    forms: dict[str, str | bytes] = {
        "table.md": markdown.document(table, meta, {f.title: f"figures/{f.slug}.svg" for f in figures}, diffs),
        "table.csv": csv_text(table),
        as_json.JSON_FILE: as_json.document(table, meta, noted),
        "table.tex": latex.document(table, meta),
        "tabular.tex": latex.tabular(table),
        **tidy.forms(tidy.frame(config, records)),
    }
    page = table_page.html(table, [inline(figure) for figure in figures], meta, home, list(forms), command, diffs)
    pictures = {f"figures/{name}": data for figure in figures for name, data in drawing.files(figure).items()}
    if pictures:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, content in {**pictures, **forms, "index.html": page}.items():
        write(folder / name, content)
    if tidy.PARQUET not in forms:
        (folder / tidy.PARQUET).unlink(missing_ok=True)  # of an earlier time, which had pyarrow
    return table, [folder / name for name in (*forms, "index.html")]


def difference_fields(difference: Difference) -> dict[str, object]:
    """Return a difference as fields of the CSV; without p values where it is not tested."""
    seen, outcome = difference.seen, difference.outcome
    is_tested = outcome not in (Outcome.SAME_RUNS, Outcome.UNTESTED)
    found: dict[str, object] = {"difference": seen.mean, "pairs": seen.n, "outcome": outcome.value}
    found["told_apart"] = str(outcome is Outcome.APART).lower() if is_tested else None
    if not math.isnan(seen.half_width):
        found |= {"difference_low": seen.low, "difference_high": seen.high}
    if is_tested:
        found |= {"p": seen.p, "p_holm": difference.p_holm, "smallest_seen": difference.smallest_seen}
    if difference.items is not None:
        found |= {"items_low": difference.items.low, "items_high": difference.items.high}
    return found


def csv_text(table: Table) -> str:
    """Return the cells as CSV.

    Held-out figures are columns like the tasks; the `majority` of perplexity is the unigram model's. Runs are ids separated by
    spaces. `row_marks` and `cut` are the same in all lines of a row: how it was made unlike the others, and how its steps were
    cut. `told_apart` is empty where nothing was tested.
    """
    written = io.StringIO()
    writer = csv.DictWriter(written, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for column, cell in table.cells(row):
            low, high = cell.spread or (cell.median, cell.median)
            compared = cell.difference
            line: dict[str, object] = {
                "row": row.name,
                "column": column.task,
                "metric": column.metric,
                "stand_in": column.stand_in,
                "measured": column.measured,
                "median": cell.median,
                "low": low,
                "high": high,
                "n": len(cell.values),
                "expected": len(cell.shown),
                "published": cell.published,
                "majority": row.unigram_ppl if column.metric == "ppl" else column.majority,
                "marks": "; ".join(cell.marks),
                "row_marks": "; ".join(row.marks),
                "cut": " / ".join(dict.fromkeys(cut_text(cuts) for cuts in row.cuts if cuts)),
                "runs": " ".join(record.run_id for record in cell.shown if record.result),
                "setting": cell.setting,
                "settings": cell.num_settings,
            }
            if compared:
                line |= {"reference": table.reference, **difference_fields(compared)}
            writer.writerow({key: csv_cell(value) for key, value in line.items()})
    return written.getvalue()
