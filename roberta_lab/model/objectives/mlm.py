"""BERT's objective: masked tokens and, with `nsp`, how two texts belong together (RoBERTa, Sections 2.3 and 4.2)."""

import math
from collections.abc import Mapping

import numpy as np
import torch.nn.functional as F

from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.axes.pairs import PAIRINGS
from roberta_lab.config import Config
from roberta_lab.data.batch import Batch
from roberta_lab.model.cross_entropy import summed_cross_entropy
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.metrics import BITS_PER_BYTE, PERPLEXITY, accuracy
from roberta_lab.model.objective import Counts, Objective, States, Sums, Term


class MaskedTokens(Term):
    """Prediction of masked tokens, MLM (Devlin et al. 2019, Section 3.1).

    Held-out perplexity is exp(total negative log-likelihood / masked tokens). Bits per byte count the masked text without
    white space, which not every tokenizer keeps, so they compare between tokenizers.
    """

    name, divisor, reads = "mlm", "masked", ("mlm",)
    declared = (PERPLEXITY, BITS_PER_BYTE)

    def sums(self, model: PretrainingModel, states: States, batch: Batch) -> Sums:
        features = model.mlm_features(states.hidden.index_select(0, states.masked))
        has_dummies = "num_masked" in batch
        return {"loss": summed_cross_entropy(features, *model.output_layer, states.labels, has_dummies)}

    def metrics(self, sums: Mapping[str, float], counts: Counts, held_out: bool) -> dict[str, float]:
        found = super().metrics(sums, counts, held_out)
        if held_out:
            found["ppl"] = float(np.exp(found["mlm_loss"]))
            if counts["bytes"]:
                found["bits_per_nonspace_byte"] = sums["loss"] / math.log(2) / counts["bytes"]
        return found


class PairLabels(Term):
    """Prediction of the label of a pair: next sentence (Devlin et al. 2019, Section 3.1) or order (Lan et al. 2020)."""

    divisor, reads, summed = "sequences", ("nsp",), ("loss", "correct")

    def __init__(self, name: str, weight: float) -> None:
        self.name, self.weight, self.declared = name, weight, (accuracy(name),)

    def sums(self, model: PretrainingModel, states: States, batch: Batch) -> Sums:
        logits = model.nsp_logits(states.hidden.index_select(0, states.firsts)).float()
        target = batch["next_sentence_label"]
        loss = F.cross_entropy(logits, target, reduction="sum")
        return {"loss": loss, "correct": (logits.argmax(1) == target).sum().float()}

    def metrics(self, sums: Mapping[str, float], counts: Counts, held_out: bool) -> dict[str, float]:
        right = sums["correct"] / counts["sequences"]
        return {**super().metrics(sums, counts, held_out), f"{self.name}_acc": right}


def mlm_and(pair_task: str | None = None, weight: float = 1.0) -> Objective:
    """Return MLM and, with the name of a task of pairs (nsp, sop), the prediction of their label."""
    terms = (MaskedTokens(), *([PairLabels(pair_task, weight)] if pair_task else []))
    return Objective(terms, leaves_dummies_out=True)


def objective(config: Config) -> Objective:
    """Return the loss of BERT, RoBERTa and ALBERT: the pairs' label is predicted where `nsp` is on."""
    return mlm_and(PAIRINGS[config.nsp.pairs].task if nsp_is_on(config) else None, config.nsp.weight)
