"""Adam with decoupled weight decay and the linear schedule (RoBERTa, Section 2.4 and Table 9)."""

from collections.abc import Iterable

import torch
from torch import nn


def build_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW over named parameters; biases and LayerNorm weights are not decayed."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in named:
        (plain if name.endswith("bias") or "norm" in name.split(".")[-2:][0] else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


def linear_schedule(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the factor on the peak learning rate at optimizer step `step`, counted from 0.

    It rises to 1 over the warmup, from 1 / warmup_steps at the first step, and falls to 0 just after the last.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))
