"""Which parameters are decayed, by every optimizer: matrices, not vectors."""

import pytest
from torch import nn

from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.optimizer import OPTIMIZERS, build_optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_and_layer_norms_are_not_decayed(name: str) -> None:
    model = PretrainingModel(ModelConfig(1, 8, 2, 16), 20, 6, token_types=2, nsp=True)
    decayed, plain = build_optimizer(model.named_parameters(), 1e-3, (0.9, 0.98), 1e-6, 0.01, name).param_groups
    norms = {id(p) for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()}
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    assert {id(p) for p in plain["params"]} == norms | biases
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)
