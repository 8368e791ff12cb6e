"""Choose which figures a table has: each is made only when the runs have what it shows."""

from collections.abc import Sequence
from pathlib import Path

from roberta_lab.reports.figures import pretraining, results
from roberta_lab.reports.figures.figure import Figure
from roberta_lab.reports.table.rows import Row, Table

MAIN = ("glue", "recipe", "batch_size", "perplexity")  # the first of these stands on the landing page


def figures(table: Table, folder: Path, published_key: str | None = None) -> list[Figure]:
    """Return all that can be drawn, the main figure first. Record directories are relative to `folder`."""
    first = {row.name: next((r for r in row.perplexity.records if r.result), None) for row in table.rows}
    pretrained = {name: record for name, record in first.items() if record is not None}
    configs = {name: record.config for name, record in pretrained.items() if record.config is not None}
    runs = {name: folder / record.directory for name, record in pretrained.items()}
    seeds = {runs[row.name]: _folders(row, folder) for row in table.rows if row.name in runs}
    found = [
        *pretraining.curves(table, runs, seeds),
        *results.seeds(table),
        results.batch_size(table, configs, published_key),
        pretraining.noise_scale(table, runs),
        results.score_by_tokens(table),
        results.score_by_data(table, configs),
        pretraining.mask_exposure(table, configs),
        results.recipe(table, published_key),
        results.glue(table, published_key),
    ]
    made = [figure for figure in found if figure is not None]
    return sorted(made, key=lambda figure: figure is not main_figure(made))


def _folders(row: Row, folder: Path) -> list[Path]:
    """Return the folders of a row's complete pretraining runs."""
    return [folder / record.directory for record in row.perplexity.records if record.result is not None]


def main_figure(figures: Sequence[Figure]) -> Figure | None:
    """Return the figure that stands for the table."""
    by_slug = {figure.slug: figure for figure in figures}
    return next((by_slug[slug] for slug in MAIN if slug in by_slug), figures[0] if figures else None)
