"""Masking against Hugging Face's collator, on the same rows: tokens per second on one thread.

    python benchmarks/masking.py [--seconds 3]

The first table compares with `DataCollatorForLanguageModeling` as a training loop calls it (rows in, padded and masked tensors
out) and with its masking alone (`torch_mask_tokens` on a padded tensor, specials known). The second shows how the time of a
token changes with the length of a row and with their number.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from side_by_side import Work, alternate, compared, one_thread, setting, table
from tokenizers import Tokenizer, models
from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from roberta_lab.axes.examples import Rows, Vocabulary
from roberta_lab.axes.masking import masked_rows
from roberta_lab.config import MaskingConfig

VOCAB_SIZE = 50_265
SPECIALS = (0, 1, 2, 3, VOCAB_SIZE - 1)
DYNAMIC = MaskingConfig("dynamic")


def vocabulary() -> Vocabulary:
    """RoBERTa's ids; two pieces in five continue a word."""
    continues = np.random.default_rng(0).random(VOCAB_SIZE) < 0.4
    continues[list(SPECIALS)] = False
    return Vocabulary(VOCAB_SIZE, VOCAB_SIZE - 1, SPECIALS, continues)


def packed_rows(num_rows: int, max_length: int) -> Rows:
    """Rows as full_sentences makes them: filled up to the sentence that no longer fits."""
    draw = np.random.default_rng(1)
    lengths = max_length - np.minimum(draw.geometric(1 / 12, num_rows) - 1, max_length // 2)
    ids = draw.integers(4, VOCAB_SIZE - 1, (num_rows, max_length))
    columns = np.arange(max_length)
    special = (columns == 0) | (columns >= lengths[:, None] - 1)
    ids[special] = 1
    ids[:, 0], ids[np.arange(num_rows), lengths - 1] = 0, 2
    return Rows(ids, np.zeros_like(ids), lengths, special, None)


def ours(rows: Rows, config: MaskingConfig = DYNAMIC) -> Work:
    """Each call masks the rows in a fresh epoch."""
    vocab, examples, epoch = vocabulary(), np.arange(len(rows.lengths)), [0]

    def call() -> object:
        epoch[0] += 1
        return masked_rows(rows, examples, np.full_like(examples, epoch[0]), config, 1, vocab)

    name = f"roberta_lab, {'whole words' if config.whole_words else config.selection}"
    return Work(f"{name}, {rows.input_ids.shape[1]} tokens", call, int(rows.lengths.sum()))


def collator() -> DataCollatorForLanguageModeling:
    """Over a tokenizer of RoBERTa's size and special tokens that knows no text."""
    names = {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>", VOCAB_SIZE - 1: "<mask>"}
    words = {names.get(i, f"t{i}"): i for i in range(VOCAB_SIZE)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")),
        **dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), names.values(), strict=True)),
        **{"cls_token": "<s>", "sep_token": "</s>"},
    )
    return DataCollatorForLanguageModeling(tokenizer, mlm_probability=DYNAMIC.mask_prob)


def theirs(rows: Rows) -> list[Work]:
    collate, num_tokens, width = collator(), int(rows.lengths.sum()), rows.input_ids.shape[1]
    features = [
        {"input_ids": ids[:n].tolist(), "special_tokens_mask": special[:n].astype(int).tolist()}
        for ids, special, n in zip(rows.input_ids, rows.special_mask, rows.lengths, strict=True)
    ]
    ids, special = torch.from_numpy(rows.input_ids), torch.from_numpy(rows.special_mask)
    return [
        Work(f"transformers, collator, {width} tokens", lambda: collate(features), num_tokens),
        Work(
            f"transformers, torch_mask_tokens alone, {width} tokens",
            lambda: collate.torch_mask_tokens(ids.clone(), special_tokens_mask=special),
            num_tokens,
        ),
    ]


def growth(seconds: float) -> str:
    """Nanoseconds per token at many sizes."""
    works = {(t, b): ours(packed_rows(b, t)) for t in (128, 512, 2048) for b in (8, 64, 256, 1024)}
    timed = dict(zip(works, alternate(list(works.values()), seconds), strict=True))
    rows = [[t, *(f"{1e9 / median(timed[t, b].rates):.1f}" for b in (8, 64, 256, 1024))] for t in (128, 512, 2048)]
    return table(["ns per token: row length", *(f"{b} rows" for b in (8, 64, 256, 1024))], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each line of a table")
    options = parser.parse_args()
    one_thread()
    for max_length in (512, 128):
        rows = packed_rows(256, max_length)
        others = [replace(DYNAMIC, selection="bernoulli"), replace(DYNAMIC, selection="fairseq")]
        others.append(replace(DYNAMIC, whole_words=True))
        works = [*theirs(rows), ours(rows), *(ours(rows, config) for config in others)]
        print(compared("tokens", alternate(works, options.seconds)), end="\n\n")
    print(growth(options.seconds / 6), end="\n\n")
    print(setting("numpy", "torch", "transformers", "tokenizers"))


if __name__ == "__main__":
    main()
