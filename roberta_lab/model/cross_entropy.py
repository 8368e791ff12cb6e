"""Cross-entropy over a large vocabulary, whose gradient takes the place of the logits.

On a GPU the product runs over a multiple of 64 columns, since tensor cores take no odd number of them: 50,265 columns run on
kernels four times slower. The columns beyond the vocabulary are in no sum; their logits are products with zeros, and so stand for a gradient of zero.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from roberta_lab.axes.examples import IGNORED

COLUMNS = {"cuda": 64}  # kind of device -> the columns of the product are a multiple of this
PART = (1 << 20, 1 << 26)  # logits that are held in float32 at a time, on a CPU (4 MiB) and on a GPU (256 MiB)


def summed_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, some_ignored: bool = False
) -> Tensor:
    """Return the sum of the negative log-likelihoods of labels under softmax(features @ weight.T + bias), () float32.

    The logits (M, V) are held once, in the precision of the forward pass. Their gradient overwrites them, part by part.
    Features are (M, H), the weight (V, H), the bias (V,), labels int64 (M,). With `some_ignored`, rows whose label is
    `examples.IGNORED` count for nothing.
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    more = -len(weight) % COLUMNS.get(device, 1)
    with torch.autocast(device, enabled=False):
        matrix, offset = weight.to(dtype), bias.to(dtype)
        if more:
            matrix, offset = F.pad(matrix, (0, 0, 0, more)), F.pad(offset, (0, more))
        known = labels != IGNORED if some_ignored else None
        loss: Tensor = _SummedCrossEntropy.apply(features.to(dtype), matrix, offset, labels, len(weight), known)
    return loss


def log_likelihoods(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """Return log softmax(features @ weight.T + bias) at the labels, (M,) float32; few rows of logits are held at a time.

    Features are (M, H), the weight (V, H), the bias (V,), labels int64 (M,).
    """
    rows = _rows_at_once(features.device, len(weight))
    found = []
    for part, target in zip(features.split(rows), labels.split(rows), strict=True):
        logits = F.linear(part, weight, bias).float()
        found.append(logits.gather(1, target[:, None]).squeeze(1) - logits.logsumexp(1))
    return torch.cat(found)


class _SummedCrossEntropy(torch.autograd.Function):
    """Cross-entropy whose backward pass needs no memory beside the logits: d loss / d logits = softmax(logits) - one_hot.

    Only the first `size` columns are classes. `known`, bool (M,), is False on rows that count for nothing; None: all count.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, size: int, known: Tensor | None
    ) -> Tensor:
        logits = F.linear(features, weight, bias)
        if known is not None:
            labels = labels.clamp(min=0)
        totals, chosen = [], []
        for part, target in zip(*_in_parts(logits[:, :size], labels), strict=True):
            wide = part.float()
            totals.append(wide.logsumexp(1))
            chosen.append(wide.gather(1, target[:, None]).squeeze(1))
        log_totals = torch.cat(totals)
        ctx.save_for_backward(features, weight, labels, log_totals, known)
        ctx.logits, ctx.size = logits, size
        if known is not None:
            return ((log_totals - torch.cat(chosen)) * known).sum()
        return log_totals.sum() - _summed(chosen)

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        features, weight, labels, log_totals, known = ctx.saved_tensors
        gradient, ctx.logits = ctx.logits, None  # overwritten below, so there is no second backward pass
        factors = factor.expand(len(labels)) if known is None else factor * known
        parts = _in_parts(gradient[:, : ctx.size], labels, log_totals, factors)
        for part, target, total, scale in zip(*parts, strict=True):
            wide = part.float().sub_(total[:, None]).exp_()
            wide.scatter_add_(1, target[:, None], wide.new_full((len(wide), 1), -1.0)).mul_(scale[:, None])
            if part.dtype != wide.dtype:
                part.copy_(wide)
        return gradient @ weight, gradient.t() @ features, gradient.sum(0), None, None, None


def _summed(parts: list[Tensor]) -> Tensor:
    """Return the sum of the sums of the parts, () float32, one after the other."""
    total = torch.zeros((), device=parts[0].device)
    for part in parts:
        total += part.sum()
    return total


def _in_parts(logits: Tensor, *others: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    """Return the rows of logits and of what belongs to them in parts, small enough for a cache or for float32 copies."""
    rows = _rows_at_once(logits.device, logits.shape[1])
    return tuple(tensor.split(rows) for tensor in (logits, *others))


def _rows_at_once(device: torch.device, vocab_size: int) -> int:
    return max(1, PART[device.type == "cuda"] // vocab_size)
