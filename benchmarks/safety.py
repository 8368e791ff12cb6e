"""What it costs to notice damage: the check of each step's gradients, and the hashes of a store that is opened.

    python benchmarks/safety.py [--steps 1500] [--turns 5] [--tokens 12_000_000]

The loop of `overhead.py` is run with the check and without it, in turns: on a model whose step takes a few milliseconds, so
that its share is the largest that there is. A store is opened with and without hashing its files, as in a new process; beside
it stands the time in which that loop would train on its tokens once, which no run of a larger model is faster than.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
import torch
from overhead import config_of, looped, store_in
from side_by_side import one_thread, setting, table

from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import Config
from roberta_lab.data import file_hashes, token_store, verified
from roberta_lab.data.token_store import Part
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.trainer import joint_norm, scale_of

SENTENCE = 20  # tokens of each sentence of the large store


def unchecked(module: PretrainingModule, optimizer: torch.optim.Optimizer) -> None:
    """The norm of the gradients as it is logged, and nothing that looks at it."""
    gradients = [gradient for p in module.all_parameters if (gradient := p.grad) is not None]
    module.gradient_norm = joint_norm(gradients) / scale_of(module.trainer, optimizer)


def without_check(config: Config, store: TokenStore) -> float:
    with mock.patch.object(PretrainingModule, "on_before_optimizer_step", unchecked):
        return looped(config, store)


def large_store(folder: Path, tokens: int) -> None:
    """So many random tokens, in documents of a hundred sentences."""
    draw, sentences = np.random.default_rng(0), tokens // SENTENCE
    ids = draw.integers(4, 50_000, sentences * SENTENCE, dtype=np.uint16)
    lengths, sizes = np.full(sentences, SENTENCE), np.full(sentences // 100, 100)
    part = Part(ids, lengths, sizes, draw.integers(0, 1 << 62, len(sizes)), np.zeros(len(sizes), int))
    token_store.write(folder, [part], 50_000, {"sources": ["own"]})


def opening(folder: Path) -> float:
    """Seconds to open the store as a new process does, which has hashed nothing yet."""
    file_hashes.forget()
    start = time.perf_counter()
    token_store.open_store(folder)
    return time.perf_counter() - start


def opening_unverified(folder: Path) -> float:
    known = {path: verified.sha256_of(path) for path in folder.iterdir()}
    with (
        mock.patch.object(verified, "sha256_of", known.__getitem__),
        mock.patch.object(token_store, "sha256_of", known.__getitem__),
    ):
        return opening(folder)


def turns(number: int, without: Callable[[], float], within: Callable[[], float]) -> tuple[list[float], list[float]]:
    pairs = [(without(), within()) for _ in range(number)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=12_000_000)
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    config = config_of(options.steps)
    with tempfile.TemporaryDirectory() as place:
        store, large = store_in(Path(place) / "store"), Path(place) / "large"
        large_store(large, options.tokens)
        steps = turns(options.turns, lambda: without_check(config, store), lambda: looped(config, store))
        opened = turns(options.turns, lambda: opening_unverified(large), lambda: opening(large))
        size = sum(file.stat().st_size for file in large.iterdir())
    per_step = config.batch_size.sequences * config.input_format.max_length
    training = median(steps[1]) * options.tokens / per_step
    share = median(b / a - 1 for a, b in zip(*steps, strict=True))
    extra = median(b - a for a, b in zip(*opened, strict=True))
    rows = [
        ["a step with the check of its gradients", f"{median(steps[1]) * 1e3:.3f} ms", f"{share:+.1%} of the step"],
        ["without", f"{median(steps[0]) * 1e3:.3f} ms", ""],
        [
            f"opening {size / 1e6:.0f} MB, verified",
            f"{median(opened[1]) * 1e3:.0f} ms",
            f"{extra / training:.3%} of one pass",
        ],
        ["without", f"{median(opened[0]) * 1e3:.0f} ms", ""],
        [f"one pass of that loop over {options.tokens:,} tokens", f"{training:.0f} s", ""],
    ]
    print(table(("what", "median", "costs"), rows))
    print(f"\n{setting('torch', 'lightning')}")


if __name__ == "__main__":
    main()
