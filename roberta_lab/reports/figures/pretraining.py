"""Figures of pretraining: perplexity and loss by tokens seen, and how much of a text masking ever selects."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from roberta_lab.axes.examples import IGNORED, Vocabulary
from roberta_lab.axes.masking import mask, positions_of, rule_of
from roberta_lab.config import Config, MaskingConfig
from roberta_lab.config.formatting import number
from roberta_lab.reports.figures import held_out_text
from roberta_lab.reports.figures.figure import Figure, Series
from roberta_lab.reports.table.notes import same_tokens, shared_unigram
from roberta_lab.reports.table.rows import Table
from roberta_lab.runs.tracking import read
from roberta_lab.training.rows import Row

OTHER_TOKENS = "Rows predict other tokens: what compares between them is bits per byte."
NUM_MEANS = 50  # points of the training loss
MOST_EPOCHS = 100  # of mask exposure
NUM_EXAMPLES, NUM_TOKENS = 64, 128
COUNTED = (
    f"Counted: {NUM_EXAMPLES} examples of {NUM_TOKENS} words of one token, masked by this project's own code with the row's "
    "settings. Dots, where each position is as likely as any other: 1 - (1 - p)^k for k patterns of share p."
)

NOISE = (
    "The simple noise scale, tr(S) / |G|^2: of means over the steps that measured it. A batch far below it loses little by being "
    "larger; one far above averages away little that is new."
)


def curves(table: Table, runs: Mapping[str, Path], seeds: Mapping[Path, Sequence[Path]]) -> Iterator[Figure]:
    """Yield what the runs have metrics for; `runs` are the folders of each row's first pretraining run, `seeds` those of all
    its seeds, by the first.
    """
    shared = _rows_of(runs)
    metrics = {_name(names): read(folder / "metrics.jsonl") for folder, names in shared.items()}
    note = _first_seed(table)
    every = {_name(names): [read(f / "metrics.jsonl") for f in seeds[folder]] for folder, names in shared.items()}
    if compared := [*held_out_text.curves(table, every)]:
        yield from compared
    elif held_out := _means(metrics, "val/ppl", None):
        unigram = shared_unigram(table)
        title, level = "Held-out perplexity by tokens seen", ("unigram model", unigram) if unigram is not None else None
        caution = f"{note} {OTHER_TOKENS}".strip() if same_tokens(table) is False else note
        drawn = Figure("perplexity", title, "tokens seen", "perplexity", held_out, reference=level, note=caution)
        yield replace(drawn, log_y=_is_wide(held_out, unigram))
    if losses := _means(metrics, "train/mlm_loss", NUM_MEANS):
        title, smooth = "Training loss of MLM by tokens seen", f"Means over 1/{NUM_MEANS} of the run. {note}".strip()
        yield Figure("loss", title, "tokens seen", "nats per token", losses, note=smooth)


def noise_scale(table: Table, runs: Mapping[str, Path]) -> Figure | None:
    """Return the gradient noise by batch size; None where no run measured it (`trainer.noise_scale_every`).

    A row's simple noise scale is the ratio of the means over its steps of tr(S) and |G|^2 (McCandlish et al. 2018, Section
    2.2 and Appendix A.1); rows whose means are not both positive have no ratio. The batch is that of the steps, which
    has more sequences than `batch_size.sequences` where batches are matched in tokens.
    """
    points, notes = [], []
    for folder, names in _rows_of(runs).items():
        rows = [row for row in read(folder / "metrics.jsonl") if "train/noise_batch" in row]
        signal, trace, batch = (
            sum(row[f"train/noise_{part}"] for row in rows) for part in ("signal", "trace", "batch")
        )
        if signal > 0 and trace > 0:
            points.append((batch / len(rows), trace / signal))
            notes.append(f"{_name(names)}: {number(trace / signal)}, {len(rows)} steps")
    if not points:
        return None
    sizes = sorted({size for size, _ in points})
    measured = Series("simple noise scale", tuple(points), tuple(notes), joined=False)
    itself = Series("the batch itself", tuple((size, size) for size in sizes), published=True)
    title, x, y = "Gradient noise by batch size", "sequences a batch", "sequences"
    note = f"{NOISE} {_first_seed(table)}".strip()
    return Figure("noise_scale", title, x, y, (measured, itself), log_x=True, log_y=True, note=note)


def _rows_of(runs: Mapping[str, Path]) -> dict[Path, list[str]]:
    """Return the rows that share each run, by its folder."""
    found: dict[Path, list[str]] = {}
    for name, folder in runs.items():
        found.setdefault(folder, []).append(name)
    return found


def _first_seed(table: Table) -> str:
    """Return the note that only one seed is drawn; nothing where each row has one."""
    several = any(len(row.perplexity.records) > 1 for row in table.rows)
    return "Of each row the first pretraining seed." if several else ""


def _name(rows: Sequence[str]) -> str:
    """Return the name of a run's line: its row, or the rows that share the run."""
    if len(rows) == 1:
        return rows[0]
    return f"{', '.join(rows) if len(rows) < 4 else f'{len(rows)} rows'} (one run)"


def _means(metrics: Mapping[str, Sequence[Row]], key: str, parts: int | None) -> tuple[Series, ...]:
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


def mask_exposure(table: Table, configs: Mapping[str, Config]) -> Figure | None:
    """Return the positions ever predicted, by epoch, and the formula beside them; None where all rows mask alike.

    Static masking repeats positions, dynamic masking adds new ones (RoBERTa, Section 4.1).
    """
    kinds: dict[tuple[object, ...], tuple[str, MaskingConfig]] = {}
    for name, config in configs.items():
        masking = config.masking
        if rule_of(masking) == "whole_words":  # words of one token each are tokens
            masking = replace(masking, whole_words=False, positions="uniform")
        patterns = masking.num_patterns if masking.name == "static" else 0
        rule = (rule_of(masking), *(getattr(masking, key) for key in positions_of(masking).reads))
        kinds.setdefault((masking.name, masking.mask_prob, masking.selection, patterns, *rule), (name, masking))
    if len(kinds) < 2:
        return None
    passes = [row.passes for row in table.rows if row.passes]
    epochs = min(MOST_EPOCHS, max(2, math.ceil(max(passes, default=40))))
    counted = [_percents(name, exposure(masking, epochs)) for name, masking in kinds.values()]
    formulas: dict[tuple[float, ...], str] = {}  # rows with the same formula share its line
    for name, masking in (kind for kind in kinds.values() if positions_of(kind[1]).is_uniform):
        formulas.setdefault(tuple(expected(masking, epochs)), name)
    by_formula = [_percents(f"{name}, formula", shares, published=True) for shares, name in formulas.items()]
    title, series = "Positions ever predicted, by epoch", (*counted, *by_formula)
    return Figure("mask_exposure", title, "epochs", "% of positions", series, note=COUNTED)


def exposure(config: MaskingConfig, num_epochs: int, seed: int = 1) -> list[float]:
    """Return after each epoch the share of positions, 0 to 1, that were predicted in at least one epoch so far."""
    vocabulary = Vocabulary(1000, 4, (0, 1, 2, 3, 4), continues_word=np.zeros(1000, bool))
    tokens = np.full((NUM_EXAMPLES, NUM_TOKENS), 5, np.int64)
    ids = np.arange(NUM_EXAMPLES)
    ever, found = np.zeros(tokens.shape, bool), []
    for epoch in range(num_epochs):
        epochs = np.full(NUM_EXAMPLES, epoch)
        ever |= mask(tokens, np.ones_like(ever), ids, epochs, config, seed, vocabulary)[1] != IGNORED
        found.append(float(ever.mean()))
    return found


def expected(config: MaskingConfig, num_epochs: int) -> list[float]:
    """Return 1 - (1 - p)^k after each epoch, k the patterns seen so far."""
    most = config.num_patterns if config.name == "static" else num_epochs
    return [1 - (1 - config.mask_prob) ** min(epoch + 1, most) for epoch in range(num_epochs)]


def _percents(name: str, shares: Sequence[float], published: bool = False) -> Series:
    points = tuple((float(epoch), 100 * share) for epoch, share in enumerate(shares, start=1))
    return Series(name, points, published=published)
