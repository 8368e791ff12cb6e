"""From runs to the table beside the published numbers: rows, figures, Markdown, CSV, LaTeX, an HTML page, and a page over all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from roberta_lab.config import Config
from roberta_lab.data.storage import write
from roberta_lab.reports.figures.choice import figures as figures_of
from roberta_lab.reports.figures.choice import main_figure
from roberta_lab.reports.figures.drawing import Figure
from roberta_lab.reports.figures.drawing import files as drawn_files
from roberta_lab.reports.figures.inline_svg import inline
from roberta_lab.reports.page import table_page
from roberta_lab.reports.page.landing import SUMMARY
from roberta_lab.reports.table import latex, render
from roberta_lab.reports.table.origins import provenance
from roberta_lab.reports.table.rows import Record, Table, table
from roberta_lab.runs.command_line import typed

__all__ = ["Record", "Table", "provenance", "table", "write_table"]


def write_table(
    config: Config, records: list[Record], folder: Path, overrides: list[str] | None = None
) -> tuple[Table, list[Path]]:
    """Writes table.md, table.csv, table.tex, tabular.tex, figures/ and index.html into `folder`; returns the table and the files.

    Args:
        overrides: what was typed, for the command that makes what is missing.
    """
    assert config.sweep is not None
    made = table(config.sweep, config.scale.name, records)
    meta = provenance(config, records, folder)
    drawings = figures_of(made, folder, config.sweep.published)
    pictures = {name: data for figure in drawings for name, data in drawn_files(figure).items()}
    inlined = [inline(figure) for figure in drawings]
    home = Path(os.path.relpath(Path(config.paths.outputs) / "index.html", folder)).as_posix()
    command = typed("reproduce", overrides or [f"sweep={config.sweep.name}"])
    names = ("table.md", "table.csv", "table.tex", "tabular.tex")
    texts = {
        "table.md": render.markdown(made, meta, {f.title: f"figures/{f.slug}.svg" for f in drawings}),
        "table.csv": render.csv_text(made),
        "table.tex": latex.document(made, meta),
        "tabular.tex": latex.tabular(made),
        SUMMARY: json.dumps(_summary(made, command, main_figure(drawings)), indent=1) + "\n",
        "index.html": table_page.html(made, inlined, meta, home, names, command),
    }
    if pictures:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        write(folder / "figures" / name, data)
    for name, text in texts.items():
        write(folder / name, text)
    return made, [folder / name for name in (*names, "index.html")]


def _summary(made: Table, command: str, main: Figure | None) -> dict[str, Any]:
    """A table as the landing page lists it."""
    return {
        "name": made.name,
        "title": made.title,
        "question": made.question,
        "scale": made.scale,
        "num_runs": made.num_runs,
        "num_missing": made.num_missing,
        "command": command,
        "runs": sorted({record.run_id for record in made.records}),
        "figure": _shown(main) if main is not None else None,
    }


def _shown(main: Figure) -> dict[str, Any]:
    drawn = inline(main)
    legend = [asdict(key) for key in drawn.legend]
    return {"title": main.title, "note": main.note, "kind": main.kind, "svg": drawn.svg, "legend": legend}
