"""Choose the tokens that are predicted, and what the model sees in their place (RoBERTa, Sections 2.3 and 4.1).

A pattern is a pure function of (seed, example, epoch) when masking is dynamic, and of (seed, example, epoch mod
num_patterns) when it is static. The paper duplicated its data ten times to get ten static patterns; here that needs
no storage. No worker, rank, micro-batch, padding or order of calls can change a mask, since none is part of its key.
"""

from collections.abc import Callable

import numpy as np

from roberta_lab.axes import Bools, Ints
from roberta_lab.axes.examples import IGNORED, Plan, Rows, Vocabulary
from roberta_lab.axes.mask_positions import POSITIONS, Chosen, Positions
from roberta_lab.axes.rng import hashed, stream_key, uniform
from roberta_lab.config import ConfigError, MaskingConfig, nearest

_BLOCK_TOKENS = 1 << 15  # rows are masked in blocks that stay in the processor's cache


def static_pattern(epochs: Ints, config: MaskingConfig) -> Ints:
    """Return the number of each epoch's static pattern: `num_patterns` patterns in turn."""
    return epochs % config.num_patterns


def dynamic_pattern(epochs: Ints, config: MaskingConfig) -> Ints:
    """Return the number of each epoch's dynamic pattern: a new one each time an example is seen."""
    return epochs


def exact_count(num_maskable: Ints, example_words: Ints, config: MaskingConfig) -> Ints:
    """Return floor(mask_prob x n + u), u uniform on [0, 1): within one of the rate for an example, the rate on average."""
    return np.floor(config.mask_prob * num_maskable + uniform(example_words)).astype(np.int64)


def bernoulli_count(num_maskable: Ints, example_words: Ints, config: MaskingConfig) -> Ints:
    """Return draws of Binomial(n, mask_prob): uniform subsets of that many positions equal a coin for each token."""
    tokens = np.arange(num_maskable.max(initial=0))
    heads = uniform(hashed(stream_key(0, "coins"), example_words[:, None], tokens)) < config.mask_prob
    counts: Ints = np.count_nonzero(heads & (tokens < num_maskable[:, None]), axis=1)
    return counts


PATTERNS: dict[str, Callable[[Ints, MaskingConfig], Ints]] = {"static": static_pattern, "dynamic": dynamic_pattern}
SELECTIONS: dict[str, Callable[[Ints, Ints, MaskingConfig], Ints]] = {
    "exact": exact_count,
    "bernoulli": bernoulli_count,
    "fairseq": exact_count,  # among all tokens, special ones included: see `maskable`
}


def validate(config: MaskingConfig) -> None:
    """Raise ConfigError for a masking config that makes no sense."""
    if config.name not in PATTERNS:
        raise ConfigError(f"masking.name={config.name!r} is unknown; allowed: {', '.join(PATTERNS)}")
    if config.selection not in SELECTIONS:
        raise ConfigError(f"masking.selection={config.selection!r} is unknown; allowed: {', '.join(SELECTIONS)}")
    if config.mask_share + config.random_share > 1 + 1e-9:
        shares = f"masking.mask_share={config.mask_share} and masking.random_share={config.random_share}"
        raise ConfigError(f"{shares} are no shares of a whole; allowed: their sum at most 1")
    if config.positions not in POSITIONS:
        hint = nearest(config.positions, list(POSITIONS))
        raise ConfigError(f"masking.positions={config.positions!r} is unknown.{hint} Allowed: {', '.join(POSITIONS)}.")
    if config.whole_words and config.positions not in ("uniform", "whole_words"):
        raise ConfigError(
            f"masking.whole_words=true contradicts masking.positions={config.positions}; set one of the two."
        )


def rule_of(config: MaskingConfig) -> str:
    """Return the name of the rule of positions: `masking.whole_words=true` is the older name of one."""
    return "whole_words" if config.whole_words else config.positions


def positions_of(config: MaskingConfig) -> Positions:
    """Return the rule of positions of a config."""
    return POSITIONS[rule_of(config)]


def maskable(special_mask: Bools, lengths: Ints, config: MaskingConfig) -> Bools:
    """Return where a token may be selected, (B, T): on text; with fairseq's selection also on `<s>` and `</s>`.

    Never on padding. `special_mask`, (B, T), is True on special tokens and padding; `lengths`, (B,), count special tokens.
    """
    if config.selection == "fairseq":
        return np.arange(special_mask.shape[1]) < lengths[:, None]
    return ~special_mask


def num_maskable(plan: Plan, examples: Ints, config: MaskingConfig) -> Ints:
    """Return how many tokens of each example may be selected, (B,), without gathering them."""
    return (plan.lengths if config.selection == "fairseq" else plan.num_text_tokens)[examples]


def _pattern_keys(example_ids: Ints, epochs: Ints, config: MaskingConfig, seed: int) -> Ints:
    """Return one 64-bit word per (seed, example, pattern), from which all draws of that pattern come. (B,) uint64."""
    validate(config)
    pattern = PATTERNS[config.name](np.asarray(epochs), config)
    return hashed(stream_key(seed, "masking"), np.asarray(example_ids), pattern)


def _counts(num_maskable: Ints, keys: Ints, config: MaskingConfig) -> Ints:
    words = hashed(stream_key(0, "count"), keys)
    return np.minimum(SELECTIONS[config.selection](num_maskable, words, config), num_maskable)


def num_masked(num_maskable: Ints, example_ids: Ints, epochs: Ints, config: MaskingConfig, seed: int) -> Ints:
    """Return how many tokens `mask` will select in each example, (B,) int64, without masking it: a step's loss needs them.

    All arrays are (B,) integers. Where the rule is not exact (`positions_of`), `mask` selects at most so many.
    """
    return _counts(np.asarray(num_maskable), _pattern_keys(example_ids, epochs, config, seed), config)


def _replace(masked: Ints, chosen: Chosen, keys: Ints, config: MaskingConfig, vocab: Vocabulary) -> None:
    """Replace each selected token in place by `<mask>`, a random token, or itself.

    One draw decides that for each token, or for all tokens of a unit together; random tokens are drawn one by one.
    """
    rows, columns = np.nonzero(chosen.selected)
    units = columns if chosen.units is None else chosen.units[rows, columns]
    action = uniform(hashed(stream_key(0, "action"), keys[rows], units))
    to_mask = action < config.mask_share
    masked[rows[to_mask], columns[to_mask]] = vocab.mask_id
    to_random = ~to_mask & (action < config.mask_share + config.random_share)
    rows, columns = rows[to_random], columns[to_random]
    words = hashed(stream_key(0, "token"), keys[rows], columns)
    tokens = (uniform(words) * (vocab.size - len(set(vocab.special_ids)))).astype(np.int64)
    for special in sorted(set(vocab.special_ids)):  # the r-th id that is not special
        tokens += tokens >= special
    masked[rows, columns] = tokens


def mask(
    input_ids: Ints,
    maskable: Bools,
    example_ids: Ints,
    epochs: Ints,
    config: MaskingConfig,
    seed: int,
    vocabulary: Vocabulary,
) -> tuple[Ints, Ints]:
    """Mask each row of `input_ids`, (B, T) int64, with the pattern of its (seed, example, epoch).

    Only `maskable` places, (B, T) bool, are selected. Random tokens are uniform over the ids that are not special.
    Return what the model sees, (B, T) int64, and labels, (B, T) int64: the original id where selected and -100 elsewhere.
    """
    keys, positions = _pattern_keys(example_ids, epochs, config, seed), positions_of(config)
    counts = _counts(np.count_nonzero(maskable, axis=1), keys, config)
    masked = np.array(input_ids, dtype=np.int64)
    labels = np.full(masked.shape, IGNORED, dtype=np.int64)
    block = max(1, _BLOCK_TOKENS // max(1, masked.shape[1]))
    for start in range(0, len(masked), block):
        rows = slice(start, start + block)
        chosen = positions.choose(input_ids[rows], maskable[rows], keys[rows], counts[rows], vocabulary, config)
        np.copyto(labels[rows], masked[rows], where=chosen.selected)
        _replace(masked[rows], chosen, keys[rows], config, vocabulary)
    return masked, labels


def masked_rows(
    rows: Rows, examples: Ints, epochs: Ints, config: MaskingConfig, seed: int, vocabulary: Vocabulary
) -> tuple[Ints, Ints]:
    """Return what the model sees of the rows, and the labels: (B, T) int64 each."""
    allowed = maskable(rows.special_mask, rows.lengths, config)
    return mask(rows.input_ids, allowed, examples, epochs, config, seed, vocabulary)
