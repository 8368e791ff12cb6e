"""How much of a text is ever predicted: static masking repeats positions, dynamic masking adds new ones (RoBERTa, Section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from roberta_lab.axes.examples import IGNORED, Vocabulary
from roberta_lab.axes.masking import mask
from roberta_lab.config import MaskingConfig
from roberta_lab.reports.figures.figure import Figure, Series

NUM_EXAMPLES, NUM_TOKENS = 64, 128
NOTE = (
    f"Counted: {NUM_EXAMPLES} examples of {NUM_TOKENS} tokens, masked by this project's own code with the row's settings (whole words "
    "off). Dots: 1 - (1 - p)^k for k patterns of share p."
)


def exposure(config: MaskingConfig, num_epochs: int, seed: int = 1) -> list[float]:
    """Return after each epoch the share of positions, 0 to 1, that were predicted in at least one epoch so far."""
    vocabulary = Vocabulary(1000, 4, (0, 1, 2, 3, 4))
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


def figure(maskings: Mapping[str, MaskingConfig], num_epochs: int) -> Figure:
    """Return the figure: a line per row, and its formula beside it."""
    counted = [_series(name, exposure(config, num_epochs)) for name, config in maskings.items()]
    formulas: dict[tuple[float, ...], str] = {}  # rows with the same formula share its line
    for name, config in maskings.items():
        formulas.setdefault(tuple(expected(config, num_epochs)), name)
    by_formula = [_series(f"{name}, formula", shares, published=True) for shares, name in formulas.items()]
    return Figure(
        slug="mask_exposure",
        title="Positions ever predicted, by epoch",
        x_label="epochs",
        y_label="% of positions",
        series=(*counted, *by_formula),
        note=NOTE,
    )


def _series(name: str, shares: Sequence[float], published: bool = False) -> Series:
    points = tuple((float(epoch), 100 * share) for epoch, share in enumerate(shares, start=1))
    return Series(name, points, published=published)
