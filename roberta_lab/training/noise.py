"""Estimate the noise of a gradient: how far those of small batches scatter (McCandlish et al. 2018, Appendix A.1).

The expected squared norm of the gradient of B sequences is |G|^2 + tr(S) / B, with G the true gradient and S the covariance of
that of one sequence. Two sizes of batches give both. Their ratio tr(S) / |G|^2, the simple noise scale, is a number of
sequences: batches well below it lose little by averaging, batches well above it waste it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from roberta_lab.axes.batch_size import micro_batch_size
from roberta_lab.axes.rng import stream_key
from roberta_lab.config import Config, ConfigError
from roberta_lab.data.batch import Batch
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model.objective import own_counts
from roberta_lab.training.trainer import SMALLEST_SCALE, RetryingHalfPrecision, joint_norm, seed_dropout

if TYPE_CHECKING:
    from roberta_lab.training.module import PretrainingModule

MOST_PARTS = 8  # small batches that a step without micro-batches is cut into


class Noise(NamedTuple):
    """What one step tells of the gradient: unbiased estimates, so the first may be negative. Average them over steps."""

    signal: float  # |G|^2
    trace: float  # tr(S), of one sequence
    batch: float  # sequences of the step: more than `batch_size.sequences` where batches are matched in tokens

    def metrics(self) -> dict[str, float]:
        """Return all by their names in metrics.jsonl."""
        return {f"train/noise_{name}": value for name, value in self._asdict().items()}


def estimated(large_square: float, large_size: float, small_square: float, small_inverse: float) -> Noise:
    """Return the estimates of a large batch and of small ones.

    Squares are of gradient norms, for the small batches their mean; `small_inverse` is the mean of 1 / their sizes.
    """
    trace = (small_square - large_square) / (small_inverse - 1 / large_size)
    return Noise(large_square - trace / large_size, trace, large_size)


def small_size(config: Config) -> int | None:
    """Return the sequences of a small batch: those of a micro-batch if a step has several, else a part of the step.

    None where a step cannot be cut.
    """
    sequences, size = config.batch_size.sequences, micro_batch_size(config.batch_size.sequences, config.trainer)
    if size < sequences:
        return size
    parts = [number for number in range(2, sequences + 1) if sequences % number == 0]
    return sequences // max([n for n in parts if n <= MOST_PARTS] or parts[:1]) if parts else None


def check(config: Config) -> None:
    """Raise ConfigError where noise is asked for, but a step is one sequence."""
    if config.trainer.noise_scale_every is not None and small_size(config) is None:
        raise ConfigError(
            f"trainer.noise_scale_every={config.trainer.noise_scale_every} compares batches with parts of them; "
            "allowed with batch_size.sequences of 2 and more."
        )


def measure(module: PretrainingModule, data: PretrainingData, step: int, large_norm: float) -> Noise:
    """Return the noise at a step whose whole gradient has the norm `large_norm`, before its weights change.

    Gradients of the small batches are computed beside those of the step, which stay as they are; so do all random numbers
    of training. Each rank takes its share of the small batches.
    """
    batches, size = data.micro_batches, small_size(module.config)
    assert size is not None
    if size != batches.size:
        batches = batches.cut_into(size)
    large_size = module.counts["sequences"]
    squares = inverses = 0.0
    for index in range(batches.per_step):
        batch = data.transfer_batch_to_device(batches[step * batches.per_step + index], module.device, 0)
        own = own_counts(batch)["sequences"]
        squares += gradient_norm(module, batch, own / large_size) ** 2
        inverses += 1 / own
    numbers = torch.tensor([squares, inverses, batches.per_step], dtype=torch.float64)
    squares, inverses, number = module.sum_over_ranks(numbers).tolist()
    return estimated(large_norm**2, large_size, squares / number, inverses / number)


def gradient_norm(module: PretrainingModule, batch: Batch, share: float) -> float:
    """Return the norm of the gradient of a batch alone, which is a `share` of its step.

    fp16 scales the loss of a step as far as its gradients can bear, and a part has larger gradients than its share of the
    step: its scale is smaller by that share, and divided further where gradients overflow all the same.
    """
    plugin, objective = module.trainer.precision_plugin, module.objective
    parameters = [p for p in module.all_parameters if p.requires_grad]
    half = plugin if isinstance(plugin, RetryingHalfPrecision) else None
    scale = half.scale * share if half else 1.0
    while True:
        seed_dropout(module.device, stream_key(module.config.seed, "noise", batch["position"]))
        with plugin.train_step_context():
            loss = objective.loss(objective.sums(module.model, batch), own_counts(batch)) * scale
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        norm = float(joint_norm([g for g in gradients if g is not None]))
        if math.isfinite(norm) or half is None or scale < SMALLEST_SCALE:
            return norm / scale
        scale /= 4
