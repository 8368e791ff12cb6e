"""The pretraining loss, as sums: whoever cuts a batch divides by the whole batch's counts (RoBERTa, Section 4.3; recipe of fairseq)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from roberta_lab.masking import IGNORED
from roberta_lab.model import PretrainingModel


class LossSums(NamedTuple):
    """Sums over one micro-batch; dividing by a batch's counts gives means, adding over micro-batches stays exact."""

    mlm: Tensor  # () float32, sum of negative log-likelihoods over masked tokens
    masked: Tensor  # () int64
    nsp: Tensor  # () float32, sum over sequences (0 without NSP)
    nsp_correct: Tensor  # () int64


def loss_sums(model: PretrainingModel, batch: dict[str, Tensor]) -> LossSums:
    """Forward pass of one micro-batch with keys input_ids, labels (B, T) and, as they apply, attention_mask, token_type_ids,
    next_sentence_label."""
    hidden = model.encoder(batch["input_ids"], batch.get("attention_mask"), batch.get("token_type_ids"))
    labels = batch["labels"].flatten()
    positions = (labels != IGNORED).nonzero().squeeze(1)
    logits = model.mlm_logits(hidden.flatten(0, 1).index_select(0, positions))
    mlm = F.cross_entropy(logits.float(), labels.index_select(0, positions), reduction="sum")
    nsp, correct = torch.zeros((), device=mlm.device), torch.zeros((), dtype=torch.int64, device=mlm.device)
    if model.nsp_classifier is not None:
        nsp_logits, target = model.nsp_logits(hidden).float(), batch["next_sentence_label"]
        nsp = F.cross_entropy(nsp_logits, target, reduction="sum")
        correct = (nsp_logits.argmax(1) == target).sum()
    return LossSums(mlm, torch.tensor(len(positions), device=mlm.device), nsp, correct)


def batch_loss(sums: LossSums, batch_masked: int, batch_sequences: int) -> Tensor:
    """MLM + NSP, each a mean over its own items of the whole batch, weight 1 each (recipe of BERT)."""
    return sums.mlm / max(batch_masked, 1) + sums.nsp / batch_sequences
