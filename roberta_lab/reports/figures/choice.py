"""Choose which figures a table has: each is made only when the runs have what it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from roberta_lab.config import Config, MaskingConfig
from roberta_lab.reports.figures import exposure
from roberta_lab.reports.figures.amounts import batch_size, score_by_data, score_by_tokens
from roberta_lab.reports.figures.beside_paper import glue, recipe
from roberta_lab.reports.figures.curves import curves
from roberta_lab.reports.figures.figure import Figure
from roberta_lab.reports.table.rows import Table

MOST_EPOCHS = 100  # of mask exposure
MAIN = ("glue", "recipe", "batch_size", "perplexity")  # the first of these stands on the landing page


def figures(table: Table, folder: Path, published_key: str | None = None) -> list[Figure]:
    """Return all that can be drawn, in the order in which it is read. Record directories are relative to `folder`."""
    first = {row.name: next((r for r in row.perplexity.records if r.result), None) for row in table.rows}
    pretrained = {name: record for name, record in first.items() if record is not None}
    configs = {name: record.config for name, record in pretrained.items() if record.config is not None}
    found = [
        *curves(table, {name: folder / record.directory for name, record in pretrained.items()}),
        batch_size(table, configs, published_key),
        score_by_tokens(table),
        score_by_data(table, configs),
        _exposure(table, configs),
        recipe(table, published_key),
        glue(table, published_key),
    ]
    return [figure for figure in found if figure is not None]


def main_figure(figures: Sequence[Figure]) -> Figure | None:
    """Return the figure that stands for the table."""
    by_slug = {figure.slug: figure for figure in figures}
    return next((by_slug[slug] for slug in MAIN if slug in by_slug), figures[0] if figures else None)


def _exposure(table: Table, configs: Mapping[str, Config]) -> Figure | None:
    """Return the figure of mask exposure where rows differ in how they mask."""
    maskings = {name: replace(config.masking, whole_words=False) for name, config in configs.items()}
    kinds: dict[tuple[object, ...], str] = {}
    for name, config in maskings.items():
        kinds.setdefault(_kind(config), name)
    if len(kinds) < 2:
        return None
    passes = [row.passes for row in table.rows if row.passes]
    epochs = min(MOST_EPOCHS, max(2, math.ceil(max(passes, default=40))))
    return exposure.figure({name: maskings[name] for name in kinds.values()}, epochs)


def _kind(config: MaskingConfig) -> tuple[object, ...]:
    return config.name, config.mask_prob, config.selection, config.num_patterns if config.name == "static" else 0
