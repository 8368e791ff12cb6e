"""Items as model inputs: the pair formats of the pretrained run, windows over long contexts (RoBERTa, Sections 3.3 and 5).

Runs pretrained on pairs read `<s> A </s> B </s>` with token types (BERT); the others `<s> A </s></s> B </s>` (RoBERTa).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from roberta_lab.tasks.items import Choice, Classification, Item, Span
from roberta_lab.tokenizer import Encoding


class Sequence(NamedTuple):
    """One model input: token ids and token types, specials in, no padding."""

    ids: list[int]
    types: list[int]


@dataclass(frozen=True)
class Feature:
    """One unit of training: the input of an item, the inputs of its candidates, or one window over its context."""

    item: int  # index of the item
    sequences: tuple[Sequence, ...]
    target: tuple[int, ...]  # (label,), or for a window (first token, last token, 1 if the answer lies in it)
    context: tuple[int, int] = (0, 0)  # the tokens of a window that are context, [start, end)
    offsets: tuple[tuple[int, int], ...] = ()  # their characters in the item's context


@dataclass(frozen=True)
class PairFormat:
    """How two texts are joined, and how long an input may be."""

    max_length: int
    paired: bool  # the pretrained run's input format yields pairs

    def join(self, a: list[int], b: list[int] | None, encoding: Encoding) -> Sequence:
        """The input of one text or two, cut to max_length: of two, the longer loses its end first."""
        bos, eos = [encoding.bos_id], [encoding.eos_id]
        if b is None:
            a = a[: self.max_length - 2]
            return Sequence([*bos, *a, *eos], [0] * (len(a) + 2))
        a, b = _cut(a, b, self.max_length - self.num_specials)
        separator = eos if self.paired else eos * 2
        ids = [*bos, *a, *separator, *b, *eos]
        first = len(a) + 2
        return Sequence(ids, [0] * first + [int(self.paired)] * (len(ids) - first))

    @property
    def num_specials(self) -> int:
        """Special tokens in an input of two texts."""
        return 3 if self.paired else 4


def _cut(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
    excess = max(0, len(a) + len(b) - room)
    for_a = min(excess, max(0, len(a) - len(b)))
    for_b = min(excess, max(0, len(b) - len(a)))
    rest = excess - for_a - for_b
    return a[: len(a) - for_a - rest // 2], b[: len(b) - for_b - (rest - rest // 2)]


# ---------------------------------------------------------------- the heads
def _classification(items: list[Classification], encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    first = encoding.encode_batch([item.text_a for item in items])
    second = iter(encoding.encode_batch([item.text_b for item in items if item.text_b is not None]))
    for number, (item, a) in enumerate(zip(items, first, strict=True)):
        b = None if item.text_b is None else next(second)
        yield Feature(number, (pairs.join(a, b, encoding),), (item.label,))


def _choice(items: list[Choice], encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    texts = encoding.encode_batch([item.text for item in items])
    candidates = iter(encoding.encode_batch([choice for item in items for choice in item.choices]))
    for number, (item, text) in enumerate(zip(items, texts, strict=True)):
        inputs = tuple(pairs.join(text, next(candidates), encoding) for _ in item.choices)
        yield Feature(number, inputs, (item.label,))


def _span(items: list[Span], encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    """Windows of the context beside the whole question, a quarter of max_length apart (the paper's 128 of 512)."""
    questions = encoding.encode_batch([item.question for item in items])
    contexts = encoding.encode_with_offsets([item.context for item in items])
    stride = max(1, pairs.max_length // 4)
    for number, (item, question, (ids, offsets)) in enumerate(zip(items, questions, contexts, strict=True)):
        question = question[: pairs.max_length // 2]
        room = pairs.max_length - pairs.num_specials - len(question)
        answer = _answer_tokens(item, offsets)
        for start in range(0, max(1, len(ids) - room + stride), stride):
            window = range(start, min(start + room, len(ids)))
            first = len(question) + pairs.num_specials - 1  # of the context in the input
            here = answer is not None and answer[0] >= window.start and answer[1] < window.stop
            target = (answer[0] - start + first, answer[1] - start + first, 1) if here and answer else (0, 0, 0)
            joined = pairs.join(question, ids[window.start : window.stop], encoding)
            inside = tuple(offsets[window.start : window.stop])
            yield Feature(number, (joined,), target, (first, first + len(window)), inside)


def _answer_tokens(item: Span, offsets: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The first and last token that cover the answer's characters."""
    if item.answer is None:
        return None
    start, end = item.answer
    covering = [i for i, (left, right) in enumerate(offsets) if left < end and right > start]
    return covering[0], covering[-1]


HEADS: dict[str, Callable[..., Iterator[Feature]]] = {
    "classification": _classification,
    "choice": _choice,
    "span": _span,
}


def features(head: str, items: list[Item], encoding: Encoding, pairs: PairFormat) -> list[Feature]:
    """The features of a task's items, in the items' order."""
    return list(HEADS[head](items, encoding, pairs))


def pad(sequences: list[Sequence], pad_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """input_ids (B, T) int64, token_type_ids (B, T) int64 and attention_mask (B, T) bool, padded to the longest."""
    lengths = np.array([len(sequence.ids) for sequence in sequences])
    real = np.arange(lengths.max()) < lengths[:, None]
    ids, types = np.full(real.shape, pad_id), np.zeros(real.shape, np.int64)
    ids[real] = [token for sequence in sequences for token in sequence.ids]
    types[real] = [kind for sequence in sequences for kind in sequence.types]
    return ids, types, real
