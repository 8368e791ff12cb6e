"""Text -> ids with a published vocabulary: megabytes per second on one thread, each time from a cold start.

    python benchmarks/tokenizing.py CORPUS.jsonl --tokenizer FOLDER [--megabytes 20] [--seconds 20]

The peer is what training scripts do, `datasets.map` over batches with Hugging Face's fast tokenizer. `tokenizers` alone and
our memory of words get sentences, since that is what they are given here; a first check is that both give the same ids. The
memory begins empty in every call, and the more text there is, the more of it is words that have been met.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
from side_by_side import Work, alternate, compared, one_thread, setting
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from roberta_lab.axes import tokenizer
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, TokenizerConfig
from roberta_lab.data import tokenizer_files
from roberta_lab.data.corpus.sources.text import segment

BATCH = 4096  # sentences, as preparation gives them


def load(path: str) -> Tokenizer:
    """The vocabulary in a folder, of whichever kind it is."""
    for kind in tokenizer.KINDS:
        try:
            return tokenizer_files.load(TokenizerConfig(kind, 0, path))
        except ConfigError as error:
            last = error
    raise SystemExit(str(last))


def documents(path: Path, megabytes: float) -> list[str]:
    """The first documents of a file of JSON lines."""
    found, size = [], 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            found.append(json.loads(line)["text"])
            size += len(found[-1].encode())
            if size > megabytes * 1e6:
                break
    return found


def in_batches(sentences: list[str], encode: Callable[[list[str]], object]) -> None:
    rest = iter(sentences)
    while some := list(islice(rest, BATCH)):
        encode(some)


def main() -> None:
    """Checks equality, then times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="+")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[20.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    one_thread()
    datasets.disable_progress_bars()
    for corpus in options.corpus:
        for megabytes in options.megabytes:
            texts = documents(corpus, megabytes)
            size = sum(len(text.encode()) for text in texts) / 1e6
            print(f"\n{corpus.stem}, {size:.1f} MB, vocabulary {Path(options.tokenizer).name}\n")
            print(
                compared("megabytes", alternate(works(texts, size, options.tokenizer), options.seconds, 3)), flush=True
            )
    print(f"\n{setting('tokenizers', 'transformers', 'datasets')}")


def works(texts: list[str], size: float, path: str) -> list[Work]:
    """The three ways, over the same text."""
    sentences = [
        " " * bool(number) + sentence
        for text in texts
        for paragraph in text.split("\n")
        for number, sentence in enumerate(segment(paragraph))
    ]
    plain = Encoding(load(path))
    ids, _ = Encoding(load(path)).encode(sentences)
    expected = [i for found in plain.encode_batch(sentences) for i in found]
    assert np.array_equal(ids, expected), "the memory of words gives other ids"
    fast = PreTrainedTokenizerFast(tokenizer_object=load(path))
    rows = datasets.Dataset.from_dict({"text": texts})

    def mapped() -> None:
        with tempfile.TemporaryDirectory() as folder:
            rows.map(
                lambda some: fast(some["text"], add_special_tokens=False, return_special_tokens_mask=True),
                batched=True,
                remove_columns=["text"],
                load_from_cache_file=False,
                cache_file_name=f"{folder}/tokens.arrow",
            )

    return [
        Work("datasets.map, fast tokenizer", mapped, size),
        Work("tokenizers, encode_batch_fast", lambda: in_batches(sentences, plain.encode_batch), size),
        Work("roberta_lab, cold", lambda: in_batches(sentences, Encoding(load(path)).encode), size),
    ]


if __name__ == "__main__":
    main()
