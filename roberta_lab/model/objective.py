"""The pretraining loss as sums over a micro-batch, to be divided by the counts of the whole batch (RoBERTa, Section 2.3).

The mean of means of micro-batches would weigh each alike, though they hold different numbers of masked tokens.
"""

from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from roberta_lab.axes.examples import IGNORED
from roberta_lab.data.batch import Batch
from roberta_lab.model.attention import Packed
from roberta_lab.model.encoder import PretrainingModel

PART = (1 << 20, 1 << 26)  # logits that are held in float32 at a time, on a CPU (4 MiB) and on a GPU (256 MiB)


class LossSums(NamedTuple):
    """Sums over one micro-batch. They add up over micro-batches; divided by a batch's counts they are its means."""

    mlm: Tensor  # () float32, sum of negative log-likelihoods over masked tokens
    masked: int  # number of masked tokens, known without waiting for the device
    nsp: Tensor  # () float32, sum over sequences (0 without NSP)
    nsp_correct: Tensor  # () int64

    def detached(self) -> Self:
        """Return the same sums without their graphs."""
        return self._replace(mlm=self.mlm.detach(), nsp=self.nsp.detach())


def loss_sums(model: PretrainingModel, batch: Batch) -> LossSums:
    """Return the sums of one micro-batch, packed or padded, by a forward pass."""
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
    """Return MLM + NSP, () float32: each a mean over its own items of the whole batch (Devlin et al. 2019, Appendix A.2)."""
    return sums.mlm / max(batch_masked, 1) + sums.nsp / batch_sequences


def summed_cross_entropy(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the negative log-likelihoods of labels under softmax(features @ weight.T + bias), () float32.

    The logits (M, V) are held once, in the precision of the forward pass. Their gradient overwrites them, part by part.
    Features are (M, H), the weight (V, H), the bias (V,), labels int64 (M,).
    """
    device = features.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    with torch.autocast(device, enabled=False):
        loss: Tensor = _SummedCrossEntropy.apply(features.to(dtype), weight.to(dtype), bias.to(dtype), labels)
    return loss


class _SummedCrossEntropy(torch.autograd.Function):
    """Cross-entropy whose backward pass needs no memory beside the logits: d loss / d logits = softmax(logits) - one_hot."""

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
        gradient, ctx.logits = ctx.logits, None  # overwritten below, so there is no second backward pass
        for part, target, total in zip(*_in_parts(gradient, labels, log_totals), strict=True):
            wide = part.float().sub_(total[:, None]).exp_()
            wide.scatter_add_(1, target[:, None], wide.new_full((len(wide), 1), -1.0)).mul_(factor)
            if part.dtype != wide.dtype:
                part.copy_(wide)
        return gradient @ weight, gradient.t() @ features, gradient.sum(0), None


def _in_parts(logits: Tensor, *others: Tensor) -> tuple[tuple[Tensor, ...], ...]:
    """Return the rows of logits and of what belongs to them in parts, small enough for a cache or for float32 copies."""
    rows = max(1, PART[logits.device.type == "cuda"] // logits.shape[1])
    return tuple(tensor.split(rows) for tensor in (logits, *others))
