"""Cross-entropy over a large vocabulary, whose gradient takes the place of the logits."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PART = (1 << 20, 1 << 26)  # logits that are held in float32 at a time, on a CPU (4 MiB) and on a GPU (256 MiB)


def summed_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the negative log-likelihoods of labels under softmax(features @ weight.T + bias), () float32.

    The logits (M, V) are held once, in the precision of the forward pass. Their gradient overwrites them, part by part.
    Features are (M, H), the weight (V, H), the bias (V,), labels int64 (M,).
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    with torch.autocast(device, enabled=False):
        loss: Tensor = _SummedCrossEntropy.apply(features.to(dtype), weight.to(dtype), bias.to(dtype), labels)
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
    """Cross-entropy whose backward pass needs no memory beside the logits: d loss / d logits = softmax(logits) - one_hot."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
        logits = F.linear(features, weight, bias)
        totals, chosen = [], torch.zeros((), device=logits.device)
        for part, target in zip(*_in_parts(logits, labels), strict=True):
            wide = part.float()
            totals.append(wide.logsumexp(1))
            chosen += wide.gather(1, target[:, None]).sum()
        log_totals = torch.cat(totals)
        ctx.save_for_backward(features, weight, labels, log_totals)
        ctx.logits = logits
        return log_totals.sum() - chosen

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, labels, log_totals = ctx.saved_tensors
        gradient, ctx.logits = ctx.logits, None  # overwritten below, so there is no second backward pass
        for part, target, total in zip(*_in_parts(gradient, labels, log_totals), strict=True):
            wide = part.float().sub_(total[:, None]).exp_()
            wide.scatter_add_(1, target[:, None], wide.new_full((len(wide), 1), -1.0)).mul_(factor)
            if part.dtype != wide.dtype:
                part.copy_(wide)
        return gradient @ weight, gradient.t() @ features, gradient.sum(0), None


def _in_parts(logits: Tensor, *others: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    """Return the rows of logits and of what belongs to them in parts, small enough for a cache or for float32 copies."""
    rows = _rows_at_once(logits.device, logits.shape[1])
    return tuple(tensor.split(rows) for tensor in (logits, *others))


def _rows_at_once(device: torch.device, vocab_size: int) -> int:
    return max(1, PART[device.type == "cuda"] // vocab_size)
