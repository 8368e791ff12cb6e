"""Which design choice of the training step gives what: each is undone alone, and the step timed against the step as it is.

    python benchmarks/choices.py [--models tiny mini] [--dtypes fp32 bf16] [--length 128] [--batch 16] [--shortest 0.5] [--seconds 6]

Inputs have lengths uniform between `--shortest` of the longest and the longest, as in doc_sentences. A factor of 1.30 says that
the step takes 1.30 times as long without the choice.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from side_by_side import Work, alternate, one_thread, setting, table
from step import DEVICE, TYPES, VOCAB_SIZE, model_config, packed_rows, synchronized, vocabulary
from torch import Tensor

from roberta_lab.axes.examples import IGNORED, Rows
from roberta_lab.axes.masking import masked_rows
from roberta_lab.config import MaskingConfig, ModelConfig
from roberta_lab.data.datamodule import pack, to_batch
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.objective import Sums
from roberta_lab.model.objectives import mlm
from roberta_lab.model.objectives.mlm import mlm_and
from roberta_lab.model.optimizer import build_optimizer

VOCABULARY = vocabulary(VOCAB_SIZE)
OBJECTIVE = mlm_and()


def rows_of_many_lengths(number: int, longest: int, shortest: float) -> Rows:
    """Inputs of random text, sorted by length as in training."""
    whole = packed_rows(number, longest)
    lengths = np.sort(np.random.default_rng(1).integers(int(shortest * longest), longest + 1, number))
    padding = np.arange(longest) >= lengths[:, None]
    ids = np.where(padding, VOCABULARY.pad_id, whole.input_ids)
    ids[np.arange(number), lengths - 1] = VOCABULARY.eos_id
    special = padding | np.isin(ids, (VOCABULARY.bos_id, VOCABULARY.eos_id))
    return Rows(ids, np.zeros_like(ids), lengths, special, None)


def by_autograd(features: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy that everyone writes: float32 logits, log-softmax and gradient beside each other."""
    return F.cross_entropy(F.linear(features, weight, bias).float(), labels, reduction="sum")


def everywhere(model: PretrainingModel, batch: dict[str, Any]) -> Sums:
    """Logits at all positions, the loss at the masked ones."""
    hidden = model.encoder(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    labels = batch["labels"].flatten()
    logits = model.mlm_logits(hidden.flatten(0, 1)).float()
    loss = F.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)
    return {"mlm/loss": loss}


class Step:
    """A training step with some of the choices undone."""

    def __init__(self, config: ModelConfig, dtype: str, rows: Rows, undone: str) -> None:
        self.dtype, self.undone = TYPES[dtype], undone
        torch.manual_seed(0)
        self.model = PretrainingModel(config, VOCAB_SIZE, rows.input_ids.shape[1], 0, nsp=False).to(DEVICE)
        parameters = self.model.named_parameters()
        self.optimizer = build_optimizer(parameters, 1e-4, (0.9, 0.98), 1e-6, 0.01)
        if undone == "fused AdamW":
            self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, (0.9, 0.98), 1e-6, foreach=True)
        examples = np.arange(len(rows.lengths))
        masked = masked_rows(rows, examples, np.zeros_like(examples), MaskingConfig("dynamic"), 1, VOCABULARY)
        batch: dict[str, Any] = to_batch(rows, *masked)
        self.masked = int((batch["labels"] != IGNORED).sum())
        if undone not in ("no padding", "logits at masked positions only"):
            batch = pack(batch, rows.input_ids.shape[1])
        self.batch = {k: v.to(DEVICE) if isinstance(v, Tensor) else v for k, v in batch.items()}
        self.sums: Callable[..., Sums] = OBJECTIVE.sums
        if undone == "logits at masked positions only":
            self.sums = everywhere

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32), self._replaced():
            loss = OBJECTIVE.loss(self.sums(self.model, self.batch), {"masked": self.masked})
        loss.backward()
        self.optimizer.step()
        synchronized()

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        if self.undone == "one copy of the logits":
            with mock.patch.object(mlm, "summed_cross_entropy", by_autograd):
                yield
        else:
            yield


UNDONE = ("", "logits at masked positions only", "one copy of the logits", "no padding", "fused AdamW")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "mini"])
    parser.add_argument("--dtypes", nargs="+", choices=TYPES, default=["fp32"])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--shortest", type=float, default=0.5, help="the shortest input, as a share of the longest")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each column")
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    rows = rows_of_many_lengths(options.batch, options.length, options.shortest)
    lines = []
    for name in options.models:
        for dtype in options.dtypes:
            works = [Work(undone, Step(model_config(name), dtype, rows, undone), 1) for undone in UNDONE]
            whole, *others = alternate(works, options.seconds, 5)
            factors = [median(w / o for w, o in zip(whole.rates, other.rates, strict=True)) for other in others]
            milliseconds = 1e3 / median(whole.rates)
            lines.append([f"{name}, {dtype}", f"{milliseconds:.0f} ms", *(f"{factor:.2f}" for factor in factors)])
            print(lines[-1], flush=True)
    print(table(("without", "step as it is", *UNDONE[1:]), lines))
    shares = f"{options.batch} inputs of {int(options.shortest * options.length)} to {options.length} tokens"
    print(f"\n{shares}; vocabulary {VOCAB_SIZE:,}. {setting('torch')}")


if __name__ == "__main__":
    main()
