"""Define the plan of examples that an input format makes, and gather the rows of tokens of a batch.

A plan holds spans of the token store and copies no token; `gather` reads the tokens of the examples of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from roberta_lab.axes import Bools, Ints
from roberta_lab.axes.sentence_store import SentenceStore, ranges

IGNORED = -100  # the label of a position that is not predicted, as in PyTorch's cross entropy


@dataclass(frozen=True)
class Vocabulary:
    """The facts of a tokenizer that inputs need: how many ids there are, and which are no text."""

    size: int
    mask_id: int
    special_ids: tuple[int, ...]
    continues_word: Bools | None = None  # (size,) bool, True on pieces inside a word; for rules of words
    num_bytes: Ints | None = None  # (size,) int64, UTF-8 bytes of each token's text without white space
    bos_id: int = 0  # of <s>; these three as in RoBERTa, unless a published tokenizer has others
    pad_id: int = 1
    eos_id: int = 2


@dataclass(frozen=True)
class Plan:
    """The examples of one pass over the corpus: N examples of M spans. `BatchPlan` draws their order for each epoch."""

    num_examples: int
    spans_start: Ints  # (M,) int64, offset in the store's tokens
    spans_length: Ints  # (M,) int32
    spans_kind: Ints  # (M,) uint8, 0 = segment A (or unpaired text), 1 = segment B
    example_ends: Ints  # (N,) int64, cumulative, in spans
    lengths: Ints  # (N,) int32, special tokens included
    next_sentence_label: Ints | None  # (N,) int8, 0 = B is next, 1 = B is random (BERT's convention)
    counts: dict[str, int]

    @property
    def num_text_tokens(self) -> Ints:
        """Return the text tokens of each example, (N,) int64: all but `<s>` and one `</s>` per span."""
        return self.lengths - 1 - np.diff(self.example_ends, prepend=0)

    def take(self, examples: Ints) -> Self:
        """Return a plan of these examples alone, (B,) integers, in this order; the counts stay those of the whole."""
        firsts = np.where(examples > 0, self.example_ends[examples - 1], 0)
        sizes = self.example_ends[examples] - firsts
        spans, label = ranges(firsts, sizes), self.next_sentence_label
        return replace(
            self,
            num_examples=len(examples),
            spans_start=self.spans_start[spans],
            spans_length=self.spans_length[spans],
            spans_kind=self.spans_kind[spans],
            example_ends=np.cumsum(sizes),
            lengths=self.lengths[examples],
            next_sentence_label=None if label is None else label[examples],
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the examples of all parts, one after the other, with the counts of the first part."""
        before = np.cumsum([0, *(len(part.spans_start) for part in parts)])
        labels = [part.next_sentence_label for part in parts if part.next_sentence_label is not None]
        return replace(
            parts[0],
            num_examples=sum(part.num_examples for part in parts),
            spans_start=np.concatenate([part.spans_start for part in parts]),
            spans_length=np.concatenate([part.spans_length for part in parts]),
            spans_kind=np.concatenate([part.spans_kind for part in parts]),
            example_ends=np.concatenate([n + part.example_ends for n, part in zip(before[:-1], parts, strict=True)]),
            lengths=np.concatenate([part.lengths for part in parts]),
            next_sentence_label=np.concatenate(labels) if labels else None,
        )


@dataclass(frozen=True)
class Rows:
    """A batch of inputs before masking, padded on the right to its longest row."""

    input_ids: Ints  # (B, T) int64
    token_type_ids: Ints  # (B, T) int64, special tokens as their segment, 0 on padding
    lengths: Ints  # (B,) int64
    special_mask: Bools  # (B, T) bool, True on <s>, </s> and padding
    next_sentence_label: Ints | None  # (B,) int64
    keys: Ints | None = None  # (B,) uint64, a word for each (seed, example, epoch), from which an objective may draw


def gather(store: SentenceStore, plan: Plan, indices: Ints, vocabulary: Vocabulary) -> Rows:
    """Return the inputs of the given examples, (B,) integers, as padded arrays; in a pair, A stands before B.

    All text is assigned through one boolean mask, so that no index is made per token.
    """
    lasts = plan.example_ends[indices]
    num_spans = lasts - np.where(indices > 0, plan.example_ends[np.maximum(indices, 1) - 1], 0)
    row_of = np.repeat(np.arange(len(indices)), num_spans)
    ends = np.cumsum(num_spans)
    span_ids = np.arange(len(row_of)) + np.repeat(lasts - ends, num_spans)
    span_lengths = plan.spans_length[span_ids].astype(np.int64)
    lengths = plan.lengths[indices].astype(np.int64)
    width = int(lengths.max(initial=0))
    after = np.cumsum(span_lengths + 1)  # tokens and </s> up to the end of each span
    before = (after - span_lengths - 1)[ends - num_spans]  # and before each row
    separators = row_of * width + after - before[row_of]  # in the flattened rows

    columns = np.arange(width, dtype=np.min_scalar_type(width))  # a narrow type: it is compared with every place
    padding = columns >= lengths.astype(columns.dtype)[:, None]
    special = padding.copy()
    special[:, :1] = True
    special.reshape(-1)[separators] = True
    input_ids = np.full(special.shape, vocabulary.pad_id, np.int64)
    input_ids[:, :1] = vocabulary.bos_id
    input_ids.reshape(-1)[separators] = vocabulary.eos_id
    input_ids[~special] = store.gather_tokens(plan.spans_start[span_ids], span_lengths)
    types, kinds = np.zeros(special.shape, np.int64), plan.spans_kind[span_ids]
    if kinds.any():
        a_ends = 1 + np.bincount(row_of, (span_lengths + 1) * (kinds == 0), len(indices))
        np.greater(columns >= a_ends.astype(columns.dtype)[:, None], padding, out=types, casting="unsafe")
    label = plan.next_sentence_label
    return Rows(input_ids, types, lengths, special, None if label is None else label[indices].astype(np.int64))
