"""Choose which places of an example are predicted: tokens, whole words, or spans of words. Masking replaces them.

A rule is one function and one line in `POSITIONS`; general tests of masks run over the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from roberta_lab.axes import Bools, Ints
from roberta_lab.axes.examples import Vocabulary
from roberta_lab.axes.rng import hashed, stream_key, uniform
from roberta_lab.config import MaskingConfig


class Chosen(NamedTuple):
    """The places that are predicted, and which of them are replaced alike."""

    selected: Bools  # (B, T)
    # (B, T) int64: selected tokens of one number share the draw of 80/10/10; None: each has its own
    units: Ints | None = None


# ids (B, T), where a token may be selected (B, T), a 64-bit key for each row (B,) from which all draws come, how many
# tokens are wanted (B,), the vocabulary, the config
Choose: TypeAlias = Callable[[Ints, Bools, Ints, Ints, Vocabulary, MaskingConfig], Chosen]


@dataclass(frozen=True)
class Positions:
    """A rule by which the places of an example that are masked are chosen."""

    choose: Choose
    is_exact: bool  # chooses as many as are wanted, so that their number is known without choosing (`num_masked`)
    is_uniform: bool  # chooses each token as likely as any other
    draws_by_token: bool = True  # how a token is replaced is drawn for it alone (`Chosen.units` is None)
    reads: tuple[str, ...] = ()  # keys of masking that belong to some rules only: ids of other rules leave them out


def uniform_positions(
    ids: Ints, maskable: Bools, keys: Ints, counts: Ints, vocabulary: Vocabulary, config: MaskingConfig
) -> Chosen:
    """Choose uniform positions without replacement: those of the `counts` smallest words among the maskable.

    Words of one row are never equal, since `hashed` is a bijection of its last counter. Padding has no influence.
    """
    words = hashed(stream_key(0, "position"), keys[:, None], np.arange(maskable.shape[1])[None, :])
    words[~maskable] = np.iinfo(np.uint64).max
    last = np.maximum(counts, 1) - 1
    ranked = np.sort(words, axis=1) if np.ptp(last) > 1 else np.partition(words, np.unique(last), axis=1)
    thresholds = np.where(counts > 0, ranked[np.arange(len(last)), last], 0)
    return Chosen((words <= thresholds[:, None]) & maskable & (counts > 0)[:, None])


def word_of(ids: Ints, maskable: Bools, vocabulary: Vocabulary) -> tuple[Ints, Ints]:
    """Return the number of each token's word in its row, (B, T), and the tokens of each word, (B, W); 0 where there is none.

    A word begins at a token that does not continue one, and after a place that may not be selected. A special token that may
    be (fairseq's selection) is a word of its own. Numbers count from 0 and mean something at maskable places only.
    """
    assert vocabulary.continues_word is not None
    special = np.isin(ids, vocabulary.special_ids)
    continues = vocabulary.continues_word[ids] & ~special & ~np.pad(special, ((0, 0), (1, 0)))[:, :-1]
    starts = maskable & ~(continues & np.pad(maskable, ((0, 0), (1, 0)))[:, :-1])
    word = np.maximum(np.cumsum(starts, axis=1) - 1, 0)
    sizes = np.zeros((len(word), int(word.max(initial=0)) + 1), np.int64)
    rows, columns = np.nonzero(maskable)
    np.add.at(sizes, (rows, word[rows, columns]), 1)
    return word, sizes


def whole_words(
    ids: Ints, maskable: Bools, keys: Ints, counts: Ints, vocabulary: Vocabulary, config: MaskingConfig
) -> Chosen:
    """Choose whole words: taken in a random order, each if it still fits into the counts, as in BERT."""
    word, sizes = word_of(ids, maskable, vocabulary)
    num_rows, most = sizes.shape
    order = np.argsort(hashed(stream_key(0, "word"), keys[:, None], np.arange(most)[None, :]), axis=1)
    taken, total, all_rows = np.zeros((num_rows, most), bool), np.zeros(num_rows, np.int64), np.arange(num_rows)
    for choice in order.T:  # one word of each row at a time
        size = sizes[all_rows, choice]
        fits = (size > 0) & (total + size <= counts)
        taken[all_rows, choice] = fits
        total += np.where(fits, size, 0)
    return Chosen(maskable & np.take_along_axis(taken, word, axis=1))


def span_lengths(words: Ints, config: MaskingConfig) -> Ints:
    """Return spans' lengths in words, one per random word (uint64): geometric(`span_p`), up to `max_span`, int64.

    P(l) is in proportion to p (1 - p)^(l - 1), l from 1 to the maximum: a mean of 3.8 for p = 0.2 and 10 words
    (SpanBERT, Joshi et al. 2020, Section 3.1 and Figure 2).
    """
    shares = (1 - config.span_p) ** np.arange(config.max_span)
    edges = np.cumsum(shares) / shares.sum()
    return 1 + np.searchsorted(edges[:-1], uniform(words), side="right")


def spans(
    ids: Ints, maskable: Bools, keys: Ints, counts: Ints, vocabulary: Vocabulary, config: MaskingConfig
) -> Chosen:
    """Choose spans of whole words until the counts are reached (SpanBERT, Joshi et al. 2020, Section 3.1).

    Again and again a word is drawn uniformly from those that are not yet chosen; the span is it and the words after it, up
    to a random length, without those that are chosen already and not beyond a place that may not be selected, or a special
    token. The last span ends where the count is reached, also inside a word. All tokens of a span are replaced alike.
    """
    word, sizes = word_of(ids, maskable, vocabulary)
    num_rows, most = sizes.shape
    segment = np.zeros(sizes.shape, np.int64)  # which run of maskable places a word is in: a span ends with it
    rows, columns = np.nonzero(maskable)
    special = np.isin(ids, vocabulary.special_ids)
    borders = ~maskable + special + np.pad(special, ((0, 0), (1, 0)))[:, :-1].astype(np.int64)
    segment[rows, word[rows, columns]] = np.cumsum(borders, axis=1)[rows, columns]
    numbers = np.arange(most)[None, :]
    order = np.argsort(hashed(stream_key(0, "span"), keys[:, None], numbers), axis=1)
    lengths = span_lengths(hashed(stream_key(0, "span length"), keys[:, None], numbers), config)
    span = np.full(sizes.shape, -1, np.int64)  # the first word of the span that each word is in
    total, last, here = np.zeros(num_rows, np.int64), np.full(num_rows, -1), np.arange(num_rows)
    for choice in order.T:  # one span of each row at a time
        opens = (span[here, choice] < 0) & (sizes[here, choice] > 0) & (total < counts)
        last[opens] = choice[opens]
        for offset in range(int(lengths[here, choice][opens].max(initial=0))):
            next_word = np.minimum(choice + offset, most - 1)
            fits = opens & (offset < lengths[here, choice]) & (choice + offset < most) & (sizes[here, next_word] > 0)
            fits &= (segment[here, next_word] == segment[here, choice]) & (span[here, next_word] < 0) & (total < counts)
            span[here[fits], next_word[fits]] = choice[fits]
            total += np.where(fits, sizes[here, next_word], 0)
        if (total >= counts).all():
            break
    units = np.where(maskable, np.take_along_axis(span, word, axis=1), -1)
    ending = (units == last[:, None]) & (units >= 0)
    excess = np.cumsum(ending[:, ::-1], axis=1)[:, ::-1] <= np.maximum(total - counts, 0)[:, None]
    return Chosen((units >= 0) & ~(ending & excess), units)


POSITIONS = {
    "uniform": Positions(uniform_positions, is_exact=True, is_uniform=True),
    "whole_words": Positions(whole_words, is_exact=False, is_uniform=False),
    "span": Positions(spans, is_exact=True, is_uniform=False, draws_by_token=False, reads=("span_p", "max_span")),
}
