"""How much of a text is ever predicted: static masking shows the same positions again, dynamic masking goes on (RoBERTa, 4.1)."""

from __future__ import annotations

import numpy as np

from roberta_lab.axes.examples import IGNORED, Vocabulary
from roberta_lab.axes.masking import mask
from roberta_lab.config import MaskingConfig
from roberta_lab.reports.figures.drawing import Figure, Series

NUM_EXAMPLES, NUM_TOKENS = 64, 128
NOTE = (
    f"Counted: {NUM_EXAMPLES} examples of {NUM_TOKENS} tokens, masked by this project's own code with the row's settings (whole words "
    "off). Dots: 1 - (1 - p)^k for k patterns of share p."
)


def exposure(config: MaskingConfig, num_epochs: int, seed: int = 1) -> list[float]:
    """Share of positions that were predicted in at least one of the epochs so far, 0 to 1, after each of `num_epochs`."""
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
    """1 - (1 - p)^k, k the patterns seen so far."""
    most = config.num_patterns if config.name == "static" else num_epochs
    return [1 - (1 - config.mask_prob) ** min(epoch + 1, most) for epoch in range(num_epochs)]


def figure(maskings: dict[str, MaskingConfig], num_epochs: int) -> Figure:
    """A line per row, and its formula in grey."""
    epochs = range(1, num_epochs + 1)
    counted = [
        Series(name, tuple(zip(map(float, epochs), (100 * v for v in exposure(config, num_epochs)), strict=True)))
        for name, config in maskings.items()
    ]
    formula = {tuple(expected(config, num_epochs)): name for name, config in reversed(maskings.items())}
    by_formula = [
        Series(
            f"{name}, formula", tuple(zip(map(float, epochs), (100 * v for v in values), strict=True)), published=True
        )
        for values, name in reversed(formula.items())
    ]
    return Figure(
        slug="mask_exposure",
        title="Positions ever predicted, by epoch",
        x_label="epochs",
        y_label="% of positions",
        series=(*counted, *by_formula),
        note=NOTE,
    )
