"""The pretraining loss, as sums: whoever cuts a batch divides by the whole batch's counts (RoBERTa, Section 4.3; recipe of fairseq)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from roberta_lab.axes.examples import IGNORED
from roberta_lab.model.attention import Packed
from roberta_lab.model.pretraining_model import PretrainingModel

PART = (1 << 20, 1 << 26)  # logits that are held in float32 at a time, on a CPU (4 MiB) and on a GPU (256 MiB)


class LossSums(NamedTuple):
    """Sums over one micro-batch; dividing by a batch's counts gives means, adding over micro-batches stays exact."""

    mlm: Tensor  # () float32, sum of negative log-likelihoods over masked tokens
    masked: int  # known without asking the device
    nsp: Tensor  # () float32, sum over sequences (0 without NSP)
    nsp_correct: Tensor  # () int64

    def detached(self) -> LossSums:
        """Without the graph behind them."""
        return self._replace(mlm=self.mlm.detach(), nsp=self.nsp.detach())


def loss_sums(model: PretrainingModel, batch: dict[str, Any]) -> LossSums:
    """Forward pass of one micro-batch, packed (`datamodule.pack`) or padded: input_ids, labels (B, T) and, as they apply,
    attention_mask, token_type_ids, next_sentence_label."""
    if "cu_seq_lens" in batch:
        attention = Packed(batch["cu_seq_lens"], batch["max_length"])
        hidden = model.encoder.packed(batch["input_ids"], batch["position_ids"], attention, batch.get("token_type_ids"))
        positions, labels, firsts = batch["masked_positions"], batch["masked_labels"], batch["cu_seq_lens"][:-1]
    else:
        hidden = model.encoder(batch["input_ids"], batch.get("attention_mask"), batch.get("token_type_ids"))
        positions = (batch["labels"].flatten() != IGNORED).nonzero().squeeze(1)
        labels = batch["labels"].flatten().index_select(0, positions)
        firsts = torch.arange(len(hidden), device=hidden.device) * hidden.shape[1]
        hidden = hidden.flatten(0, 1)
    features = model.mlm_features(hidden.index_select(0, positions))
    mlm = summed_cross_entropy(features, *model.output_layer, labels)
    nsp, correct = torch.zeros((), device=mlm.device), torch.zeros((), dtype=torch.int64, device=mlm.device)
    if model.nsp_classifier is not None:
        nsp_logits, target = model.nsp_logits(hidden.index_select(0, firsts)).float(), batch["next_sentence_label"]
        nsp = F.cross_entropy(nsp_logits, target, reduction="sum")
        correct = (nsp_logits.argmax(1) == target).sum()
    return LossSums(mlm, len(labels), nsp, correct)


def batch_loss(sums: LossSums, batch_masked: int, batch_sequences: int) -> Tensor:
    """MLM + NSP, each a mean over its own items of the whole batch, weight 1 each (recipe of BERT)."""
    return sums.mlm / max(batch_masked, 1) + sums.nsp / batch_sequences


def summed_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """Sum of the negative log-likelihoods of `labels` (M,) under softmax(features @ weight.T + bias), () float32.

    The logits (M, V) exist once, in the precision of the forward pass; in their place comes their gradient, part by part.

    Args:
        features: (M, H).
        weight: (V, H).
        bias: (V,).
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    with torch.autocast(device, enabled=False):
        return _SummedCrossEntropy.apply(features.to(dtype), weight.to(dtype), bias.to(dtype), labels)


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
        logits = F.linear(features, weight, bias)
        totals, chosen = [], torch.zeros((), device=logits.device)
        for part, target in zip(*_in_parts(logits, labels), strict=True):
            wide = part.float()
            totals.append(wide.logsumexp(1))
            chosen += wide.gather(1, target[:, None]).sum()
        log_totals = torch.cat(totals)
        ctx.save_for_backward(features, weight, labels, log_totals)
        ctx.logits = logits
        return log_totals.sum() - chosen

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, labels, log_totals = ctx.saved_tensors
        gradient, ctx.logits = ctx.logits, None  # of a second backward pass there is nothing left
        for part, target, total in zip(*_in_parts(gradient, labels, log_totals), strict=True):
            wide = part.float().sub_(total[:, None]).exp_()
            wide.scatter_add_(1, target[:, None], wide.new_full((len(wide), 1), -1.0)).mul_(factor)
            if part.dtype != wide.dtype:
                part.copy_(wide)
        return gradient @ weight, gradient.t() @ features, gradient.sum(0), None


def _in_parts(logits: Tensor, *others: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    """Rows of logits, and what belongs to them, in parts that are small enough for a cache or for float32 copies."""
    rows = max(1, PART[logits.device.type == "cuda"] // logits.shape[1])
    return tuple(tensor.split(rows) for tensor in (logits, *others))
