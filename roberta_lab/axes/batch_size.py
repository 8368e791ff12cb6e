"""Choose the examples of each step, rank and micro-batch (RoBERTa, Section 4.3).

`sequences` counts the whole optimizer step, over all ranks and accumulated micro-batches. Every position in the data
follows from the step's number, so a run resumes exactly, and a cut into micro-batches and ranks leaves the batch as is. What the
cut does change, with dropout on, is which units are dropped: so the rows of a table take one micro-batch (`micro_batch_share`).
"""

import math
from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from roberta_lab.axes import Ints, blocks
from roberta_lab.axes.epochs import KEPT, Counting, Epochs, count_all, epochs_of
from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.rng import generator
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import Config, ConfigError, TrainerConfig

LARGEST_BY_DEFAULT = 32
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@lru_cache(maxsize=4)
def _epoch_order(num_examples: int, seed: int, epoch: int, *window: int) -> Ints:
    """Return a permutation of the examples, (N,) int64, new for each epoch; read-only since callers share it.

    Of an epoch of several windows, `window` is the number of one: its examples are permuted.
    """
    order = generator(seed, "order", epoch, *window).permutation(num_examples)
    order.setflags(write=False)
    return order


class Windows(NamedTuple):
    """The windows of an epoch, one after the other; a corpus of one block has one window."""

    blocks: list[Ints]  # of each window
    sizes: Ints  # (W,) int64, examples
    ends: Ints  # (W,) int64, on the line, counted from where the epoch begins


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The examples of a run as one endless line, cut into batches: a permutation per epoch, joined end to end.

    Of a corpus of many blocks, an epoch is windows of blocks (`axes/blocks.py`) with a permutation of each.

    A batch is `sequences` examples or, with `tokens`, the examples that begin within so many tokens of the line: formats of
    short inputs then see as many tokens per step as the others (RoBERTa, Section 4.2).
    """

    plans: Epochs
    sequences: int
    seed: int
    tokens: int | None = None  # of a batch
    longest: int = 1  # input that there may be, in tokens
    _windows: dict[int, Windows] = field(default_factory=dict, init=False)  # of recent epochs
    # where the examples of recent windows of epochs start on the line, counted from where the window begins
    _starts: dict[tuple[int, int], Ints] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.plans.size(0)[0] < 1:
            raise ConfigError("the input plan has no examples; allowed: 1 and more (see data_mix.train_tokens)")
        if self.sequences < 1:
            raise ConfigError(f"batch_size.sequences={self.sequences} is no batch; allowed: 1 and more")

    def _length(self, epoch: int) -> int:
        """Return the length of an epoch on the line, in examples or tokens."""
        return self.plans.size(epoch)[self.tokens is not None]

    @property
    def _per_batch(self) -> int:
        return self.sequences if self.tokens is None else self.tokens

    def _epoch_at(self, position: int) -> tuple[int, int]:
        """Return the epoch in which a position of the line lies, and where that epoch begins."""
        begin, epoch = 0, 0
        while position >= (end := begin + self._length(epoch)):
            begin, epoch = end, epoch + 1
            if epoch == self.plans.copies:  # `begin` is the length of a cycle now
                cycles = position // begin
                begin, epoch = cycles * begin, cycles * epoch
        return epoch, begin

    def epochs(self, steps: int) -> float:
        """Return how many passes over the examples so many steps make."""
        position = steps * self._per_batch
        epoch, begin = self._epoch_at(position)
        return epoch + (position - begin) / self._length(epoch)

    def batch(self, step: int) -> tuple[Ints, Ints]:
        """Return a step's example ids and the epochs in which they are seen, int64 each; steps count from 0.

        A batch may lie in several epochs, so that every batch is full and an epoch holds each example exactly once.
        """
        start, end = step * self._per_batch, (step + 1) * self._per_batch
        epoch, begin = self._epoch_at(start)
        examples, epochs = [], []
        while begin < end:
            windows = self.windows(epoch)
            for window in range(int(np.searchsorted(windows.ends, start - begin, side="right")), len(windows.ends)):
                edge = begin + (int(windows.ends[window - 1]) if window else 0)
                if edge >= end:
                    break
                order = self._order(epoch, window)
                first, last = (self._place(epoch, window, order, position - edge) for position in (start, end))
                examples.append(self.plans.numbers(epoch, windows.blocks[window], order[first:last]))
                epochs.append(np.full(last - first, epoch, np.int64))
            begin, epoch = begin + self._length(epoch), epoch + 1
        return np.concatenate(examples), np.concatenate(epochs)

    def windows(self, epoch: int) -> Windows:
        """Return the windows of an epoch."""
        if epoch not in self._windows:
            of_each = blocks.windows(self.plans.num_blocks, self.seed, epoch)
            counts = self.plans.counts(epoch)
            sizes, tokens = (np.array([counts[name][w].sum() for w in of_each]) for name in ("examples", "tokens"))
            self._windows[epoch] = Windows(of_each, sizes, np.cumsum(sizes if self.tokens is None else tokens))
            _forget(self._windows)
        return self._windows[epoch]

    def _order(self, epoch: int, window: int) -> Ints:
        sizes = self.windows(epoch).sizes
        return _epoch_order(int(sizes[window]), self.seed, epoch, *([window] if len(sizes) > 1 else []))

    def _place(self, epoch: int, window: int, order: Ints, position: int) -> int:
        """Return how many examples of the window begin before `position`, counted from the window's start."""
        if self.tokens is None:
            return min(max(position, 0), len(order))
        if (epoch, window) not in self._starts:
            of_blocks = [self.plans.plan(epoch, int(block)).lengths for block in self.windows(epoch).blocks[window]]
            lengths = np.concatenate(of_blocks)[order].astype(np.int64)
            self._starts[epoch, window] = np.cumsum(lengths) - lengths
            _forget(self._starts)
        return int(np.searchsorted(self._starts[epoch, window], position))

    def passes(self, micro_batch_size: int, world_size: int) -> int:
        """Return the number of forward passes of each rank in a step: as few as micro-batches of this size need.

        Of batches counted in tokens they are never more than there are inputs, however long these are.
        """
        number = accumulation(self.sequences, world_size, micro_batch_size)
        if self.tokens is None:
            return number
        if (most := self.tokens // self.longest // world_size) < 1:
            least = f"{world_size} x {self.longest} tokens"
            raise ConfigError(f"batch_size.sequences={self.sequences}: a step of {self.tokens} tokens is below {least}")
        return min(number, most)

    def micro_batch(
        self, step: int, index: int, micro_batch_size: int, rank: int, world_size: int
    ) -> tuple[Ints, Ints]:
        """Return the share of one rank's `index`-th forward pass; all shares are disjoint and together are the batch.

        Every rank makes the same number of passes. Batches matched in tokens are cut into shares of about equally many
        tokens. Examples of similar length are together, so that there is little padding.
        """
        num_passes = self.passes(micro_batch_size, world_size)
        assert 0 <= index < num_passes and 0 <= rank < world_size, (index, num_passes, rank, world_size)
        examples, epochs = self.batch(step)
        share = index * world_size + rank
        if self.tokens is None:
            here = slice(share * micro_batch_size, (share + 1) * micro_batch_size)
            return examples[here], epochs[here]
        plan, places = self.plans.view(examples, epochs)
        lengths = plan.lengths[places]
        by_length = np.argsort(lengths, kind="stable")
        edges = _equal_shares(lengths[by_length], num_passes * world_size)
        chosen = by_length[edges[share] : edges[share + 1]]
        return examples[chosen], epochs[chosen]


def batch_plan(plans: Epochs, store: SentenceStore, config: Config) -> BatchPlan:
    """Return the batches of a run over the examples of its epochs; `store` has its training documents."""
    sequences, longest = config.batch_size.sequences, config.input_format.max_length
    return BatchPlan(plans, sequences, config.seed, batch_tokens(store, config, plans.counting), longest)


def batch_tokens(store: SentenceStore, config: Config, counting: Counting = count_all) -> int | None:
    """Return the tokens at which a batch aims, special ones too; None for formats whose batches are counted in inputs.

    Formats of short inputs have the real tokens of a batch of the format that they are compared with (`matched_to` of
    `FORMATS`), over the same text; with `matched_to: max_length` those of inputs that are full (RoBERTa, Section 4.2).
    """
    form, sequences = config.input_format, config.batch_size.sequences
    if (partner := format_of(form).matched_to) is None:
        return None
    if form.matched_to == "max_length":
        return sequences * form.max_length
    examples, tokens = epochs_of(store, replace(config, input_format=replace(form, name=partner)), counting).size(0)
    return round(sequences * (tokens / examples))


def _forget(kept: MutableMapping[_Key, _Value]) -> None:
    """Remove the oldest entry where there is one too many."""
    if len(kept) > KEPT:
        del kept[next(iter(kept))]


def _equal_shares(lengths: Ints, number: int) -> Ints:
    """Return edges (number + 1,) that cut the lengths into runs of about equal sums, none of them empty."""
    assert len(lengths) >= number, "a window of the line holds at least as many examples as full inputs"
    ends = np.cumsum(lengths, dtype=np.int64)
    inner = np.searchsorted(ends, ends[-1] * np.arange(1, number) / number) + 1
    edges: Ints = np.concatenate([[0], inner, [len(lengths)]])
    steps = np.arange(number + 1)
    edges = np.maximum.accumulate(edges - steps) + steps  # each run has at least one length ...
    return np.minimum(edges, len(lengths) - number + steps)  # ... and leaves one for each run after it


def accumulation(sequences: int, world_size: int, micro_batch_size: int) -> int:
    """Return the number of forward passes per rank and optimizer step. Raise ConfigError if it is no whole number."""
    if min(sequences, world_size, micro_batch_size) < 1:
        sizes = f"batch_size.sequences={sequences}, {world_size} rank(s), "
        raise ConfigError(f"{sizes}trainer.micro_batch_size={micro_batch_size}: allowed: 1 and more for each")
    share = world_size * micro_batch_size
    if sequences % share == 0:
        return sequences // share
    nearest = sorted({max(1, sequences // share) * share, (sequences // share + 1) * share})
    advice = f"batch_size.sequences={' or '.join(map(str, nearest))}"
    if sequences % world_size == 0:
        divisors = [size for size in range(1, sequences // world_size + 1) if sequences // world_size % size == 0]
        below = [size for size in divisors if size < micro_batch_size][-1:]
        above = [size for size in divisors if size > micro_batch_size][:1]
        advice += f", or trainer.micro_batch_size={' or '.join(map(str, below + above))}"
    raise ConfigError(
        f"batch_size.sequences={sequences} does not divide into {world_size} rank(s) x "
        f"trainer.micro_batch_size={micro_batch_size}; nearest that do: {advice}"
    )


def micro_batch_size(sequences: int, config: TrainerConfig) -> int:
    """Return the sequences of one forward pass: as configured, or the largest number up to 32 that divides `micro_batch_share`.

    `auto` counts as not configured, until `training/micro_batch.py` has tried what fits.
    """
    if isinstance(config.micro_batch_size, int):
        return min(_share(sequences, config), config.micro_batch_size)
    share = micro_batch_share(sequences, config)
    return max(size for size in range(1, LARGEST_BY_DEFAULT + 1) if share % size == 0)


def micro_batch_share(sequences: int, config: TrainerConfig) -> int:
    """Return the number that a micro-batch divides, unless its size is configured: the sequences of a rank's share of a step.

    With `trainer.common_batch` it divides a rank's share of that too, so all rows of a table have the same micro-batch.
    """
    share = _share(sequences, config)
    if config.common_batch is None:
        return share
    return math.gcd(share, _share(config.common_batch, config))


def _share(sequences: int, config: TrainerConfig) -> int:
    return max(1, sequences // max(1, config.world_size))


class Rank(NamedTuple):
    """The number of a process among all processes of a run."""

    number: int = 0
    world_size: int = 1


ALONE = Rank()
