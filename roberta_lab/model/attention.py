"""Scaled dot-product attention within each input, by the fastest exact kernel for dense, padded or packed batches.

    softmax(Q K^T / sqrt(D)) V, for each head                      (Vaswani et al. 2017, Section 3.2.1)

A packed batch holds the real tokens of its inputs, joined end to end: nothing is computed for padding, and no token attends
to another input. On a GPU one kernel takes all inputs: FlashAttention-2 (Dao 2023) in half precision on Ampere and newer, else
the memory-efficient one. Elsewhere there is one call for each run of inputs of equal length, so they should come sorted by length.
"""

from itertools import groupby
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from roberta_lab.config import ModelConfig

HEAD_SIZES = 8  # the kernels for packed batches take multiples of it
FLASH_HEAD_SIZE, FLASH_CAPABILITY = 256, (8, 0)  # the largest head of FlashAttention-2, and the oldest GPUs (Ampere)


class Padded(NamedTuple):
    """Attention over rows of one width: from queries, keys and values, (B, T, A, D) for A heads, to contexts."""

    mask: Tensor | None  # (B, 1, 1, T) bool, True on real tokens; None when all are real, which is faster

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (query, key, value))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, dropout_p=dropout).transpose(1, 2)


class Packed(NamedTuple):
    """Attention over inputs joined end to end: from queries, keys and values, (N, A, D) for A heads, to contexts."""

    cu_seq_lens: Tensor  # (B + 1,) int32, where each input starts, and the end of the last
    max_length: int  # of any input of the run
    has_fixed_shape: bool = False  # that of all micro-batches of the run, for which code may be compiled

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        context: Tensor
        if self._is_joined(query):
            context = joined(query, key, value, self.cu_seq_lens, self.max_length, dropout)
        else:
            context = self._by_length(query, key, value, dropout)
        return context

    def _is_joined(self, query: Tensor) -> bool:  # by a kernel over all inputs at once
        return query.is_cuda and query.shape[-1] % HEAD_SIZES == 0

    @torch.compiler.disable  # lengths differ from batch to batch, and would be compiled in
    def _by_length(self, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """Return the contexts by one dense call for each run of inputs of equal length."""
        runs = [(length, len(list(run))) for length, run in groupby(self.cu_seq_lens.diff().tolist())]
        sizes = [length * number for length, number in runs]
        contexts = []
        for (length, number), *parts in zip(runs, *(x.split(sizes) for x in (query, key, value)), strict=True):
            q, k, v = (x.unflatten(0, (number, length)) for x in parts)
            contexts.append(Padded(None)(q, k, v, dropout).flatten(0, 1))
        return torch.cat(contexts) if len(contexts) > 1 else contexts[0]


Attention: TypeAlias = Padded | Packed


def takes_joined(config: ModelConfig, device: torch.device) -> bool:
    """Return whether one kernel takes inputs joined end to end, so that nothing is computed for padding."""
    return device.type == "cuda" and config.hidden // config.heads % HEAD_SIZES == 0


def joined(query: Tensor, key: Tensor, value: Tensor, cu_seq_lens: Tensor, max_length: int, dropout: float) -> Tensor:
    """Return the contexts, (N, A, D), of inputs joined end to end, by one kernel of a GPU.

    These are the private kernels behind PyTorch's nested tensors: the public torch.nn.attention.varlen.varlen_attn has no
    dropout (pytorch/pytorch, issue 179382 and pull 179390), no float32 and nothing for GPUs before Ampere.
    """
    bounds = cu_seq_lens, cu_seq_lens, max_length, max_length
    context: Tensor
    if _flash_takes(query):
        context = torch.ops.aten._flash_attention_forward(query, key, value, *bounds, dropout, False, False)[0]
        return context
    parts = (x.unsqueeze(0) for x in (query, key, value))
    kernel, saves = torch.ops.aten._efficient_attention_forward, torch.is_grad_enabled()
    context = kernel(*parts, None, *bounds, dropout, 0, saves)[0].squeeze(0)
    return context


def _flash_takes(query: Tensor) -> bool:
    """Return whether FlashAttention-2 takes these queries: half precision, on Ampere GPUs and newer."""
    half = query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] <= FLASH_HEAD_SIZE
    return half and _is_ampere_or_newer()


@torch.compiler.assume_constant_result  # one kind of GPU a process: no compiled code asks again
def _is_ampere_or_newer() -> bool:
    return torch.cuda.get_device_capability() >= FLASH_CAPABILITY
