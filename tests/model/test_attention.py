"""The kernels of a GPU for packed batches: how they are called, and what they compute."""

import pytest
import torch

from roberta_lab.model import attention


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
