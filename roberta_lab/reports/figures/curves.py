"""The curves of pretraining: held-out perplexity and training loss by tokens seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.table.notes import same_tokens, shared_unigram
from roberta_lab.reports.table.rows import Table
from roberta_lab.runs.tracking import read
from roberta_lab.training.rows import Row

OTHER_TOKENS = "Rows predict other tokens: what compares between them is bits per byte."
NUM_MEANS = 50  # points of the training loss


def curves(table: Table, runs: Mapping[str, Path]) -> Iterator[Figure]:
    """Yield the figures for which the runs have rows of metrics.

    Args:
        runs: the folder of the first pretraining run of each row.
    """
    rows_of: dict[Path, list[str]] = {}
    for name, folder in runs.items():
        rows_of.setdefault(folder, []).append(name)
    metrics = {_name(names): read(folder / "metrics.jsonl") for folder, names in rows_of.items()}
    several = any(len(row.perplexity.records) > 1 for row in table.rows)
    note = "Of each row the first pretraining seed." if several else ""
    if held_out := _series(metrics, "val/ppl", None):
        unigram = shared_unigram(table)
        yield Figure(
            "perplexity",
            "Held-out perplexity by tokens seen",
            "tokens seen",
            "perplexity",
            held_out,
            reference=("unigram model", unigram) if unigram is not None else None,
            log_y=_is_wide(held_out, unigram),
            note=f"{note} {OTHER_TOKENS}".strip() if same_tokens(table) is False else note,
        )
    if losses := _series(metrics, "train/mlm_loss", NUM_MEANS):
        title, smooth = "Training loss of MLM by tokens seen", f"Means over 1/{NUM_MEANS} of the run. {note}".strip()
        yield Figure("loss", title, "tokens seen", "nats per token", losses, note=smooth)


def _name(rows: Sequence[str]) -> str:
    """Return the name of a run's line: its row, or the rows that share the run."""
    if len(rows) == 1:
        return rows[0]
    return f"{', '.join(rows) if len(rows) < 4 else f'{len(rows)} rows'} (one run)"


def _series(metrics: Mapping[str, Sequence[Row]], key: str, parts: int | None) -> tuple[Series, ...]:
    """Return a line per run; with `parts`, of means over about so many parts of the run."""
    found = []
    for name, rows in metrics.items():
        known = [row for row in rows if isinstance(row.get(key), int | float) and "tokens_seen" in row]
        size = max(1, len(known) // parts) if parts else 1
        windows = [known[i : i + size] for i in range(0, len(known), size)]
        points = tuple((float(w[-1]["tokens_seen"]), sum(row[key] for row in w) / len(w)) for w in windows)
        if points:
            found.append(Series(name, points))
    return tuple(found)


def _is_wide(series: Sequence[Series], level: float | None) -> bool:
    """Return whether values span more than a factor of five, so that a linear axis would hide the lower ones."""
    drawn = [y for s in series for _, y in s.points] + ([level] if level is not None else [])
    values = [y for y in drawn if math.isfinite(y) and y > 0]
    return bool(values) and max(values) > 5 * min(values)
