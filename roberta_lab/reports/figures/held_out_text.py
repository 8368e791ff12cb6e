"""Figures of held-out text as training goes on: means over the seeds of each row, and where static masks begin to repeat."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from roberta_lab.config.formatting import counted
from roberta_lab.model.metrics import COMMON_BITS
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.table.alike import of_one_text, same_inputs
from roberta_lab.reports.table.rows import Table
from roberta_lab.training.rows import Row

OWN = "val/ppl"
SEVERAL = "Means over the seeds of each row; upright lines go from the smallest to the largest."


def curves(table: Table, metrics: Mapping[str, Sequence[Sequence[Row]]]) -> Iterator[Figure]:
    """Yield what compares between all lines; `metrics` are the rows of each line's runs, one for each seed.

    That is bits per byte of the common text, if it is one for all rows. Where rows differ in whether their masks repeat and in
    nothing else that makes inputs, it is the perplexity of those inputs before that. The x axis counts passes over the data where static patterns begin to repeat,
    with a mark there; else tokens.
    """
    repeats = _repeats(table)
    x = "passes over the data" if repeats else "tokens seen"
    common = (COMMON_BITS, "Common bits per byte", "bits per byte of the common text")
    kinds = [common] if of_one_text(table.rows) else []
    if repeats and same_inputs(table.rows):
        kinds.insert(0, (OWN, "Held-out perplexity", "perplexity"))
    for slug, (key, title, y) in zip(("perplexity", "common"), kinds, strict=False):
        lines = [_mean_of_seeds(name, runs, key, by_pass=bool(repeats)) for name, runs in metrics.items()]
        drawn = tuple(line for line in lines if line is not None)
        if drawn and len(drawn) == len(lines):
            note = SEVERAL if any(line.ends for line in drawn) else ""
            yield Figure(slug, f"{title} by {x}", x, y, drawn, places=repeats, note=note)


def _repeats(table: Table) -> tuple[tuple[str, float], ...]:
    """Return after how many passes the patterns of each row with static masking begin to repeat, where they do."""
    found: dict[int, list[str]] = {}
    for row in table.rows:
        masking = row.config.masking if row.config is not None else None
        if masking is not None and masking.name == "static" and (row.passes or 0) > masking.num_patterns:
            found.setdefault(masking.num_patterns, []).append(row.name)
    said = "{}: from here on\nits {} repeat" if len(found) == 1 else "{}"
    return tuple((said.format(", ".join(rows), counted(k, "pattern")), float(k)) for k, rows in found.items())


def _mean_of_seeds(name: str, runs: Sequence[Sequence[Row]], key: str, by_pass: bool) -> Series | None:
    """Return a line of means over the runs, at the steps where all have a figure; None without any."""
    figures = [{row.step: row[key] for row in rows if key in row} for rows in runs]
    x = "epoch" if by_pass else "tokens_seen"
    x_of = {row.step: row[x] for row in runs[0] if x in row}
    steps = sorted(set(x_of).intersection(*figures))
    if not steps:
        return None
    values = [[found[step] for found in figures] for step in steps]
    ends = tuple((min(v), max(v)) for v in values) if len(runs) > 1 else ()
    return Series(name, tuple((float(x_of[s]), fmean(v)) for s, v in zip(steps, values, strict=True)), ends=ends)
