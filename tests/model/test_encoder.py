"""The encoder against a slow reference written here, what padding must not change, and the sizes of the whole model."""

import math

import joined_attention
import pytest
import torch

from roberta_lab.config import ModelConfig
from roberta_lab.model import encoder
from roberta_lab.model.encoder import Encoder, PretrainingModel

CONFIG = ModelConfig(layers=2, hidden=16, heads=2, ffn=32)


def tiny() -> Encoder:
    torch.manual_seed(0)
    return Encoder(CONFIG, vocab_size=50, max_positions=12, token_types=2).eval()


def reference_norm(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def reference_encoder(model: Encoder, ids: list[int], types: list[int]) -> torch.Tensor:
    """One unpadded sequence, head by head, position by position, with the formulas of Devlin et al. 2019."""
    e = model.embeddings
    x = torch.stack(
        [
            e.tokens.weight[t] + e.positions.weight[i + 2] + e.token_types.weight[s]
            for i, (t, s) in enumerate(zip(ids, types, strict=True))
        ]
    )
    x = reference_norm(x, e.norm)
    for layer in model.layers:
        q, k, v = (x @ layer.qkv.weight.T + layer.qkv.bias).split(16, dim=-1)
        heads = []
        for h in (slice(0, 8), slice(8, 16)):
            scores = q[:, h] @ k[:, h].T / math.sqrt(8)
            heads.append(scores.exp() / scores.exp().sum(-1, keepdim=True) @ v[:, h])
        attended = torch.cat(heads, -1) @ layer.attention_out.weight.T + layer.attention_out.bias
        x = reference_norm(x + attended, layer.attention_norm)
        inner = x @ layer.ffn_in.weight.T + layer.ffn_in.bias
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = reference_norm(x + inner @ layer.ffn_out.weight.T + layer.ffn_out.bias, layer.ffn_norm)
    return x


def test_encoder_equals_the_formulas() -> None:
    model, ids, types = tiny(), [0, 7, 9, 2, 11, 12, 2], [0, 0, 0, 0, 1, 1, 1]
    got = model(torch.tensor([ids]), None, torch.tensor([types]))[0]
    assert torch.allclose(got, reference_encoder(model, ids, types), atol=1e-5)


def test_padding_does_not_change_the_real_positions() -> None:
    model, ids = tiny(), torch.tensor([[0, 7, 9, 2]])
    padded = torch.tensor([[0, 7, 9, 2, 1, 1]])
    got = model(padded, padded != 1)
    assert torch.allclose(got[:, :4], model(ids), atol=1e-6)
    assert not torch.allclose(model(padded)[:, :4], model(ids), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "millions"),
    [(ModelConfig(12, 768, 12, 3072), 125), (ModelConfig(24, 1024, 16, 4096), 355)],
)
def test_parameter_counts_are_the_published_ones(config: ModelConfig, millions: int) -> None:
    with torch.device("meta"):
        model = PretrainingModel(config, 50265, 512, token_types=0, nsp=False)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) in (millions, millions - 1)


def test_nothing_is_computed_for_padding_where_one_kernel_takes_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows without their padding against padded ones: states on real tokens, and gradients."""
    model = tiny()
    ids, types = torch.randint(4, 50, (4, 9)), torch.randint(2, (4, 9))
    mask = torch.arange(9) < torch.tensor([9, 1, 4, 6])[:, None]
    draw = torch.randn(4, 9, 16) * mask[..., None]

    def computed() -> tuple[torch.Tensor, list[torch.Tensor]]:
        hidden = model(ids, mask, types)
        found = torch.autograd.grad((hidden * draw).sum(), list(model.parameters()), allow_unused=True)
        return hidden * mask[..., None], [g for g in found if g is not None]

    padded, gradients = computed()
    joined_attention.use(monkeypatch)
    monkeypatch.setattr(encoder, "takes_joined", lambda config, device: True)
    hidden, others = computed()
    torch.testing.assert_close(hidden, padded, rtol=1e-5, atol=1e-6)
    assert not model(ids, mask, types)[~mask].any()
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-6)
