"""Items as model inputs: how two texts are joined and cut; how each head makes inputs is in its own file (RoBERTa, Section 5).

Runs pretrained on pairs read `<s> A </s> B </s>` with token types (BERT); the others `<s> A </s></s> B </s>` (RoBERTa).
"""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self, TypeVar

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks import heads
from roberta_lab.tasks.items import Item

T = TypeVar("T")
Features = Iterator["Feature"]
QUESTION_TOKENS = 64  # a question's end is cut (BERT's run_squad.py)
SHORTEST = 16  # tokens of an input: two texts with their special tokens, and a stride that skips nothing
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
    # (label,), (score,), or (first token, last token, 1 if the answer is here); () for words
    target: tuple[float, ...]
    context: tuple[int, int] = (0, 0)  # the tokens of a window that are context, [start, end)
    # the characters of the context's tokens in the item's context; of each word that is labelled here (first token, number)
    places: tuple[tuple[int, int], ...] = ()
    labels: tuple[int, ...] = ()  # of these words
    cut: bool = field(default=False, compare=False)  # a text lost its end; not so where windows show all of it


def usual_stride(max_length: int) -> int:
    """Return what `task.stride=null` means for inputs of this length: a quarter of it, the paper's 128 of 512."""
    return max(1, max_length // 4)


@dataclass(frozen=True)
class PairFormat:
    """The rule for joining two texts, and the longest input."""

    max_length: int
    paired: bool  # one separator and token types (BERT); else two separators (RoBERTa)
    own_stride: int | None = None  # `task.stride`; None: the usual one

    @classmethod
    def for_task(cls, task: TaskConfig, longest: int, paired: bool) -> Self:
        """Return the pair format of a task for a model that reads `longest` tokens at most.

        Raises: ConfigError when windows would leave out tokens beside the longest question.
        """
        found = cls(min(task.max_length, longest), paired)
        if not heads.HEADS[task.head].reads_stride or task.stride in (None, found.stride):
            return found
        if task.stride >= (context := found.room - found.question_room):
            raise ConfigError(
                f"task.stride={task.stride}: inputs of {found.max_length} tokens have room for {context} of a context beside "
                f"the longest question; allowed is less than that, or null for {found.stride}."
            )
        return replace(found, own_stride=task.stride)

    @property
    def num_specials(self) -> int:
        """Return the number of special tokens in an input of two texts."""
        return 3 if self.paired else 4

    @property
    def room(self) -> int:
        """Return how many tokens of two texts fit."""
        return self.max_length - self.num_specials

    @property
    def question_room(self) -> int:
        """Return how many tokens of a question stand beside windows of its context."""
        return min(QUESTION_TOKENS, self.room // 2)

    @property
    def stride(self) -> int:
        """Return the number of tokens from one window to the next."""
        return usual_stride(self.max_length) if self.own_stride is None else self.own_stride

    def cuts(self, a: list[int], b: list[int] | None) -> bool:
        """Return whether `join` leaves some of it out."""
        return len(a) > self.max_length - 2 if b is None else len(a) + len(b) > self.room

    def join(self, a: list[int], b: list[int] | None, encoding: Encoding) -> Sequence:
        """Return the input of one text or two, cut to max_length: of two, the longer loses its end first."""
        bos, eos = [encoding.bos_id], [encoding.eos_id]
        if b is None:
            a = a[: self.max_length - 2]
            return Sequence([*bos, *a, *eos], [0] * (len(a) + 2))
        half = self.room // 2
        a, b = a[: max(self.room - half, self.room - len(b))], b[: max(half, self.room - len(a))]
        separator = eos if self.paired else eos * 2
        ids = [*bos, *a, *separator, *b, *eos]
        first = len(a) + 2
        return Sequence(ids, [0] * first + [int(self.paired)] * (len(ids) - first))


def encode_once(texts: list[str], encode: Callable[[list[str]], list[T]]) -> dict[str, T]:
    """Return what `encode` makes of each different text; contexts and words come again and again."""
    different = list(dict.fromkeys(texts))
    return dict(zip(different, encode(different), strict=True))


def generate(head: str, items: SequenceOf[Item], encoding: Encoding, pairs: PairFormat) -> Features:
    """Yield the features of a task's items, in the items' order. Raises ConfigError if inputs are too short for windows."""
    if pairs.max_length < SHORTEST:
        raise ConfigError(
            f"inputs of {pairs.max_length} tokens are too short for tasks; allowed is {SHORTEST} or more."
        )
    kind = heads.load(head)
    for start in range(0, len(items), CHUNK):
        yield from kind.features(items[start : start + CHUNK], start, encoding, pairs)
