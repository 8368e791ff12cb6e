"""The encoder against a slow reference written here, and the properties that the recipe states."""

import math

import pytest
import torch

from roberta_lab.axes.examples import IGNORED
from roberta_lab.config import ModelConfig
from roberta_lab.model import attention
from roberta_lab.model.encoder import Encoder
from roberta_lab.model.objective import batch_loss, loss_sums
from roberta_lab.model.pretraining_model import PretrainingModel

CONFIG = ModelConfig(layers=2, hidden=16, heads=2, ffn=32)


def tiny(nsp: bool = True) -> PretrainingModel:
    torch.manual_seed(0)
    return PretrainingModel(CONFIG, vocab_size=50, max_positions=12, token_types=2, nsp=nsp).eval()


def reference_norm(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def reference_encoder(encoder: Encoder, ids: list[int], types: list[int]) -> torch.Tensor:
    """One unpadded sequence, head by head, position by position, with the formulas of Devlin et al. 2019."""
    e = encoder.embeddings
    x = torch.stack(
        [
            e.tokens.weight[t] + e.positions.weight[i + 2] + e.token_types.weight[s]
            for i, (t, s) in enumerate(zip(ids, types, strict=True))
        ]
    )
    x = reference_norm(x, e.norm)
    for layer in encoder.layers:
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
    encoder, ids, types = tiny().encoder, [0, 7, 9, 2, 11, 12, 2], [0, 0, 0, 0, 1, 1, 1]
    got = encoder(torch.tensor([ids]), None, torch.tensor([types]))[0]
    assert torch.allclose(got, reference_encoder(encoder, ids, types), atol=1e-5)


def test_padding_does_not_change_the_real_positions() -> None:
    encoder, ids = tiny().encoder, torch.tensor([[0, 7, 9, 2]])
    padded = torch.tensor([[0, 7, 9, 2, 1, 1]])
    got = encoder(padded, padded != 1)
    assert torch.allclose(got[:, :4], encoder(ids), atol=1e-6)
    assert not torch.allclose(encoder(padded)[:, :4], encoder(ids), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "millions"),
    [(ModelConfig(12, 768, 12, 3072), 125), (ModelConfig(24, 1024, 16, 4096), 355)],
)
def test_parameter_counts_are_the_published_ones(config: ModelConfig, millions: int) -> None:
    with torch.device("meta"):
        model = PretrainingModel(config, 50265, 512, token_types=0, nsp=False)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) in (millions, millions - 1)


def micro_batch(start: int, stop: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(4, 50, (6, 10), generator=generator)
    labels = torch.where(torch.rand(6, 10, generator=generator) < torch.arange(1, 7)[:, None] / 10, ids, IGNORED)
    nsp = torch.tensor([0, 1, 1, 0, 1, 0])
    return {"input_ids": ids[start:stop], "labels": labels[start:stop], "next_sentence_label": nsp[start:stop]}


def gradient(cuts: list[int]) -> torch.Tensor:
    model = tiny()
    masked = int((micro_batch(0, 6)["labels"] != IGNORED).sum())
    for start, stop in zip([0, *cuts], [*cuts, 6], strict=True):
        batch_loss(loss_sums(model, micro_batch(start, stop)), masked, 6).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("cuts", [[3], [1], [2, 4], [1, 2, 3, 4, 5]])
def test_the_gradient_does_not_depend_on_the_cut(cuts: list[int]) -> None:
    whole, split = gradient([]), gradient(cuts)
    assert (whole - split).norm() / whole.norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_kernels_of_a_gpu_are_called_as_they_are_declared(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and backward on the meta device, which computes shapes only: what can be known of them without a GPU."""
    monkeypatch.setattr(attention.Packed, "_is_joined", lambda self, query: True)
    monkeypatch.setattr(attention, "_flash_takes", lambda query: dtype != torch.float32)
    qkv = torch.empty(30, 3, 2, 64, dtype=dtype, device="meta", requires_grad=True)
    packed = attention.Packed(torch.empty(4, dtype=torch.int32, device="meta"), 16)
    context = packed(*qkv.unbind(1), 0.1)
    assert context.shape == (30, 2, 64) and context.dtype == dtype
    context.sum().backward()
    assert qkv.grad is not None and qkv.grad.shape == qkv.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 5e-3)])
def test_the_kernels_of_a_gpu_compute_what_the_slow_way_computes(dtype: torch.dtype, tolerance: float) -> None:
    qkv = torch.randn(37, 3, 2, 64, device="cuda", dtype=dtype)
    ends = torch.tensor([0, 5, 5 + 16, 37], dtype=torch.int32, device="cuda")
    packed = attention.Packed(ends, 16)
    fast, slow = (call(*qkv.unbind(1), 0.0) for call in (packed, packed._by_length))
    assert (fast - slow).abs().max() <= tolerance * slow.abs().max()
