"""A training step against Hugging Face's: batch making, forward, backward and optimizer, tokens per second.

    python benchmarks/step.py [--models tiny mini small base] [--dtypes fp32 bf16] [--length 128] [--batch 16] [--seconds 10]

The peer is `RobertaForMaskedLM` (sdpa attention, dropout 0.1) with `DataCollatorForLanguageModeling` and the same fused AdamW, on
the same examples. Both run eagerly, on the GPU if there is one, else on one CPU thread. Which part takes how long is printed for
ours, as shares of the step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from side_by_side import Work, alternate, compared, one_thread, setting, table
from tokenizers import Tokenizer, models
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from roberta_lab.composition import CONF
from roberta_lab.config import MaskingConfig, ModelConfig
from roberta_lab.datamodule import pack, to_batch
from roberta_lab.examples import Rows, Vocabulary
from roberta_lab.masking import masked_rows
from roberta_lab.model import PretrainingModel
from roberta_lab.objective import batch_loss, loss_sums
from roberta_lab.optimizer import build_optimizer

VOCAB_SIZE = 50_265
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def vocabulary(vocab_size: int) -> Vocabulary:
    """RoBERTa's special ids, `<mask>` the last."""
    return Vocabulary(vocab_size, vocab_size - 1, (0, 1, 2, 3, vocab_size - 1))


def packed_rows(number: int, length: int, vocab_size: int = VOCAB_SIZE) -> Rows:
    """Full inputs of random text, `<s> ... </s>`."""
    ids = np.random.default_rng(0).integers(4, vocab_size - 1, (number, length))
    ids[:, 0], ids[:, -1] = 0, 2
    special = np.zeros(ids.shape, bool)
    special[:, [0, -1]] = True
    return Rows(ids, np.zeros_like(ids), np.full(number, length), special, None)


def model_config(name: str) -> ModelConfig:
    return ModelConfig(**yaml.safe_load((Path(CONF) / "model" / f"{name}.yaml").read_text()))


def synchronized() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Ours:
    """The step of a run, without Lightning."""

    def __init__(self, config: ModelConfig, dtype: str, rows: Rows, vocab_size: int = VOCAB_SIZE) -> None:
        self.rows, self.dtype, self.epochs = rows, TYPES[dtype], count()
        self.vocabulary = vocabulary(vocab_size)
        self.model = PretrainingModel(config, vocab_size, rows.input_ids.shape[1], 0, nsp=False).to(DEVICE)
        self.optimizer = build_optimizer(self.model.named_parameters(), 1e-4, (0.9, 0.98), 1e-6, 0.01)
        self.seconds = dict.fromkeys(("data", "forward", "backward", "optimizer"), 0.0)

    def data(self) -> dict[str, Any]:
        examples = np.arange(len(self.rows.lengths))
        epochs = np.full_like(examples, next(self.epochs))
        masked, labels = masked_rows(self.rows, examples, epochs, MaskingConfig("dynamic"), 1, self.vocabulary)
        batch = pack(to_batch(self.rows, masked, labels), self.rows.input_ids.shape[1])
        return {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32):
            return batch_loss(loss_sums(self.model, batch), len(batch["masked_labels"]), len(batch["cu_seq_lens"]) - 1)

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        batch = self._timed("data", self.data)
        loss = self._timed("forward", lambda: self.forward(batch))
        self._timed("backward", loss.backward)
        self._timed("optimizer", self.optimizer.step)

    def _timed(self, name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = call()
        synchronized()
        self.seconds[name] += time.perf_counter() - start
        return found


class Theirs:
    """Hugging Face's model and collator."""

    def __init__(self, config: ModelConfig, dtype: str, rows: Rows) -> None:
        self.rows, self.dtype = rows, TYPES[dtype]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({f"{i}": i for i in range(VOCAB_SIZE)}, unk_token="3")),
            bos_token="0", pad_token="1", eos_token="2", unk_token="3", mask_token=f"{VOCAB_SIZE - 1}",
        )  # fmt: skip
        self.collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
        self.features = [{"input_ids": row} for row in rows.input_ids.tolist()]
        settings = RobertaConfig(
            vocab_size=VOCAB_SIZE, hidden_size=config.hidden, num_hidden_layers=config.layers, num_attention_heads=config.heads,
            intermediate_size=config.ffn, max_position_embeddings=rows.input_ids.shape[1] + 2, type_vocab_size=1,
            hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.attention_dropout, attn_implementation="sdpa",
        )  # fmt: skip
        self.model = RobertaForMaskedLM(settings).to(DEVICE).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, (0.9, 0.98), 1e-6, 0.01, fused=True)

    def data(self) -> dict[str, torch.Tensor]:
        return {key: value.to(DEVICE) for key, value in self.collate(self.features).items()}

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(**batch).loss

    def step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.forward(self.data()).backward()
        self.optimizer.step()
        synchronized()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "mini", "small"])
    parser.add_argument("--dtypes", nargs="+", choices=TYPES, default=["fp32"])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each line of a table")
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    rows, shares = packed_rows(options.batch, options.length), []
    for name in options.models:
        for dtype in options.dtypes:
            ours, theirs = Ours(model_config(name), dtype, rows), Theirs(model_config(name), dtype, rows)
            tokens = options.batch * options.length
            works = [Work("transformers", theirs.step, tokens), Work("roberta_lab", ours.step, tokens)]
            print(f"{name}, {dtype}, {options.batch} x {options.length} tokens, {DEVICE}\n")
            print(compared("tokens", alternate(works, options.seconds, 3)), end="\n\n", flush=True)
            total = sum(ours.seconds.values())
            shares.append([f"{name}, {dtype}", *(f"{part / total:.0%}" for part in ours.seconds.values())])
    print(table(("roberta_lab", *ours.seconds), shares))
    print(f"\n{setting('torch', 'transformers')}")


if __name__ == "__main__":
    main()
