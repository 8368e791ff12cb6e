"""Bring micro-batches to one fixed shape, so that a GPU's code is compiled once, and launched as one graph.

The examples of a step and the number of its micro-batches stay as they are. What is missing to the fixed number of tokens is
filled by dummy inputs, which no other input attends to and no loss reads. The shape follows from the plan: of a sample of
steps, mean and spread tell what a micro-batch of the run hardly ever exceeds. One that does is brought to the next
larger multiple, and costs one compilation more.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from roberta_lab.axes.examples import IGNORED
from roberta_lab.axes.masking import num_maskable, num_masked, positions_of
from roberta_lab.data.batch import Batch

if TYPE_CHECKING:
    from roberta_lab.data.datamodule import MicroBatches

TOKENS, MASKED = 128, 64  # tokens and masked positions of a shape are multiples: whole tiles of a GPU's products
DEVIATIONS = (
    5  # standard deviations above the mean: fewer than one micro-batch in a million is larger, if they are normal
)
SAMPLED = 1 << 14  # examples, of steps all over the first epoch


class Shape(NamedTuple):
    """The fixed sizes of a micro-batch."""

    tokens: int  # dummies included
    inputs: int  # dummies included, and inputs without tokens
    masked: int
    filled: float  # the share of the tokens that are no dummies, on average

    def __str__(self) -> str:
        """Return the shape in words, with the share that is computed for nothing."""
        return (
            f"{self.tokens:,} tokens and {self.masked:,} masked positions; {100 * (1 - self.filled):.1f}% are dummies"
        )


def shape_of(batches: "MicroBatches") -> Shape:
    """Return the shape of the micro-batches of a run, the same for all ranks."""
    longest = batches.config.input_format.max_length
    tokens, inputs, masked = np.array(list(_sizes(batches)), np.float64).T
    most = batches.size * longest
    if (window := batches.batches.tokens) is not None:  # shares of a step are equal to within an input
        most = math.ceil((window + longest) / (batches.per_step * batches.rank.world_size)) + longest
    room = _multiple(
        min(_bound(tokens), most) + 1, TOKENS
    )  # at least one dummy token, which all other dummies stand at
    return Shape(
        tokens=room,
        inputs=math.ceil(_bound(inputs)) + math.ceil(room / longest),
        masked=_multiple(min(_bound(masked), room), MASKED),
        filled=float(tokens.mean()) / room,
    )


def _bound(sizes: np.ndarray) -> float:
    return float(max(sizes.max(), sizes.mean() + DEVIATIONS * sizes.std()))


def _multiple(size: float, of: int) -> int:
    return math.ceil(size / of) * of


def _sizes(batches: "MicroBatches") -> Iterator[tuple[int, int, float]]:
    """Yield the tokens, inputs and masked tokens of the micro-batches of some steps, of all ranks."""
    config, world_size = batches.config, batches.rank.world_size
    masking, steps = config.masking, config.batch_size.steps
    # later steps would need other orders of all examples, and other plans: of a large corpus, a window is like any other
    windows = len(batches.batches.windows(0).ends)
    steps = max(1, min(steps, int(1 / batches.batches.epochs(1)) // windows))
    number = min(steps, max(4, SAMPLED // config.batch_size.sequences))
    for step in np.linspace(0, steps - 1, number).astype(int).tolist():
        for share in range(batches.per_step * world_size):
            place = divmod(share, world_size)
            examples, epochs = batches.batches.micro_batch(step, place[0], batches.size, place[1], world_size)
            plan, places = batches.plans.view(examples, epochs)
            maskable = num_maskable(plan, places, masking)
            if positions_of(masking).is_exact:
                masked = float(num_masked(maskable, examples, epochs, masking, config.seed).sum())
            else:  # only choosing shows how many there are; of draws one by one these are the mean and twice the spread
                mean = masking.mask_prob * float(maskable.sum())
                masked = mean + 2 * DEVIATIONS * math.sqrt(mean)
            yield int(plan.lengths[places].sum(dtype=np.int64)), len(examples), masked


def filled(batch: Batch, shape: Shape, pad_id: int) -> Batch:
    """Return a packed batch in the fixed shape: real inputs, inputs without tokens, dummy inputs, in this order.

    Labels of what is not real are `examples.IGNORED`. `num_inputs` and `num_masked` are how many are real.
    """
    ends, longest = batch["cu_seq_lens"], batch["max_length"]
    real, num_inputs, num_masked = len(batch["input_ids"]), len(ends) - 1, len(batch["masked_labels"])
    tokens = max(shape.tokens, _multiple(real + 1, TOKENS))
    masked = max(shape.masked, _multiple(num_masked, MASKED))
    dummy_ends = torch.arange(tokens, real, -longest).flip(0)
    inputs = max(shape.inputs, num_inputs + len(dummy_ends))
    empty = ends.new_full((inputs - num_inputs - len(dummy_ends),), real)
    positions = torch.arange(real, tokens) - torch.cat([torch.tensor([real]), dummy_ends[:-1]]).repeat_interleave(
        torch.diff(dummy_ends, prepend=torch.tensor([real]))
    )
    found: Batch = {
        **batch,
        "input_ids": _longer(batch["input_ids"], tokens, pad_id),
        "position_ids": torch.cat([batch["position_ids"], positions]),
        "cu_seq_lens": torch.cat([ends, empty, dummy_ends.int()]),
        "masked_positions": _longer(batch["masked_positions"], masked, tokens - 1),
        "masked_labels": _longer(batch["masked_labels"], masked, IGNORED),
        "num_inputs": num_inputs,
        "num_masked": num_masked,
    }
    if "token_type_ids" in batch:
        found["token_type_ids"] = _longer(batch["token_type_ids"], tokens, 0)
    if "next_sentence_label" in batch:
        found["next_sentence_label"] = _longer(batch["next_sentence_label"], inputs, IGNORED)
    return found


def _longer(tensor: Tensor, size: int, value: int) -> Tensor:
    return torch.cat([tensor, tensor.new_full((size - len(tensor),), value)])
