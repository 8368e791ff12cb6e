"""The linear schedule by hand, and which parameters are decayed."""

import pytest
from torch import nn

from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.optimizer import build_optimizer, linear_schedule


def test_schedule_rises_to_one_and_falls_to_zero() -> None:
    assert [linear_schedule(s, 2, 6) for s in range(7)] == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25, 0])


def test_biases_and_layer_norms_are_not_decayed() -> None:
    model = PretrainingModel(ModelConfig(1, 8, 2, 16), 20, 6, token_types=2, nsp=True)
    decayed, plain = build_optimizer(model.named_parameters(), 1e-3, (0.9, 0.98), 1e-6, 0.01).param_groups
    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    assert {id(p) for p in plain["params"]} == norms | biases
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)
