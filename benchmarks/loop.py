"""The whole way from raw text to a saved model against `transformers.Trainer`, set up as `run_mlm` does it.

    python benchmarks/loop.py [--text FILE.jsonl] [--tokenizer FOLDER] [--model tiny] [--dtype fp32] [--megabytes 5] [--length 128]
                              [--batch 16] [--steps 40] [--workers 0] [--turns 3]

Each turn is a fresh process for either side, one after the other, on the same text, vocabulary, model sizes, batch, length, number
of steps, peak learning rate and schedule. Theirs: `load_dataset`, `map` with the fast tokenizer, `map` with `group_texts`,
`DataCollatorForLanguageModeling`, Trainer with fused AdamW, `save_model`. Ours: `prepare` (which also splits sentences, drops
duplicates and holds documents out) and `pretrain` (which also validates and saves Adam's state), full_sentences, dynamic masking.
No side clips gradients. The clock starts when everything is imported. Inputs of whole sentences leave some places free, so rates are
in real tokens. Waiting: the seconds between asking a loader for a batch and having it, as a share of training, making it
included where no worker does. The Trainer needs `pip install accelerate`.
Without --text the embedded corpus is read; without --tokenizer a vocabulary is trained on the text before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from side_by_side import one_thread, setting, short, table

PEAK_LR, WARMUP, MASK_PROB = 5e-4, 10, 0.15
SPECIALS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
Measured = dict[
    str, float
]  # preparation, training (seconds), tokens (that training saw), waited (seconds, in training)


def waited_for_data() -> list[float]:
    """From here on, the seconds that each `next` of a torch loader took; with workers, the first one starts them."""
    from torch.utils.data.dataloader import _BaseDataLoaderIter as Batches

    found: list[float] = []
    original = Batches.__next__

    def timed(self: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(self)
        finally:
            found.append(time.perf_counter() - start)

    Batches.__next__ = timed
    return found


def theirs(options: argparse.Namespace, folder: Path) -> Measured:
    """What `run_mlm` does with a text column (transformers, examples/pytorch/language-modeling)."""
    import datasets
    import torch
    import transformers
    from step import TYPES, VOCAB_SIZE, model_config  # noqa: F401 (imported before the clock starts)

    arguments = transformers.TrainingArguments(
        str(folder / "out"), max_steps=options.steps, per_device_train_batch_size=options.batch, learning_rate=PEAK_LR,
        warmup_steps=WARMUP, weight_decay=0.01, adam_beta2=0.98, adam_epsilon=1e-6, optim="adamw_torch_fused", max_grad_norm=0.0,
        bf16=options.dtype == "bf16", save_strategy="no", report_to="none", dataloader_num_workers=options.workers,
        use_cpu=not torch.cuda.is_available(), seed=1,
    )  # fmt: skip
    start = time.perf_counter()
    fast, blocks = _grouped(options, folder)
    prepared = time.perf_counter()
    config = model_config(options.model)
    settings = transformers.RobertaConfig(
        vocab_size=len(fast), hidden_size=config.hidden, num_hidden_layers=config.layers, num_attention_heads=config.heads,
        intermediate_size=config.ffn, max_position_embeddings=options.length + 2, type_vocab_size=1,
        hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.attention_dropout, attn_implementation="sdpa",
    )  # fmt: skip
    trainer = transformers.Trainer(
        transformers.RobertaForMaskedLM(settings),
        arguments,
        transformers.DataCollatorForLanguageModeling(fast, mlm_probability=MASK_PROB),
        train_dataset=blocks,
    )
    trainer.train()
    trainer.save_model()
    assert isinstance(blocks, datasets.Dataset)
    tokens = options.steps * options.batch * options.length
    return {"preparation": prepared - start, "training": time.perf_counter() - prepared, "tokens": tokens}


def _grouped(options: argparse.Namespace, folder: Path) -> tuple[Any, Any]:
    """The fast tokenizer, and the text in blocks of `length` ids."""
    import datasets
    from tokenizing import load
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=load(str(options.tokenizer)), **SPECIALS)
    rows = datasets.load_dataset("json", data_files=str(options.text), split="train", cache_dir=str(folder / "cache"))

    def encoded(some: dict) -> dict:
        return fast(some["text"], add_special_tokens=False, return_special_tokens_mask=True)

    def grouped(some: dict) -> dict:
        joined = {key: list(chain(*some[key])) for key in some}
        total = len(joined["input_ids"]) // options.length * options.length
        return {
            key: [ids[i : i + options.length] for i in range(0, total, options.length)] for key, ids in joined.items()
        }

    blocks = rows.map(encoded, batched=True, remove_columns=rows.column_names).map(grouped, batched=True)
    return fast, blocks


def ours(options: argparse.Namespace, folder: Path) -> Measured:
    """`roberta-lab pretrain`."""
    from corpora import composed

    from roberta_lab.data.corpus.preparation import prepared_for
    from roberta_lab.runs.identity import directory
    from roberta_lab.runs.results import RunResult
    from roberta_lab.runs.run_folder import finish, opened
    from roberta_lab.runs.tracking import Tracker
    from roberta_lab.training.pretraining import pretrain

    overrides = [
        f"model={options.model}",
        f"tokenizer.path='{options.tokenizer}'",
        "input_format=full_sentences",
        f"input_format.max_length={options.length}",
        "masking=dynamic",
        f"masking.mask_prob={MASK_PROB}",
        "data_mix.validation_tokens=4096",
        f"batch_size.sequences={options.batch}",
        f"batch_size.steps={options.steps}",
        f"batch_size.peak_lr={PEAK_LR}",
        f"optimizer.warmup_steps={WARMUP}",
        "optimizer.beta2=0.98",
        f"precision={options.dtype}",
        "trainer.num_validations=1",
        f"trainer.workers={options.workers}",
        f"trainer.micro_batch_size={options.batch}",
    ]
    config = composed(options.text, folder, overrides)
    start = time.perf_counter()
    data = prepared_for(config)
    prepared = time.perf_counter()
    path = directory(config, "pretrain")
    with opened(path, config, overrides, data.fingerprints()):
        result = pretrain(config, data, path, Tracker(config, path, "pretrain", "loop", {}), "loop")
        finish(path, RunResult(path.name, "loop", time.perf_counter() - prepared, result))
    seconds = time.perf_counter() - prepared
    return {"preparation": prepared - start, "training": seconds, "tokens": result.tokens_seen}


WAYS = {"transformers.Trainer": theirs, "roberta_lab": ours}


def measured(way: str) -> Measured:
    """One side in a process of its own, in an empty folder."""
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def trained_tokenizer(text: Path, folder: Path, vocab_size: int) -> Path:
    """The folder of a byte-level BPE of the text; of so many pieces, or of all that the text yields."""
    from roberta_lab.axes import tokenizer
    from roberta_lab.config import ConfigError

    def texts() -> Any:
        with open(text, encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)

    folder.mkdir()
    try:
        found = tokenizer.train_bytelevel_bpe(texts(), vocab_size)
    except ConfigError as error:
        raise SystemExit(f"{error} (--vocabulary, or more --megabytes of --text)") from None
    found.save(str(folder / "tokenizer.json"))
    return folder


def report(turns: list[dict[str, Measured]]) -> str:
    """Medians over the turns; ratios within a turn."""
    rows = []
    for way in WAYS:
        seconds = {name: [t[way][name] for t in turns] for name in ("preparation", "training")}
        seconds["whole"] = [t[way]["preparation"] + t[way]["training"] for t in turns]
        rates = [t[way]["tokens"] / t[way]["training"] for t in turns]
        waits = [t[way]["waited"] / t[way]["training"] for t in turns]
        cells = [f"{median(found):.1f} ({min(found):.1f} to {max(found):.1f})" for found in seconds.values()]
        rows.append(
            [
                way,
                *cells,
                f"{median(t[way]['tokens'] for t in turns):,.0f}",
                short(median(rates)),
                f"{median(waits):.1%}",
            ]
        )
    first, second = WAYS

    def ratio(value: Any) -> str:
        return f"{median(value(t[second]) / value(t[first]) for t in turns):.2f} times"

    ratios = [ratio(lambda one: 1 / one["preparation"]), ratio(lambda one: 1 / one["training"])]
    ratios += [ratio(lambda one: 1 / (one["preparation"] + one["training"])), ratio(lambda one: one["tokens"])]
    rows.append(["ratio", *ratios, ratio(lambda one: one["tokens"] / one["training"]), ""])
    head = ("seconds, median (spread)", "preparation", "training", "whole", "tokens trained on")
    head = (*head, "tokens per second", "waiting for batches")
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="JSON lines with `text`")
    parser.add_argument("--tokenizer", type=Path, help="a published byte-level BPE with RoBERTa's special tokens")
    parser.add_argument("--vocabulary", type=int, default=50_265, help="pieces, without --tokenizer")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--megabytes", type=float, default=5.0, help="of text")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches, on either side")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    if options.way:
        import torch

        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            waited = waited_for_data()
            found = WAYS[options.way](options, Path(folder))
            print("\n" + json.dumps({**found, "waited": sum(waited)}))
        return
    compare(options)


def compare(options: argparse.Namespace) -> None:
    """Makes the text and the vocabulary, takes the turns, and prints the table."""
    from corpora import jsonl
    from preparation import first_megabytes

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.text is None:
            text = jsonl(place / "pydoc.jsonl", options.megabytes)
        else:
            text = first_megabytes(options.text, options.megabytes, place)
        size = text.stat().st_size / 1e6
        tokenizer = options.tokenizer or trained_tokenizer(text, place / "tokenizer", options.vocabulary)
        sys.argv += ["--text", str(text), "--tokenizer", str(tokenizer)]  # the later of two counts
        turns = [{way: measured(way) for way in WAYS} for _ in range(options.turns)]
    given = f"{options.steps} steps of {options.batch} x {options.length}, {size:.1f} MB of text"
    print(f"{options.model}, {options.dtype}, {given}, {options.turns} turns\n")
    print(report(turns))
    import torch  # noqa: F401 (so that the setting knows the GPU)

    print(f"\n{setting('torch', 'transformers', 'datasets', 'lightning')}")


if __name__ == "__main__":
    main()
