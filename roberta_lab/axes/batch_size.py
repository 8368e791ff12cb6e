"""Choose the examples of each step, rank and micro-batch (RoBERTa, Section 4.3).

`sequences` counts the whole optimizer step, over all ranks and accumulated micro-batches. Every position in the data
follows from the step's number, so a run resumes exactly, and a cut into micro-batches and ranks leaves the batch as is. What the
cut does change, with dropout on, is which units are dropped: so the rows of a table take one micro-batch (`micro_batch_share`).
"""

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from roberta_lab.axes import Ints
from roberta_lab.axes.examples import Plan
from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.rng import generator
from roberta_lab.config import Config, ConfigError, TrainerConfig

LARGEST_BY_DEFAULT = 32


@lru_cache(maxsize=4)
def _epoch_order(num_examples: int, seed: int, epoch: int) -> Ints:
    """Return a permutation of the examples, (N,) int64, new for each epoch; read-only since callers share it."""
    order = generator(seed, "order", epoch).permutation(num_examples)
    order.setflags(write=False)
    return order


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """The examples of a run as one endless line, cut into batches: a permutation per epoch, joined end to end.

    A batch is `sequences` examples or, with `lengths`, the examples that begin within `sequences * max_length` tokens of
    the line: formats of short inputs then see as many tokens per step as the others (RoBERTa, Section 4.2).
    """

    num_examples: int
    sequences: int
    seed: int
    lengths: Ints | None = None  # (N,) tokens of each example, at most max_length
    max_length: int = 1
    _starts: dict[int, Ints] = field(default_factory=dict, init=False)  # of the examples of recent epochs, on the line

    def __post_init__(self) -> None:
        if self.num_examples < 1:
            raise ConfigError("the input plan has no examples; allowed: 1 and more (see data_mix.train_tokens)")
        if self.sequences < 1:
            raise ConfigError(f"batch_size.sequences={self.sequences} is no batch; allowed: 1 and more")
        assert self.lengths is None or 0 < self.lengths.min() <= self.lengths.max() <= self.max_length

    @cached_property
    def _per_epoch(self) -> int:
        """Return the length of one epoch on the line, in examples or tokens."""
        return self.num_examples if self.lengths is None else int(self.lengths.sum(dtype=np.int64))

    @cached_property
    def _per_batch(self) -> int:
        return self.sequences * (1 if self.lengths is None else self.max_length)

    def epochs(self, steps: int) -> float:
        """Return how many passes over the examples so many steps make."""
        return steps * self._per_batch / self._per_epoch

    def batch(self, step: int) -> tuple[Ints, Ints]:
        """Return a step's example ids and the epochs in which they are seen, int64 each; steps count from 0.

        A batch may lie in two epochs, so that every batch is full and an epoch holds each example exactly once.
        """
        start, end = step * self._per_batch, (step + 1) * self._per_batch
        examples, epochs = [], []
        for epoch in range(start // self._per_epoch, (end - 1) // self._per_epoch + 1):
            order = _epoch_order(self.num_examples, self.seed, epoch)
            first, last = (self._place(epoch, order, edge - epoch * self._per_epoch) for edge in (start, end))
            examples.append(order[first:last])
            epochs.append(np.full(last - first, epoch, np.int64))
        return np.concatenate(examples), np.concatenate(epochs)

    def _place(self, epoch: int, order: Ints, position: int) -> int:
        """Return how many examples of the epoch begin before `position`, counted from the epoch's start."""
        if self.lengths is None:
            return min(max(position, 0), self.num_examples)
        if epoch not in self._starts:
            for old in [e for e in self._starts if e < epoch - 1]:
                del self._starts[old]
            lengths = self.lengths[order].astype(np.int64)
            self._starts[epoch] = np.cumsum(lengths) - lengths
        return int(np.searchsorted(self._starts[epoch], position))

    def micro_batch(
        self, step: int, index: int, micro_batch_size: int, rank: int, world_size: int
    ) -> tuple[Ints, Ints]:
        """Return the share of one rank's `index`-th forward pass; all shares are disjoint and together are the batch.

        Every rank makes the same number of passes. Batches matched in tokens are cut into shares of about equally many
        tokens. Examples of similar length are together, so that there is little padding.
        """
        num_passes = accumulation(self.sequences, world_size, micro_batch_size)
        assert 0 <= index < num_passes and 0 <= rank < world_size, (index, num_passes, rank, world_size)
        examples, epochs = self.batch(step)
        share = index * world_size + rank
        if self.lengths is None:
            here = slice(share * micro_batch_size, (share + 1) * micro_batch_size)
            return examples[here], epochs[here]
        by_length = np.argsort(self.lengths[examples], kind="stable")
        edges = _equal_shares(self.lengths[examples[by_length]], num_passes * world_size)
        chosen = by_length[edges[share] : edges[share + 1]]
        return examples[chosen], epochs[chosen]


def batch_plan(plan: Plan, config: Config) -> BatchPlan:
    """Return the batches of a run over the examples of its plan."""
    matched = plan.lengths if format_of(config.input_format).matched else None
    sequences, max_length = config.batch_size.sequences, config.input_format.max_length
    return BatchPlan(plan.num_examples, sequences, config.seed, matched, max_length)


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
        sizes = f"batch_size.sequences={sequences}, trainer.devices={world_size}, "
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
    return max(1, sequences // max(1, config.devices))


class Rank(NamedTuple):
    """The number of a process among all processes of a run."""

    number: int = 0
    world_size: int = 1


ALONE = Rank()
