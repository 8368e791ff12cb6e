"""What pretraining predicts: objectives made of terms, each with heads, sums of losses, and metrics (RoBERTa, Section 2.3).

A term gives sums over a micro-batch, which are divided by the counts of the whole batch. So with dropout off a step is the same
however it is cut; the mean of means of micro-batches would weigh each alike, though they hold different numbers of masked tokens. The
objectives that there are lie in `objectives/`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from roberta_lab.axes.examples import IGNORED, Rows, Vocabulary
from roberta_lab.config import ModelConfig
from roberta_lab.data.batch import Batch
from roberta_lab.model.attention import Attention, Packed, Padded
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.metrics import Metric

T = TypeVar("T")
# Names of what is counted in a batch: masked tokens, sequences, (real) tokens; of held-out text also bytes.
Counts: TypeAlias = Mapping[str, float]
Sums: TypeAlias = dict[str, Tensor]  # () float32 each; they add up over micro-batches and ranks
# ids, positions, token types, attention -> hidden states (..., H)
Run: TypeAlias = Callable[[Tensor, Tensor | None, Tensor | None, Attention], Tensor]


class States(NamedTuple):
    """Hidden states of a micro-batch of B inputs with N tokens, M of them masked, and where what is predicted stands.

    In a batch of fixed shape (`data.static_shapes`) dummies follow what is real, in all of these. Only an objective that says
    `leaves_dummies_out` gets such batches.
    """

    hidden: Tensor  # float (N, H); of padded rows all places
    masked: Tensor  # int64 (M,), places among the N
    labels: Tensor  # int64 (M,), the tokens that were there
    firsts: Tensor  # int (B,), places of `<s>`


class Term:
    """A part of the loss. A new one overrides what it needs: `sums` always, mostly `metrics` and `declared` too."""

    name: str  # begins the names of its metrics
    divisor: str  # the count of the whole batch by which its loss is divided: masked | sequences | tokens
    weight: float = 1.0
    summed: tuple[str, ...] = ("loss",)  # what `sums` returns
    reads: tuple[str, ...] = ()  # the model's own heads that it trains: mlm | nsp; others get no gradients
    declared: tuple[Metric, ...] = ()  # held-out metrics for tables

    def heads(self, model: ModelConfig, vocab_size: int) -> dict[str, nn.Module]:
        """Return new heads; `sums` finds them in `model.heads`. Heads of MLM and NSP are the model's own."""
        return {}

    def fields(self, rows: Rows, seen: np.ndarray, labels: np.ndarray, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
        """Return what a batch holds for this term, as `batch["fields"]`: arrays (B,), or (B, T) of which padding is taken out.

        `seen` is what the model sees of the rows, `labels` the tokens to predict or -100, int64 (B, T) each. Whatever a term
        draws at random, in `sums` too, it draws here, from `rows.keys` with `axes.rng`: draws of torch in `sums` would depend
        on how the step is cut, and in validation on the step before.
        """
        return {}

    def sums(self, model: PretrainingModel, states: States, batch: Batch) -> Sums:
        """Return the sums over a micro-batch, as `summed` names them: `loss` is trained, others are for the metrics."""
        raise NotImplementedError

    def metrics(self, sums: Mapping[str, float], counts: Counts, held_out: bool) -> dict[str, float]:
        """Return the figures of sums over a whole batch, or over all held-out text, by name."""
        return {f"{self.name}_loss": sums["loss"] / max(counts[self.divisor], 1)}


def own_counts(batch: Batch) -> Counts:
    """Return the counts of one packed batch alone; a step is divided by those of all its batches."""
    if "num_inputs" in batch:
        return {"masked": batch["num_masked"], "sequences": batch["num_inputs"], "tokens": batch["num_tokens"]}
    sequences = len(batch["cu_seq_lens"]) - 1
    return {"masked": len(batch["masked_labels"]), "sequences": sequences, "tokens": len(batch["input_ids"])}


def encode(run: Run, batch: Batch) -> States:
    """Return the hidden states of a micro-batch, packed or padded: by the model's encoder, or by another one."""
    inputs = batch["input_ids"], batch.get("position_ids"), batch.get("token_type_ids")
    if "cu_seq_lens" in batch:
        hidden = run(*inputs, Packed(batch["cu_seq_lens"], batch["max_length"], "num_inputs" in batch))
        return States(hidden, batch["masked_positions"], batch["masked_labels"], batch["cu_seq_lens"][:-1])
    mask = batch.get("attention_mask")
    hidden = run(*inputs, Padded(None if mask is None else mask.bool()[:, None, None, :]))
    masked = (batch["labels"].flatten() != IGNORED).nonzero().squeeze(1)
    firsts = torch.arange(len(hidden), device=hidden.device) * hidden.shape[1]
    return States(hidden.flatten(0, 1), masked, batch["labels"].flatten().index_select(0, masked), firsts)


@dataclass(frozen=True)
class Objective:
    """The terms of a loss, over one forward pass of the encoder. Another way to compute the states overrides `states`."""

    terms: tuple[Term, ...]
    leaves_dummies_out: bool = False  # its terms read `masked`, `firsts` and labels that are not IGNORED, nothing else

    def __post_init__(self) -> None:
        assert len({term.name for term in self.terms}) == len(self.terms), "terms of one name would share their sums"

    def states(self, model: PretrainingModel, batch: Batch) -> States:
        """Return what the terms read."""
        return encode(model.encoder.hidden_states, batch)

    def sums(self, model: PretrainingModel, batch: Batch) -> Sums:
        """Return the sums of all terms over one micro-batch, each under `term/name`."""
        states = self.states(model, batch)
        return {
            f"{term.name}/{key}": value for term in self.terms for key, value in term.sums(model, states, batch).items()
        }

    def loss(self, sums: Sums, counts: Counts) -> Tensor:
        """Return the loss, () float32: each term a mean over its own items of the whole batch, times its weight."""
        parts = [sums[f"{t.name}/loss"] / max(counts[t.divisor], 1) for t in self.terms]
        weighted = [part if t.weight == 1 else t.weight * part for t, part in zip(self.terms, parts, strict=True)]
        return sum(weighted[1:], start=weighted[0])

    def metrics(self, sums: Mapping[str, float], counts: Counts, held_out: bool) -> dict[str, float]:
        """Return the figures of all terms, under `train/name` or `val/name`."""
        found: dict[str, float] = {}
        for term in self.terms:
            own = {key.partition("/")[2]: value for key, value in sums.items() if key.startswith(f"{term.name}/")}
            found |= term.metrics(own, counts, held_out)
        return {f"{'val' if held_out else 'train'}/{name}": value for name, value in found.items()}

    def heads(self, model: ModelConfig, vocab_size: int) -> dict[str, nn.Module]:
        """Return the new heads of all terms."""
        return _joined(term.heads(model, vocab_size) for term in self.terms)

    def fields(self, rows: Rows, seen: np.ndarray, labels: np.ndarray, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
        """Return what a batch holds for the terms beside the usual."""
        return _joined(term.fields(rows, seen, labels, vocabulary) for term in self.terms)

    @property
    def reads(self) -> frozenset[str]:
        """Return the model's own heads that are trained."""
        return frozenset(head for term in self.terms for head in term.reads)

    @property
    def summed(self) -> list[str]:
        """Return the names of all sums, in their order."""
        return [f"{term.name}/{key}" for term in self.terms for key in term.summed]

    @property
    def declared(self) -> tuple[Metric, ...]:
        """Return the held-out metrics for tables, the first one first; of terms that declare none, their losses."""
        found = tuple(metric for term in self.terms for metric in term.declared)
        return found or tuple(Metric(f"{term.name}_loss", lower_is_better=True, digits=3) for term in self.terms)


def _joined(parts: Iterable[dict[str, T]]) -> dict[str, T]:
    """Return all entries of the parts; no name may stand twice."""
    entries = [entry for part in parts for entry in part.items()]
    assert len(dict(entries)) == len(entries), f"two terms have the same name: {', '.join(name for name, _ in entries)}"
    return dict(entries)
