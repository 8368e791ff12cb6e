"""Items as model inputs: the pair formats of the pretrained run, windows over long texts (RoBERTa, Sections 3.3 and 5).

Runs pretrained on pairs read `<s> A </s> B </s>` with token types (BERT); the others `<s> A </s></s> B </s>` (RoBERTa).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.items import Choice, Classification, Item, Regression, Span, Tagging

T = TypeVar("T")
QUESTION_TOKENS = 64  # a question's end is cut (BERT's run_squad.py)
CANDIDATE_TOKENS = 128  # RACE's question with an answer (RoBERTa, Section 5.3)
UNLABELLED = -1
CHUNK = 4096  # items that are encoded together: by all cores, in bounded memory


class Sequence(NamedTuple):
    """One model input: token ids and token types, specials in, no padding."""

    ids: list[int]
    types: list[int]


@dataclass(frozen=True)
class Feature:
    """One unit of training: the input of an item, the inputs of its candidates, or one window over its text."""

    item: int  # index of the item
    sequences: tuple[Sequence, ...]
    target: tuple[
        float, ...
    ]  # (label,), (score,), (first token, last token, 1 if the answer is here), or words' labels
    context: tuple[int, int] = (0, 0)  # the tokens of a window that are context, [start, end)
    offsets: tuple[tuple[int, int], ...] = ()  # their characters in the item's context
    words: tuple[tuple[int, int], ...] = ()  # (first token, number) of each word that is labelled in this window
    cut: bool = field(default=False, compare=False)  # a text lost its end; not so where windows show all of it


@dataclass(frozen=True)
class PairFormat:
    """How two texts are joined, and how long an input may be."""

    max_length: int
    paired: bool  # one separator and token types (BERT); else two separators (RoBERTa)
    own_stride: int | None = None  # `task.stride`; None: the usual one

    @classmethod
    def of(cls, task: TaskConfig, longest: int, paired: bool) -> PairFormat:
        """That of a task for a model that reads `longest` tokens at most.

        Raises: ConfigError when windows would leave out tokens beside the longest question.
        """
        found = cls(min(task.max_length, longest), paired)
        if task.head != "span" or task.stride in (None, found.stride):
            return found
        if task.stride >= (context := found.room - found.question_room):
            raise ConfigError(
                f"task.stride={task.stride}: inputs of {found.max_length} tokens have room for {context} of a context beside "
                f"the longest question; allowed is less than that, or null for {found.stride}."
            )
        return replace(found, own_stride=task.stride)

    @property
    def num_specials(self) -> int:
        """Special tokens in an input of two texts."""
        return 3 if self.paired else 4

    @property
    def room(self) -> int:
        """Tokens of two texts that fit."""
        return self.max_length - self.num_specials

    @property
    def question_room(self) -> int:
        """Tokens of a question beside windows of its context."""
        return min(QUESTION_TOKENS, self.room // 2)

    @property
    def stride(self) -> int:
        """Tokens from one window to the next."""
        return usual_stride(self.max_length) if self.own_stride is None else self.own_stride

    def cuts(self, a: list[int], b: list[int] | None) -> bool:
        """Whether `join` leaves some of it out."""
        return len(a) > self.max_length - 2 if b is None else len(a) + len(b) > self.room

    def join(self, a: list[int], b: list[int] | None, encoding: Encoding) -> Sequence:
        """The input of one text or two, cut to max_length: of two, the longer loses its end first."""
        bos, eos = [encoding.bos_id], [encoding.eos_id]
        if b is None:
            a = a[: self.max_length - 2]
            return Sequence([*bos, *a, *eos], [0] * (len(a) + 2))
        a, b = _cut(a, b, self.room)
        separator = eos if self.paired else eos * 2
        ids = [*bos, *a, *separator, *b, *eos]
        first = len(a) + 2
        return Sequence(ids, [0] * first + [int(self.paired)] * (len(ids) - first))


def _cut(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
    excess = max(0, len(a) + len(b) - room)
    for_a = min(excess, max(0, len(a) - len(b)))
    for_b = min(excess, max(0, len(b) - len(a)))
    rest = excess - for_a - for_b
    return a[: len(a) - for_a - rest // 2], b[: len(b) - for_b - (rest - rest // 2)]


def _each_once(texts: list[str], encode: Callable[[list[str]], list[T]]) -> dict[str, T]:
    """What `encode` makes of each text; contexts and words come again and again."""
    different = list(dict.fromkeys(texts))
    return dict(zip(different, encode(different), strict=True))


# ---------------------------------------------------------------- texts and candidates
def _texts(items: list[Any], first: int, encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    """Inputs of one text or two, with a class or a score."""
    ids = _each_once([t for item in items for t in (item.text_a, item.text_b) if t is not None], encoding.encode_batch)
    for number, item in enumerate(items, first):
        a, b = ids[item.text_a], None if item.text_b is None else ids[item.text_b]
        yield Feature(number, (pairs.join(a, b, encoding),), (_target(item),), cut=pairs.cuts(a, b))


def _target(item: Classification | Regression | Choice) -> float:
    if isinstance(item, Regression):
        return math.nan if item.score is None else item.score
    return UNLABELLED if item.label is None else item.label


def _choice(items: list[Choice], first: int, encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    """The text beside each candidate. Candidates are cut to 128 tokens, then the text to what is left (Section 5.3);
    in inputs so short that this is more than half, to half, or to what a short text leaves.
    """
    texts = _each_once([item.text for item in items], encoding.encode_batch)
    candidates = _each_once([choice for item in items for choice in item.choices], encoding.encode_batch)
    for number, item in enumerate(items, first):
        text = texts[item.text]
        most = min(CANDIDATE_TOKENS, max(pairs.room // 2, pairs.room - len(text)))
        inputs = []
        for choice in item.choices:
            candidate = candidates[choice][:most]
            inputs.append(pairs.join(text[: pairs.room - len(candidate)], candidate, encoding))
        cut = any(len(ids := candidates[choice]) > most or pairs.cuts(text, ids) for choice in item.choices)
        yield Feature(number, tuple(inputs), (_target(item),), cut=cut)


# ---------------------------------------------------------------- windows over a context
def _span(items: list[Span], first: int, encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    """Windows of the context beside the question; every token of the context is in one of them or more."""
    questions = _each_once([item.question for item in items], encoding.encode_batch)
    contexts = _each_once([item.context for item in items], encoding.encode_with_offsets)
    for number, item in enumerate(items, first):
        ids, offsets = contexts[item.context]
        question = questions[item.question][: pairs.question_room]
        room, cut = pairs.room - len(question), len(question) < len(questions[item.question])
        answer = answer_tokens(item, offsets)
        before = len(question) + pairs.num_specials - 1  # tokens of the input in front of the context
        for start in range(0, max(1, len(ids) - room + pairs.stride), pairs.stride):
            end = min(start + room, len(ids))
            here = answer is not None and start <= answer[0] and answer[1] < end
            target = (answer[0] - start + before, answer[1] - start + before, 1) if here and answer else (0, 0, 0)
            joined = pairs.join(question, ids[start:end], encoding)
            yield Feature(number, (joined,), target, (before, before + end - start), tuple(offsets[start:end]), cut=cut)


def answer_tokens(item: Span, offsets: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The first and last token that cover the answer's characters; None if there is no answer, or no token that does."""
    if item.answer is None:
        return None
    start, end = item.answer
    first = bisect_right(offsets, start, key=lambda offset: offset[1])
    last = bisect_left(offsets, end, key=lambda offset: offset[0]) - 1
    return (first, last) if first <= last else None


# ---------------------------------------------------------------- windows over words
def _tagging(items: list[Tagging], first: int, encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    """Windows of whole words. Each word is labelled on its first piece, in the one window where it has most around it.

    A word without pieces is `<unk>`; one that is longer than the input loses its end.
    """
    room = pairs.max_length - 2
    pieces = _each_once([t for item in items for t in _spelled(item.words)], encoding.encode_batch)
    for number, item in enumerate(items, first):
        spelled = [pieces[text] for text in _spelled(item.words)]
        words = [own[:room] or [encoding.unk_id] for own in spelled]
        cut = any(len(own) > room for own in spelled)
        for window, own in word_windows([len(word) for word in words], room):
            at, places = 1, []
            for word in window:
                if word in own:
                    places.append((at, word))
                at += len(words[word])
            ids = [piece for word in window for piece in words[word]]
            target = tuple(UNLABELLED if item.labels is None else item.labels[word] for word in own)
            yield Feature(number, (pairs.join(ids, None, encoding),), target, words=tuple(places), cut=cut)


def _spelled(words: tuple[str, ...]) -> list[str]:
    """Each word as it stands in running text: all but the first have a space before them."""
    return [f" {word}" if i else word for i, word in enumerate(words)]


def word_windows(lengths: list[int], room: int) -> Iterator[tuple[range, range]]:
    """The words of each window, and those of them that are labelled in it: every word once.

    Windows overlap by a quarter of the room at most; of the words in two, the first half is the first window's.

    Args:
        lengths: pieces of each word, `room` at most.
    """
    start = own = 0
    while True:
        end, used = start, 0
        while end < len(lengths) and used + lengths[end] <= room:
            used, end = used + lengths[end], end + 1
        if end == len(lengths):
            yield range(start, end), range(own, end)
            return
        following, used = end, 0
        while following - 1 > start and used + lengths[following - 1] <= room // 4:
            used, following = used + lengths[following - 1], following - 1
        middle = (following + end + 1) // 2
        yield range(start, end), range(own, middle)
        start, own = following, middle


HEADS: dict[str, Callable[..., Iterator[Feature]]] = {
    "classification": _texts,
    "regression": _texts,
    "choice": _choice,
    "span": _span,
    "tagging": _tagging,
}
SHORTEST = 16  # tokens: two texts with their special tokens, and a stride that skips nothing


def generate(head: str, items: list[Item], encoding: Encoding, pairs: PairFormat) -> Iterator[Feature]:
    """The features of a task's items, in the items' order. Raises ConfigError if inputs are too short for windows."""
    if pairs.max_length < SHORTEST:
        raise ConfigError(
            f"inputs of {pairs.max_length} tokens are too short for tasks; allowed is {SHORTEST} or more."
        )
    for start in range(0, len(items), CHUNK):
        yield from HEADS[head](items[start : start + CHUNK], start, encoding, pairs)


def features(head: str, items: list[Item], encoding: Encoding, pairs: PairFormat) -> list[Feature]:
    """`generate` as a list."""
    return list(generate(head, items, encoding, pairs))


def usual_stride(max_length: int) -> int:
    """What `task.stride=null` means for inputs of this length: a quarter of it, the paper's 128 of 512."""
    return max(1, max_length // 4)
