"""A training step against Hugging Face's: batch making, forward, backward and optimizer, tokens per second.

    python benchmarks/step.py [--models tiny mini small base] [--dtypes fp32 bf16] [--length 128] [--batch 16] [--seconds 10]
                              [--shortest N] [--ready] [--compile]

The peer is `RobertaForMaskedLM` (sdpa attention, dropout 0.1) with `DataCollatorForLanguageModeling` and the same fused AdamW, on
the same examples, on the GPU if there is one, else on one CPU thread. With --shortest, inputs have N to LENGTH tokens, as
doc_sentences makes them, and real tokens count; with --ready, batches lie on the device beforehand, as workers would leave
them on either side; with --compile, both are also compiled. `shares.py` says which part of a step takes how long.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from side_by_side import Work, alternate, compared, one_thread, setting
from tokenizers import Tokenizer, models
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

from roberta_lab.axes.examples import Rows, Vocabulary
from roberta_lab.axes.masking import masked_rows
from roberta_lab.config import MaskingConfig, ModelConfig
from roberta_lab.data.datamodule import pack, to_batch
from roberta_lab.data.static_shapes import TOKENS, Shape, filled
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.flops import forward_flops
from roberta_lab.model.objective import own_counts
from roberta_lab.model.objectives.mlm import mlm_and
from roberta_lab.model.optimizer import build_optimizer
from roberta_lab.runs.options import CONF
from roberta_lab.training.gpu_code import LAUNCHED_AS_GRAPH

VOCAB_SIZE = 50_265
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
OBJECTIVE = mlm_and()
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def vocabulary(vocab_size: int) -> Vocabulary:
    """RoBERTa's special ids, `<mask>` the last."""
    return Vocabulary(vocab_size, vocab_size - 1, (0, 1, 2, 3, vocab_size - 1))


def packed_rows(number: int, length: int, vocab_size: int = VOCAB_SIZE, shortest: int | None = None) -> Rows:
    """Inputs of random text, `<s> ... </s>`: full ones, or of `shortest` to `length` tokens, in the order of their lengths."""
    draw = np.random.default_rng(0)
    ids = draw.integers(4, vocab_size - 1, (number, length))
    lengths = np.sort(draw.integers(shortest or length, length + 1, number))
    position = np.arange(length)
    ids[:, 0] = 0
    ids[np.arange(number), lengths - 1] = 2
    ids[position >= lengths[:, None]] = 1
    special = (position == 0) | (position >= lengths[:, None] - 1)
    return Rows(ids, np.zeros_like(ids), lengths, special, None)


def model_config(name: str) -> ModelConfig:
    return ModelConfig(**yaml.safe_load((Path(CONF) / "model" / f"{name}.yaml").read_text()))


def _multiple(size: float) -> int:
    return -int(-size // TOKENS) * TOKENS


def synchronized() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Ours:
    """The step of a run, without Lightning. Compiled on a GPU, its batches have one shape, as those of a run have there."""

    def __init__(
        self, config: ModelConfig, dtype: str, rows: Rows, vocab_size: int = VOCAB_SIZE, compiled: bool = False
    ) -> None:
        self.rows, self.dtype = rows, TYPES[dtype]
        self.epochs: Iterator[int] = count()
        self.vocabulary = vocabulary(vocab_size)
        self.model = PretrainingModel(config, vocab_size, rows.input_ids.shape[1], 0, nsp=False).to(DEVICE)
        self.optimizer = build_optimizer(self.model.named_parameters(), 1e-4, (0.9, 0.98), 1e-6, 0.01)
        self.length, self.shape, self.is_graph = rows.input_ids.shape[1], None, False
        if compiled and DEVICE.type == "cuda":
            tokens = int(rows.lengths.sum())
            flops = forward_flops(config, vocab_size, 1, False, attended=self.length).training * tokens
            self.is_graph = flops < LAUNCHED_AS_GRAPH
            self.shape = Shape(_multiple(tokens + 1), len(rows.lengths) + 2, _multiple(0.155 * tokens), 1.0)
            self.model.encoder.compile_for_one_shape(mode="reduce-overhead" if self.is_graph else None)
        elif compiled:
            for layer in self.model.encoder.layers:
                layer.compile(dynamic=True)

    def zero_grad(self) -> None:
        """Forget the gradients, as a run does."""
        self.optimizer.zero_grad(set_to_none=not self.is_graph)
        for parameter in self.model.parameters() if self.is_graph else ():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def data(self) -> dict[str, Any]:
        examples = np.arange(len(self.rows.lengths))
        epochs = np.full_like(examples, next(self.epochs))
        masked, labels = masked_rows(self.rows, examples, epochs, MaskingConfig("dynamic"), 1, self.vocabulary)
        batch = pack(to_batch(self.rows, masked, labels), self.length)
        batch["num_tokens"] = int(self.rows.lengths.sum())
        if self.shape is not None:
            batch = filled(batch, self.shape, 1)
        return {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        if self.is_graph:
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32):
            return OBJECTIVE.loss(OBJECTIVE.sums(self.model, batch), own_counts(batch))


class Theirs:
    """Hugging Face's model and collator."""

    def __init__(self, config: ModelConfig, dtype: str, rows: Rows, compiled: bool = False) -> None:
        self.dtype = TYPES[dtype]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({f"{i}": i for i in range(VOCAB_SIZE)}, unk_token="3")),
            bos_token="0", pad_token="1", eos_token="2", unk_token="3", mask_token=f"{VOCAB_SIZE - 1}",
        )  # fmt: skip
        self.collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
        self.features = [{"input_ids": row[:n]} for row, n in zip(rows.input_ids.tolist(), rows.lengths, strict=True)]
        settings = RobertaConfig(
            vocab_size=VOCAB_SIZE, hidden_size=config.hidden, num_hidden_layers=config.layers, num_attention_heads=config.heads,
            intermediate_size=config.ffn, max_position_embeddings=rows.input_ids.shape[1] + 2, type_vocab_size=1,
            hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.attention_dropout, attn_implementation="sdpa",
        )  # fmt: skip
        self.model = RobertaForMaskedLM(settings).to(DEVICE).train()
        self.call = torch.compile(self.model, dynamic=None) if compiled else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4, (0.9, 0.98), 1e-6, 0.01, fused=True)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def data(self) -> dict[str, torch.Tensor]:
        return {key: value.to(DEVICE) for key, value in self.collate(self.features).items()}

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(DEVICE.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.call(**batch).loss


def step_of(side: Ours | Theirs, ready: bool) -> Callable[[], None]:
    """A training step; with `ready`, over batches that were made beforehand."""
    batches = cycle([side.data() for _ in range(4)]) if ready else None

    def step() -> None:
        side.zero_grad()
        batch = side.data() if batches is None else next(batches)
        side.forward(batch).backward()
        side.optimizer.step()
        synchronized()

    return step


def works(name: str, dtype: str, rows: Rows, options: argparse.Namespace) -> list[Work]:
    """Both sides, as they are and compiled."""
    found, tokens = [], int(rows.lengths.sum())
    for compiled in (False, True) if options.compile else (False,):
        for kind, side in (("transformers", Theirs), ("roberta_lab", Ours)):
            made = side(model_config(name), dtype, rows, compiled=compiled)
            label = f"{kind}, compiled" if compiled else kind
            found.append(Work(label, step_of(made, options.ready), tokens))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "mini", "small"])
    parser.add_argument("--dtypes", nargs="+", choices=TYPES, default=["fp32"])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each line of a table")
    parser.add_argument("--shortest", type=int, help="tokens of the shortest input; without it all are full")
    parser.add_argument("--ready", action="store_true", help="batches are made beforehand")
    parser.add_argument("--compile", action="store_true", help="also compiled")
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    rows = packed_rows(options.batch, options.length, shortest=options.shortest)
    for name in options.models:
        for dtype in options.dtypes:
            print(f"{name}, {dtype}, {options.batch} x {options.length} tokens, {rows.lengths.sum()} real, {DEVICE}\n")
            print(
                compared("tokens", alternate(works(name, dtype, rows, options), options.seconds, 3)),
                end="\n\n",
                flush=True,
            )
    print(f"{setting('torch', 'transformers')}")


if __name__ == "__main__":
    main()
