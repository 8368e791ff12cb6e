"""Parameters and FLOPs from the config's numbers, against the model itself and torch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from roberta_lab.axes.examples import IGNORED
from roberta_lab.config import ModelConfig
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.flops import forward_flops, parameters
from roberta_lab.model.objectives.mlm import mlm_and

CONFIG = ModelConfig(layers=3, hidden=16, heads=2, ffn=40)
VOCAB_SIZE, LENGTH, INPUTS, MASKED = 50, 12, 4, 3  # masked tokens of each input
BASE = ModelConfig(layers=12, hidden=768, heads=12, ffn=3072)
LARGE = ModelConfig(layers=24, hidden=1024, heads=16, ffn=4096)


@pytest.mark.parametrize(("token_types", "nsp"), [(0, False), (2, True)])
def test_parameters_equal_the_models(token_types: int, nsp: bool) -> None:
    model = PretrainingModel(CONFIG, VOCAB_SIZE, LENGTH, token_types, nsp)
    found = parameters(CONFIG, VOCAB_SIZE, LENGTH, token_types, nsp)
    assert found.total == sum(p.numel() for p in model.parameters())
    assert found.encoder == sum(p.numel() for p in model.encoder.parameters())
    assert found.layers == sum(p.numel() for p in model.encoder.layers.parameters())
    assert found.token_embeddings == model.encoder.embeddings.tokens.weight.numel()


@pytest.mark.parametrize(("config", "published"), [(BASE, 124_697_433), (LARGE, 355_412_057)])
def test_parameters_equal_the_published_models(config: ModelConfig, published: int) -> None:
    """`roberta-base` and `roberta-large` on the hub (the paper says 125M and 355M), which have one token type."""
    assert parameters(config, 50_265, 512, 1, nsp=False).total == published


def batch() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(4, VOCAB_SIZE, (INPUTS, LENGTH), generator=draw)
    labels = torch.full_like(ids, IGNORED)
    labels[:, 2 : 2 + MASKED] = ids[:, 2 : 2 + MASKED]
    types, following = torch.zeros_like(ids), torch.zeros(INPUTS, dtype=torch.int64)
    return {"input_ids": ids, "labels": labels, "token_type_ids": types, "next_sentence_label": following}


@pytest.mark.parametrize("nsp", [False, True])
def test_flops_equal_those_that_torch_counts(nsp: bool) -> None:
    """Attention in plain products, as fused kernels compute its scores again in the backward pass."""
    model = PretrainingModel(CONFIG, VOCAB_SIZE, LENGTH, 2 if nsp else 0, nsp)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            objective = mlm_and("nsp" if nsp else None)
            loss = objective.loss(objective.sums(model, batch()), {"masked": INPUTS * MASKED, "sequences": INPUTS})
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    share = MASKED / LENGTH
    assert forward.get_total_flops() == INPUTS * forward_flops(CONFIG, VOCAB_SIZE, LENGTH, nsp, share).total
    assert backward.get_total_flops() == 2 * forward.get_total_flops()
    counted = forward.get_total_flops() + backward.get_total_flops()
    assert counted == INPUTS * forward_flops(CONFIG, VOCAB_SIZE, LENGTH, nsp, share).training


def test_packed_inputs_attend_to_less() -> None:
    """Two documents of 6 tokens in an input of 12: half of the scores, and the rest as it was."""
    whole, packed = (forward_flops(CONFIG, VOCAB_SIZE, 12, False, attended=a) for a in (None, 6.0))
    assert packed.attention == whole.attention / 2
    assert packed.total == whole.total - whole.attention / 2


def test_base_costs_about_six_flops_a_parameter_and_token() -> None:
    """Kaplan et al. 2020: 6 N a token, for the parameters of the layers, to which attention at T = 512 adds 11%."""
    layers = parameters(BASE, 50_265, 512, 0, nsp=False).layers
    per_token = 3 * forward_flops(BASE, 50_265, 512, nsp=False).encoder / 512
    assert per_token == pytest.approx(6 * layers * (1 + 512 / (6 * 768)), rel=0.002)
