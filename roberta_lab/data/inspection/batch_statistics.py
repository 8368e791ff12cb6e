"""What the first steps of training look like: inputs and tokens of a step, and the padding that the model computes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from roberta_lab.axes.batch_size import BatchPlan, accumulation
from roberta_lab.data.inspection.shares import Share

MOST_STEPS, MOST_PASSES = 200, 4000  # of an epoch's batches, padding is measured on the first


@dataclass(frozen=True)
class BatchStatistics:
    """Of the first steps of training."""

    num_steps: int  # on which the rest is measured
    steps_per_epoch: float
    run: tuple[int, float]  # steps of the whole run, and how many epochs they are
    inputs: tuple[int, float, int]  # of a step: fewest, mean, most
    tokens: tuple[int, float, int]
    padding: Share  # of the positions that the model computes


def batch_statistics(
    batches: BatchPlan, lengths: np.ndarray, run_steps: int, micro_batch_size: int, world_size: int = 1
) -> BatchStatistics:
    """Cuts the first epoch's batches as training does, or the first steps of a long one; each pass is padded to its longest.

    Args:
        lengths: (N,) tokens of each example.
    """
    passes = accumulation(batches.sequences, world_size, micro_batch_size)
    steps_per_epoch = 1 / batches.epochs(1)
    num_steps = min(math.ceil(steps_per_epoch), MOST_STEPS, max(1, MOST_PASSES // (passes * world_size)))
    inputs, tokens, positions = [], [], 0
    for step in range(num_steps):
        examples, _ = batches.batch(step)
        inputs.append(len(examples))
        tokens.append(int(lengths[examples].sum(dtype=np.int64)))
        for index in range(passes):
            for rank in range(world_size):
                share, _ = batches.micro_batch(step, index, micro_batch_size, rank, world_size)
                positions += len(share) * int(lengths[share].max())
    padding = Share(positions - sum(tokens), positions)
    run = run_steps, batches.epochs(run_steps)
    return BatchStatistics(num_steps, steps_per_epoch, run, _range(inputs), _range(tokens), padding)


def _range(numbers: list[int]) -> tuple[int, float, int]:
    return min(numbers), sum(numbers) / len(numbers), max(numbers)
