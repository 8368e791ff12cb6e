"""LAMB: Adam whose step is scaled, matrix by matrix, to the norm of the weights (You et al. 2020, Algorithm 2)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """Adam's direction with weight decay, of the length of the weights: steps of large batches stay in proportion.

    For each tensor, r = m / (sqrt(v) + eps) with both moments corrected for their start, u = r + weight_decay x weights, and
    weights -= lr x (|weights| / |u|) x u. The ratio of norms is 1 where either is 0, and for vectors (biases and LayerNorm),
    which the authors' code leaves out of the adaptation too.

    Args:
        groups: of parameters, each with its `weight_decay`.
        lr: the learning rate.
        betas: decay rates of the two moments.
        eps: is added to the square root of the second moment.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step with the gradients at hand; `closure` computes them, where it is given. Return what it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_steps: dict[int, list[Tensor]] = {}  # a tensor that once had no gradient has taken fewer
            for p in group["params"]:
                if p.grad is not None:
                    by_steps.setdefault(self.state[p].get("step", 0), []).append(p)
            for parameters in by_steps.values():
                self._step(group, parameters)
        return loss

    def _step(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Take a step of tensors of one group that have taken equally many, all at once."""
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {"step": 0, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            self.state[p]["step"] += 1
        gradients = [gradient for p in parameters if (gradient := p.grad) is not None]
        means, squares = ([self.state[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq"))
        (beta1, beta2), step = group["betas"], self.state[parameters[0]]["step"]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, (1 - beta2**step) ** 0.5)
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(means, roots)
        torch._foreach_div_(updates, 1 - beta1**step)
        if group["weight_decay"]:
            torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
        if matrices := [i for i, p in enumerate(parameters) if p.ndim > 1]:
            adapted = [updates[i] for i in matrices]
            norms = zip(
                torch._foreach_norm([parameters[i] for i in matrices]), torch._foreach_norm(adapted), strict=True
            )
            torch._foreach_mul_(adapted, [torch.where((w > 0) & (u > 0), w / u, torch.ones_like(w)) for w, u in norms])
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])
