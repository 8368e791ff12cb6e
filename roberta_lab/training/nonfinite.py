"""Gradients that are no numbers: what is written of such a step, so that its examples can be looked at.

They are noticed before the optimizer takes them, so weights and checkpoints never hold one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from roberta_lab.config import NonFiniteStep
from roberta_lab.data.storage import Json, write_json

if TYPE_CHECKING:
    from roberta_lab.training.module import PretrainingModule

FILE = "nonfinite-step-{step:09d}.json"  # in the folder of a run
WAY_OUT = (
    "trainer.on_nonfinite=skip goes on from the last checkpoint without such steps; "
    "another peak rate (batch_size.peak_lr) makes a new run."
)
NAMED = 8  # examples in the one line; the file has all


def describe(module: PretrainingModule) -> NonFiniteStep:
    """Write the examples of the step at hand into the run's folder, and return the error that names step and examples.

    All ranks call it together; the first writes. Where the loss of some micro-batches is no number itself, these are named,
    else all of the step: gradients are summed, and do not tell where they come from.
    """
    step, batches = module.trainer.global_step, module.data.micro_batches
    number, world_size = batches.rank
    flags = torch.zeros(batches.per_step * world_size, dtype=torch.float64)
    for index, sums in enumerate(module.sums):
        flags[index * world_size + number] = not all(math.isfinite(value) for value in sums.values())
    found = module.sum_over_ranks(flags).tolist()
    suspects: list[list[int]] = []
    for place in (i for i, flag in enumerate(found) if flag):
        index, rank = divmod(place, world_size)
        suspects += _pairs(*batches.batches.micro_batch(step, index, batches.size, rank, world_size))
    examples = suspects or _pairs(*batches.batches.batch(step))
    values: dict[str, Json] = {"step": step + 1, "gradient_norm": str(float(module.gradient_norm))}
    values |= {"loss_is_finite": not suspects, "examples": [{"example": e, "epoch": epoch} for e, epoch in examples]}
    file = Path(module.trainer.default_root_dir) / FILE.format(step=step + 1)
    if module.trainer.is_global_zero:
        write_json(file, values)
    named = ", ".join(str(example) for example, _ in examples[:NAMED])
    named += f" and {len(examples) - NAMED} more" if len(examples) > NAMED else ""
    is_loss = "the loss of some of its examples is NaN or infinite"
    what = is_loss if suspects else "its gradient is NaN or infinite, though its loss is finite"
    return NonFiniteStep(
        f"step {step + 1} was not taken: {what}. The run ends here. Training examples {named}: listed in {file}. {WAY_OUT}"
    )


def _pairs(examples: object, epochs: object) -> list[list[int]]:
    """Return each example with its epoch."""
    return torch.stack([torch.as_tensor(examples), torch.as_tensor(epochs)], 1).tolist()
