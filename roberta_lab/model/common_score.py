"""Score a model on the common held-out set (data/common_set.py): what compares between formats, masks and tokenizers."""

import math
from collections.abc import Iterable

import torch

from roberta_lab.data.batch import Batch
from roberta_lab.data.datamodule import to_device
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.metrics import COMMON_BITS, COMMON_PPL
from roberta_lab.model.objective import encode
from roberta_lab.model.objectives.mlm import MaskedTokens


@torch.no_grad()
def negative_log_likelihood(model: PretrainingModel, batches: Iterable[Batch]) -> tuple[float, int]:
    """Return the negative log-likelihood of the masked tokens of all batches, in nats, and their number."""
    was_training, nats, masked = model.training, 0.0, 0
    device = model.mlm_bias.device
    model.eval()
    for batch in batches:
        there = to_device(batch, device)
        states = encode(model.encoder.hidden_states, there)
        nats += float(MaskedTokens().sums(model, states, there)["loss"])
        masked += len(batch["masked_labels"])
    model.train(was_training)
    return nats, masked


def figures(nats: float, masked: int, num_bytes: int) -> dict[str, float]:
    """Return bits for a byte of a masked word, which compare between tokenizers, and the perplexity of a masked token.

    A model without any idea has a perplexity beyond a float's range: it is infinite then.
    """
    mean = nats / masked
    return {COMMON_BITS: nats / math.log(2) / num_bytes, COMMON_PPL: math.exp(mean) if mean < 700 else math.inf}
