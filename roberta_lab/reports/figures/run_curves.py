"""The curves of one run: every metric that it logged, by step."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from roberta_lab.model.metrics import COMMON_BITS, COMMON_PPL
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.tracking import complete_rows, read
from roberta_lab.training.rows import Row

MOST_POINTS = 100  # of a curve; more are means over parts of the run, with the smallest and the largest of each
NO_CURVES = ("step", "tokens_seen", "epoch", "val/mlm_loss")  # the x axis, and what perplexity says as well
TITLES = {  # with the name of the y axis
    "val/ppl": ("Held-out perplexity", "of the run's own inputs"),
    COMMON_PPL: ("Perplexity of the common text", "perplexity"),
    COMMON_BITS: ("Common bits per byte", "of the common text"),
    "val/bits_per_nonspace_byte": ("Own bits per byte", "of the run's own inputs"),
    "train/mlm_loss": ("Training loss of MLM", "nats per token"),
    "train/loss": ("Training loss", "nats per item"),
    "train/grad_norm": ("Gradient norm", "before clipping"),
    "lr": ("Learning rate", "rate of the step"),
}
FIRST = ("val/ppl", COMMON_BITS, "dev/", "train/mlm_loss", "train/loss", "lr", "train/grad_norm")
WIDE = 5.0  # times the smallest value: perplexity is then drawn on a logarithmic axis


def curves(folder: Path, result: RunResult | None) -> list[Figure]:
    """Return a figure for each metric in the run's `metrics.jsonl`; those that everybody asks for come first."""
    rows = read(folder / "metrics.jsonl")
    names = dict.fromkeys(name for row in rows for name in row)
    known = [name for name in names if name not in NO_CURVES and not name.startswith("train/noise_")]
    found = (_curve(name, rows, result) for name in sorted(known, key=_place))
    return [figure for figure in found if figure is not None]


def _place(name: str) -> tuple[int, str]:
    places = [place for place, first in enumerate(FIRST) if name.startswith(first)]
    return (places[0] if places else len(FIRST), name)


def _curve(name: str, rows: Sequence[Row], result: RunResult | None) -> Figure | None:
    """Return the figure of one metric; None where no step has a number for it, or one step alone."""
    values = [(float(row.step), float(row[name])) for row in rows if isinstance(row.get(name), int | float)]
    finite = [(step, value) for step, value in values if math.isfinite(value)]
    if len(finite) < 2:
        return None
    said = name.partition("/")
    what = said[2].replace("_", " ")
    title, y = TITLES.get(name, (f"{what}, {said[0]}" if said[1] else name, what or name))
    size = math.ceil(len(finite) / MOST_POINTS)
    notes = [f"means over {size} steps; the band goes from the smallest to the largest"] if size > 1 else []
    if lost := len(values) - len(finite):
        notes.append(f"{lost} steps have no finite value")
    levels = _levels(name, result)
    wide = name.endswith("ppl") and max(v for _, v in finite) > WIDE * min(v for _, v in finite) > 0
    drawn = _series(title, finite, size)
    note = "; ".join(notes)
    slug = name.replace("/", "_")
    return Figure(slug, title, "step", y, (drawn,), reference=levels, log_y=wide, note=note[:1].upper() + note[1:])


def _levels(name: str, result: RunResult | None) -> tuple[str, float] | None:
    """Return what a metric compares with: the unigram model, or the best constant prediction."""
    if result is None:
        return None
    if result.kind == "pretrain":
        return ("unigram model", result.pretraining.unigram_ppl) if name == "val/ppl" else None
    scored = result.scored
    return ("constant prediction", scored.majority) if name == f"dev/{scored.metric}" else None


def _series(name: str, values: Sequence[tuple[float, float]], size: int) -> Series:
    """Return a line of means over parts of so many values, with the ends of each part where it has several."""
    parts = [values[start : start + size] for start in range(0, len(values), size)]
    points = tuple((part[-1][0], fmean(value for _, value in part)) for part in parts)
    ends = tuple((min(v for _, v in part), max(v for _, v in part)) for part in parts) if size > 1 else ()
    return Series(name, points, ends=ends)


def held_out(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the finite held-out figures of a run by name, each with the tokens seen before (steps, where those are not noted).

    Only these lines of its metrics are parsed.
    """
    file, found = folder / "metrics.jsonl", dict[str, list[tuple[float, float]]]()
    lines = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
    for _, row in complete_rows(b"".join(line for line in lines if b'"val/' in line)):
        for name, value in row.items():
            if name.startswith("val/") and isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(name, []).append((float(row.get("tokens_seen", row.step)), float(value)))
    return found
