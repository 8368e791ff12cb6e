"""LAMB against Algorithm 2 of You et al. (2020), written out in float64 one tensor at a time."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.optimizer import build_optimizer

LR, BETAS, EPS, DECAY = 0.01, (0.9, 0.98), 1e-6, 0.1


class Plain:
    """A weight and its two moments, in float64."""

    def __init__(self, weight: Tensor, decay: float) -> None:
        self.weight, self.decay = weight.detach().double().numpy().copy(), decay
        self.m, self.v = np.zeros_like(self.weight), np.zeros_like(self.weight)

    def step(self, gradient: np.ndarray, t: int) -> None:
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * gradient
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * gradient**2
        m, v = self.m / (1 - BETAS[0] ** t), self.v / (1 - BETAS[1] ** t)
        update = m / (np.sqrt(v) + EPS) + self.decay * self.weight
        weight_norm, update_norm = np.linalg.norm(self.weight), np.linalg.norm(update)
        ratio = weight_norm / update_norm if self.weight.ndim > 1 and weight_norm > 0 and update_norm > 0 else 1.0
        self.weight -= LR * ratio * update


def model() -> PretrainingModel:
    torch.manual_seed(0)
    return PretrainingModel(ModelConfig(1, 8, 2, 16), 20, 6, token_types=2, nsp=True).double()


@pytest.mark.parametrize("decay", [DECAY, 0.0])
def test_equals_the_algorithm_written_out(decay: float) -> None:
    ours = model()
    optimizer = build_optimizer(ours.named_parameters(), LR, BETAS, EPS, decay, "lamb")
    plain = {id(p): 0.0 for p in optimizer.param_groups[1]["params"]}
    theirs = {name: Plain(p, plain.get(id(p), decay)) for name, p in ours.named_parameters()}
    draw = torch.Generator().manual_seed(1)
    for t in range(1, 8):
        for name, parameter in ours.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draw, dtype=torch.float64) * 10.0 ** (t % 3 - 1)
            theirs[name].step(parameter.grad.numpy(), t)
        optimizer.step()
    for name, parameter in ours.named_parameters():
        np.testing.assert_allclose(
            parameter.detach().numpy(), theirs[name].weight, rtol=1e-12, atol=1e-14, err_msg=name
        )


def test_a_matrix_of_zeros_takes_adams_step_and_no_gradient_moves_nothing() -> None:
    weight = torch.nn.Parameter(torch.zeros(3, 2))
    optimizer = build_optimizer([("weight", weight)], LR, BETAS, EPS, 0.0, "lamb")
    optimizer.step()
    assert not weight.any()
    weight.grad = torch.ones(3, 2)
    optimizer.step()
    assert torch.allclose(weight, torch.full((3, 2), -LR), rtol=1e-4)


def test_goes_on_from_its_state() -> None:
    """Saved and loaded between two steps, as in a checkpoint."""
    one = model()
    optimizer = build_optimizer(one.named_parameters(), LR, BETAS, EPS, DECAY, "lamb")

    def step(of: PretrainingModel, by: torch.optim.Optimizer) -> None:
        for parameter in of.parameters():
            parameter.grad = torch.sin(parameter.detach() + 1)
        by.step()

    step(one, optimizer)
    other = copy.deepcopy(one)
    resumed = build_optimizer(other.named_parameters(), LR, BETAS, EPS, DECAY, "lamb")
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(one, optimizer)
    step(other, resumed)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_each_tensor_counts_its_own_steps() -> None:
    """A first step has the size of the rate, also of a bias that had no gradient before."""
    early, late = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = build_optimizer([("early.bias", early), ("late.bias", late)], LR, BETAS, EPS, DECAY, "lamb")
    early.grad = torch.ones(3)
    optimizer.step()
    late.grad = torch.ones(3)
    optimizer.step()
    assert torch.allclose(late, torch.full((3,), 1 - LR)) and torch.allclose(early, torch.full((3,), 1 - 2 * LR))
