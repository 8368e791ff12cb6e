"""Which examples a step sees, and which of them each rank and micro-batch takes (RoBERTa, Section 4.3).

`sequences` counts the whole optimizer step, over all ranks and accumulated micro-batches. Every position in the data
follows from the step's number, so a run resumes exactly, and a cut into micro-batches and ranks leaves the batch as is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from roberta_lab.config import ConfigError, TrainerConfig
from roberta_lab.rng import generator

LARGEST_BY_DEFAULT = 32


@lru_cache(maxsize=4)
def _epoch_order(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the examples, (N,) int64, drawn anew for each epoch; read-only since callers share it."""
    order = generator(seed, "order", epoch).permutation(num_examples)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class BatchPlan:
    """The run's examples as one endless line: a permutation per epoch, joined end to end, cut into batches."""

    num_examples: int
    sequences: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_examples < 1:
            raise ConfigError("the input plan has no examples; allowed: 1 and more (see data_mix.train_tokens)")
        if self.sequences < 1:
            raise ConfigError(f"batch_size.sequences={self.sequences} is no batch; allowed: 1 and more")

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Example ids and the epochs in which they are seen, (sequences,) int64 each; steps count from 0.

        A batch may straddle epochs, so that every batch is full and an epoch holds each example exactly once.
        """
        positions = np.arange(step * self.sequences, (step + 1) * self.sequences, dtype=np.int64)
        epochs, places = np.divmod(positions, self.num_examples)
        examples = np.empty_like(positions)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            examples[here] = _epoch_order(self.num_examples, self.seed, epoch)[places[here]]
        return examples, epochs

    def micro_batch(
        self, step: int, index: int, micro_batch_size: int, rank: int, world_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The share of one rank's `index`-th forward pass in a step; shares are disjoint and together are the batch."""
        num_passes = accumulation(self.sequences, world_size, micro_batch_size)
        assert 0 <= index < num_passes and 0 <= rank < world_size, (index, num_passes, rank, world_size)
        start = (index * world_size + rank) * micro_batch_size
        examples, epochs = self.batch(step)
        return examples[start : start + micro_batch_size], epochs[start : start + micro_batch_size]


def accumulation(sequences: int, world_size: int, micro_batch_size: int) -> int:
    """Forward passes per rank and optimizer step: derived, never typed by hand.

    Raises: ConfigError when the batch does not divide, naming the nearest sizes that do.
    """
    if min(sequences, world_size, micro_batch_size) < 1:
        sizes = f"batch_size.sequences={sequences}, trainer.devices={world_size}, "
        raise ConfigError(f"{sizes}trainer.micro_batch_size={micro_batch_size}: allowed: 1 and more for each")
    share = world_size * micro_batch_size
    if sequences % share == 0:
        return sequences // share
    nearest = sorted({max(1, sequences // share) * share, (sequences // share + 1) * share})
    advice = f"batch_size.sequences={' or '.join(map(str, nearest))}"
    if sequences % world_size == 0:
        advice += f", or trainer.micro_batch_size={_nearest_divisors(sequences // world_size, micro_batch_size)}"
    raise ConfigError(
        f"batch_size.sequences={sequences} does not divide into {world_size} rank(s) x "
        f"trainer.micro_batch_size={micro_batch_size}; nearest that do: {advice}"
    )


def micro_batch_size(sequences: int, config: TrainerConfig) -> int:
    """Sequences of one forward pass: as asked for, or the largest number up to 32 that divides each rank's share."""
    if config.micro_batch_size is not None:
        return min(sequences, config.micro_batch_size)
    share = max(1, sequences // config.devices)
    return max(size for size in range(1, LARGEST_BY_DEFAULT + 1) if share % size == 0)


def _nearest_divisors(number: int, size: int) -> str:
    """The divisors of `number` just below and above `size`, as a phrase."""
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    below = [d for d in divisors if d < size][-1:]
    above = [d for d in divisors if d > size][:1]
    return " or ".join(map(str, below + above))
