"""Finetuning against `transformers.Trainer`: the same model, data, batch, lengths and optimizer; training examples per second.

    python benchmarks/finetuning.py --sst2 FOLDER --squad FOLDER [--model mini] [--examples 1024] [--batch 16] [--seconds 60]

FOLDER holds the task's original files (SST-2/, train-v1.1.json); of its training items a sample is taken. Both read the same
inputs and pad a batch to its longest. The peer is Trainer as it comes, with DataCollatorWithPadding; `sorted` is the same with its
own option that groups inputs by length. Dropout 0.1, fused AdamW, nothing evaluated or saved. Needs `pip install accelerate`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from side_by_side import Work, alternate, compared, one_thread, setting
from tokenizers import Tokenizer
from torch.utils.data import DataLoader

from roberta_lab.axes.tokenizer import train_bytelevel_bpe
from roberta_lab.config import (
    Config,
    FinetuneConfig,
    InputFormatConfig,
    ModelConfig,
    OptimizerConfig,
    PrecisionConfig,
    TaskConfig,
    TrainerConfig,
)
from roberta_lab.runs.options import CONF
from roberta_lab.tasks.families import glue, squad
from roberta_lab.tasks.families.reading import sample
from roberta_lab.tasks.feature_table import FeatureTable, packed
from roberta_lab.tasks.features import PairFormat, generate
from roberta_lab.tasks.finetuning import Batches, FinetuningModule
from roberta_lab.tasks.initial_model import InitialModel
from roberta_lab.tasks.items import Item
from roberta_lab.training.trainer import build_trainer, fit

VOCAB_SIZE = 4096
LENGTHS = {"sst2": 128, "squad": 384}


def items_of(task: str, folder: str, number: int) -> list[Item]:
    """A sample of the training items."""
    if task == "sst2":
        config = TaskConfig("sst2", "glue", "classification", metric="accuracy", path=folder)
        return sample(glue.load(config, Path()).train, number, "benchmark")
    [path] = sorted(Path(folder).glob("train-v1.1*.json"))[:1]
    return sample(squad.read(path, False), number, "benchmark")


def tokenizer_of(items: list[Any]) -> Tokenizer:
    texts = (text for item in items for text in ((item.text_a,) if hasattr(item, "text_a") else (item.context,)))
    return train_bytelevel_bpe(texts, VOCAB_SIZE)


class Ours:
    """A finetuning run's training loop."""

    def __init__(self, model: ModelConfig, task: str, tokenizer: Tokenizer, table: FeatureTable, batch: int) -> None:
        head = {"sst2": "classification", "squad": "span"}[task]
        self.config = Config(
            model=model,
            input_format=InputFormatConfig("full_sentences", LENGTHS[task]),
            optimizer=OptimizerConfig(warmup_steps=1),
            precision=PrecisionConfig("fp32"),
            task=TaskConfig(task, task, head, metric="accuracy", max_length=LENGTHS[task]),
            finetune=FinetuneConfig(batch=batch, epochs=1),
            trainer=TrainerConfig("cpu"),
        )
        start = InitialModel(model, None, tokenizer, VOCAB_SIZE, LENGTHS[task], 0)
        self.batches = Batches(table, self.config, start.encoding.pad_id)
        self.module = FinetuningModule(self.config, start, head, 2, len(self.batches))

    def epoch(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            loader = DataLoader(self.batches, batch_size=None, shuffle=False)
            fit(
                build_trainer(self.config, Path(folder), max_steps=len(self.batches), max_epochs=1), self.module, loader
            )


class Theirs:
    """Trainer's loop over the same inputs."""

    def __init__(
        self, model: ModelConfig, task: str, tokenizer: Tokenizer, table: FeatureTable, batch: int, grouped: bool
    ) -> None:
        from transformers import (
            DataCollatorWithPadding,
            PreTrainedTokenizerFast,
            RobertaConfig,
            RobertaForQuestionAnswering,
            RobertaForSequenceClassification,
            TrainingArguments,
        )

        names = {
            "bos_token": "<s>",
            "pad_token": "<pad>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "mask_token": "<mask>",
        }
        self.collate = DataCollatorWithPadding(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names))
        values = RobertaConfig(
            vocab_size=VOCAB_SIZE, hidden_size=model.hidden, num_hidden_layers=model.layers, num_attention_heads=model.heads,
            intermediate_size=model.ffn, max_position_embeddings=LENGTHS[task] + 2, type_vocab_size=1, attn_implementation="sdpa",
        )  # fmt: skip
        made = RobertaForSequenceClassification if task == "sst2" else RobertaForQuestionAnswering
        self.model, self.rows = made(values), [self.row(task, table, i) for i in range(len(table))]
        options = {"group_by_length": True} if "group_by_length" in TrainingArguments.__dataclass_fields__ else {"train_sampling_strategy": "group_by_length"}  # fmt: skip
        self.arguments = lambda folder: TrainingArguments(
            output_dir=folder, per_device_train_batch_size=batch, num_train_epochs=1, learning_rate=2e-5, weight_decay=0.1,
            use_cpu=True, report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, **(options if grouped else {}),
        )  # fmt: skip

    @staticmethod
    def row(task: str, table: FeatureTable, number: int) -> dict[str, Any]:
        start, target = table.starts[number, 0], table.target[number]
        ids = table.ids[start : start + table.lengths[number, 0]].tolist()
        found = {"input_ids": ids, "attention_mask": [1] * len(ids)}
        if task == "sst2":
            return {**found, "labels": int(target[0])}
        return {**found, "start_positions": int(target[0]), "end_positions": int(target[1])}

    def epoch(self) -> None:
        from transformers import Trainer

        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(self.model, self.arguments(folder), train_dataset=self.rows, data_collator=self.collate)
            trainer.train()


def padding(table: FeatureTable, batches: list[np.ndarray]) -> float:
    """The share of padding in batches."""
    padded = sum(int(table.longest[rows].max()) * len(rows) for rows in batches)
    return 1 - float(table.longest.sum()) / padded


def compare(task: str, folder: str, options: argparse.Namespace) -> None:
    """Prints the table of one task."""
    model = ModelConfig(**yaml.safe_load((Path(CONF) / "model" / f"{options.model}.yaml").read_text()))
    items = items_of(task, folder, options.examples)
    tokenizer = tokenizer_of(items)
    start = InitialModel(model, None, tokenizer, VOCAB_SIZE, LENGTHS[task], 0)
    head = "classification" if task == "sst2" else "span"
    table = packed(generate(head, items, start.encoding, PairFormat(LENGTHS[task], False)))
    ours = Ours(model, task, tokenizer, table, options.batch)
    makers: dict[str, Callable[[], None]] = {
        "Trainer": Theirs(model, task, tokenizer, table, options.batch, False).epoch,
        "Trainer, sorted": Theirs(model, task, tokenizer, table, options.batch, True).epoch,
        "roberta_lab": ours.epoch,
    }
    order = np.random.default_rng(0).permutation(len(table))
    random = np.split(order, range(options.batch, len(order), options.batch))
    print(
        f"{task}: {options.model}, {len(table)} inputs of {len(items)} items, {table.longest.mean():.0f} tokens in the mean, ",
        end="",
    )
    print(
        f"batch {options.batch}; padding {padding(table, random):.0%} in random batches, {padding(table, ours.batches.rows(0)):.0%} in ours"
    )
    works = [Work(name, call, len(table)) for name, call in makers.items()]
    print("\n" + compared("inputs", alternate(works, options.seconds, 3)), end="\n\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sst2", help="folder with GLUE's SST-2")
    parser.add_argument("--squad", help="folder with train-v1.1.json")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--examples", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each line of a table")
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for task in ("sst2", "squad"):
        if folder := getattr(options, task):
            compare(task, folder, options)
    print(setting("torch", "transformers", "lightning", "accelerate"))


if __name__ == "__main__":
    sys.exit(main())
