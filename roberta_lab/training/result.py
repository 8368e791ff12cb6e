"""The result of a complete pretraining run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainingResult:
    """The figures of a complete pretraining run."""

    steps: int
    tokens_seen: int  # real tokens, over all ranks
    epochs: float  # passes over the examples
    unigram_ppl: float  # held-out perplexity of a model that knows token frequencies alone
    parameters: int
    plan: Mapping[str, int]  # counts of the input plan (`axes.examples.Plan.counts`)
    metrics: Mapping[str, float]  # of the last validation, by name: val/ppl, val/mlm_loss, ...

    @property
    def perplexity(self) -> float:
        """Return exp(total negative log-likelihood / masked tokens) on the held-out text."""
        return self.metrics["val/ppl"]
