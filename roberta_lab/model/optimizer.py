"""The optimizers of pretraining by name, and which parameters they decay (RoBERTa, Section 2.4 and Table 9).

An optimizer is one function and one line in `OPTIMIZERS`. They are imported when they are built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from roberta_lab.config import ConfigError, OptimizerConfig, nearest

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

Groups: TypeAlias = list[dict[str, Any]]  # of parameters: those that are decayed, then biases and LayerNorm weights
Betas: TypeAlias = tuple[float, float]


def adamw(groups: Groups, lr: float, betas: Betas, eps: float) -> Optimizer:
    """Return Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    from torch.optim import AdamW

    return AdamW(groups, lr=lr, betas=betas, eps=eps, fused=True)


def lamb(groups: Groups, lr: float, betas: Betas, eps: float) -> Optimizer:
    """Return LAMB (You et al. 2020)."""
    from roberta_lab.model.lamb import Lamb

    return Lamb(groups, lr=lr, betas=betas, eps=eps)


OPTIMIZERS: dict[str, Callable[[Groups, float, Betas, float], Optimizer]] = {"adamw": adamw, "lamb": lamb}


def validate(config: OptimizerConfig) -> None:
    """Raise ConfigError for a name that is not in `OPTIMIZERS`."""
    if config.name not in OPTIMIZERS:
        hint = nearest(config.name, list(OPTIMIZERS))
        raise ConfigError(f"optimizer.name={config.name}: unknown.{hint} Allowed: {', '.join(OPTIMIZERS)}.")


def build_optimizer(
    named: Iterable[tuple[str, Parameter]],
    lr: float,
    betas: Betas,
    eps: float,
    weight_decay: float,
    name: str = "adamw",
) -> Optimizer:
    """Return the optimizer `name` over named parameters; biases and LayerNorm weights are not decayed."""
    decayed: list[Parameter] = []
    plain: list[Parameter] = []
    for _, parameter in named:
        (decayed if parameter.ndim > 1 else plain).append(parameter)
    groups: Groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return OPTIMIZERS[name](groups, lr, betas, eps)
