"""Tokens per second of our training step by sequence length, vocabulary and micro-batch, and how much of the machine it uses.

    python benchmarks/throughput.py [--model tiny] [--dtype fp32] [--lengths 64 128 256 512] [--vocabularies 8192 30522 50265]
                                    [--micro-batches 4 16 64] [--length 128] [--micro-batch 16] [--seconds 5] [--compile]

One factor at a time, the others as given. Forward, backward and optimizer over batches that are already on the device, as
workers leave them; what making them costs is in `shares.py`. Model FLOPs utilization (MFU):

    MFU = model FLOPs of the step / seconds of the step / matrix peak

with the model FLOPs of `roberta_lab/flops.py` (matrix products, backward twice forward, logits at masked positions only,
nothing for recomputation), and as peak the best of some large square matrix products in the same type in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import cycle
from statistics import median

import torch
from side_by_side import one_thread, setting, short, table
from step import DEVICE, TYPES, VOCAB_SIZE, Ours, model_config, packed_rows, synchronized

from roberta_lab.model.flops import forward_flops

READY = 4  # batches, each with its own mask
SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192, 16384)}  # of the square matrices


def seconds_of(call: object, seconds: float, at_once: int) -> list[float]:
    """Seconds of a call, from several at a time, so that a GPU is waited for seldom; the first ones are not counted."""
    assert callable(call)
    found, end = [], time.perf_counter() + seconds
    while len(found) < 4 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(at_once):
            call()
        synchronized()
        found.append((time.perf_counter() - start) / at_once)
    return found[1:]


def matrix_peak(dtype: torch.dtype) -> float:
    """FLOP/s of the best square matrix product."""
    best = 0.0
    for size in SIZES[DEVICE.type]:
        a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        found = seconds_of(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), 0.5, 10 if DEVICE.type == "cuda" else 1)
        best = max(best, 2 * size**3 / min(found))
    return best


class Step:
    """Our step without the making of its batches."""

    def __init__(self, options: argparse.Namespace, length: int, vocab_size: int, number: int) -> None:
        self.config = model_config(options.model)
        self.ours = Ours(
            self.config, options.dtype, packed_rows(number, length, vocab_size), vocab_size, options.compile
        )
        batches = [self.ours.data() for _ in range(READY)]
        self.batches: Iterator[dict[str, torch.Tensor]] = cycle(batches)
        masked = sum(len(batch["masked_labels"]) for batch in batches) / READY
        share = masked / (number * length)
        self.tokens = number * length
        self.flops = number * forward_flops(self.config, vocab_size, length, nsp=False, masked_share=share).training

    def __call__(self) -> None:
        self.ours.zero_grad()
        self.ours.forward(next(self.batches)).backward()
        self.ours.optimizer.step()


def line(name: str, step: Step, peak: float, seconds: float) -> list[str]:
    """A line of a table: tokens per second, spread, FLOP/s, MFU, peak memory on a GPU."""
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found = seconds_of(step, seconds, 5 if DEVICE.type == "cuda" else 1)
    rates = [step.tokens / one for one in found]
    reached = step.flops / median(found)
    cells = [
        short(median(rates)),
        f"{short(min(rates))} to {short(max(rates))}",
        short(reached),
        f"{reached / peak:.0%}",
    ]
    gigabytes = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if DEVICE.type == "cuda" else "-"
    return [name, *cells, gigabytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dtype", choices=TYPES, default="fp32")
    parser.add_argument("--lengths", type=int, nargs="*", default=[64, 128, 256, 512])
    parser.add_argument("--vocabularies", type=int, nargs="*", default=[8192, 30_522, VOCAB_SIZE])
    parser.add_argument("--micro-batches", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line of a table")
    parser.add_argument("--compile", action="store_true", help="torch.compile, layer by layer")
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    peak = matrix_peak(TYPES[options.dtype])
    print(f"{options.model}, {options.dtype}, {DEVICE}; matrix peak {short(peak)}FLOP/s\n")
    given = f"{options.micro_batch} x {options.length} tokens"
    tables = {
        f"length ({options.micro_batch} inputs)": [(n, VOCAB_SIZE, options.micro_batch, n) for n in options.lengths],
        f"vocabulary ({given})": [(options.length, n, options.micro_batch, n) for n in options.vocabularies],
        f"micro-batch (x {options.length} tokens)": [(options.length, VOCAB_SIZE, n, n) for n in options.micro_batches],
    }
    head = ("tokens per second, median", "spread", "model FLOP/s", "MFU", "GPU memory, GB")
    for name, cases in tables.items():
        rows = [line(f"{value:,}", Step(options, *shape), peak, options.seconds) for *shape, value in cases]
        print(table((name, *head), rows), end="\n\n", flush=True)
    print(setting("torch"))


if __name__ == "__main__":
    main()
