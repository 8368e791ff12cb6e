"""Write a table in all its forms: Markdown, CSV, LaTeX, figures, an HTML page, and a summary for the landing page."""

from __future__ import annotations

import os
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.data.storage import write
from roberta_lab.reports.figures import choice, drawing
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.page import table_page
from roberta_lab.reports.page.summary import SUMMARY, summary
from roberta_lab.reports.table import latex, markdown, spreadsheet
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.origins import provenance
from roberta_lab.reports.table.rows import Record, Table
from roberta_lab.runs.command_line import typed


def write_table(
    config: Config, records: list[Record], folder: Path, overrides: list[str] | None = None
) -> tuple[Table, list[Path]]:
    """Write table.md, table.csv, table.tex, tabular.tex, figures/ and index.html into `folder`; return the table and the files.

    Args:
        overrides: what was typed, for the command that makes what is missing.
    """
    assert config.sweep is not None
    table = assemble(config.sweep, config.scale.name, records)
    meta = provenance(config, records, folder)
    figures = choice.figures(table, folder, config.sweep.published)
    home = Path(os.path.relpath(Path(config.paths.outputs) / "index.html", folder)).as_posix()
    command = typed("reproduce", overrides or [f"sweep={config.sweep.name}"])
    forms = {
        "table.md": markdown.document(table, meta, {f.title: f"figures/{f.slug}.svg" for f in figures}),
        "table.csv": spreadsheet.csv_text(table),
        "table.tex": latex.document(table, meta),
        "tabular.tex": latex.tabular(table),
    }
    page = table_page.html(table, [inline(figure) for figure in figures], meta, home, list(forms), command)
    noted = summary(table, command, choice.main_figure(figures)).to_json()
    pictures = {name: data for figure in figures for name, data in drawing.files(figure).items()}
    if pictures:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        write(folder / "figures" / name, data)
    for name, text in {**forms, SUMMARY: noted, "index.html": page}.items():
        write(folder / name, text)
    return table, [folder / name for name in (*forms, "index.html")]
