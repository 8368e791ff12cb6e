"""Peak memory of a training step, against Hugging Face's: each in a fresh process of its own.

    python benchmarks/memory.py [--models tiny mini small] [--dtypes fp32] [--length 128] [--batch 16] [--steps 3] [--turns 3]

The steps are those of `step.py` (weights, gradients, Adam's state, activations, logits). On a CPU it is the peak resident set
(Linux), whole and above what the process held when everything was imported and nothing built; both sides import the same. On
a GPU it is what PyTorch's allocator gave out at most, which begins at nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

from side_by_side import one_thread, setting, table

WAYS = ("transformers", "roberta_lab")


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (the most so far) of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field + ":"))


def one(way: str, model: str, dtype: str, options: argparse.Namespace) -> tuple[int, int]:
    """Peak bytes of some steps in this process, and the bytes before the model was built."""
    import torch
    from step import DEVICE, Ours, Theirs, model_config, packed_rows, step_of

    torch.set_num_threads(1)
    rows = packed_rows(options.batch, options.length)
    before = 0
    if DEVICE.type == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = resident("VmRSS")
    side = {"transformers": Theirs, "roberta_lab": Ours}[way](model_config(model), dtype, rows)
    step = step_of(side, ready=False)
    for _ in range(options.steps):
        step()
    peak = torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else resident("VmHWM")
    return peak, before


def measured(way: str, model: str, dtype: str) -> tuple[int, int]:
    """`one` in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", way, model, dtype]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, before = done.stdout.split()[-2:]
    return int(peak), int(before)


def lines(model: str, dtype: str, turns: int) -> list[list[str]]:
    """A line of the table for each side; ratios within a turn, the median of them."""
    found = {way: [] for way in WAYS}
    for _ in range(turns):
        for way in WAYS:
            found[way].append(measured(way, model, dtype))
    rows = []
    for way in WAYS:
        whole = [peak / 1e6 for peak, _ in found[way]]
        above = [(peak - before) / 1e6 for peak, before in found[way]]
        ratio = median(a[0] / b[0] for a, b in zip(found[way], found[WAYS[0]], strict=True))
        ratio_above = median((a[0] - a[1]) / (b[0] - b[1]) for a, b in zip(found[way], found[WAYS[0]], strict=True))
        line = [f"{median(whole):.0f}", f"{ratio:.2f}", f"{median(above):.0f}", f"{min(above):.0f} to {max(above):.0f}"]
        rows.append([f"{model}, {dtype}, {way}", *line, f"{ratio_above:.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "mini", "small"])
    parser.add_argument("--dtypes", nargs="+", default=["fp32"])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    if options.one:
        print(*one(*options.one, options))
        return
    rows = [row for model in options.models for dtype in options.dtypes for row in lines(model, dtype, options.turns)]
    print(f"{options.batch} x {options.length} tokens, peak MB, median of {options.turns} processes\n")
    head = ("", "whole process", "times theirs", "above imports", "spread", "times theirs, above imports")
    print(table(head, rows))
    import torch  # noqa: F401 (so that the setting knows the GPU)

    print(f"\n{setting('torch', 'transformers')}")


if __name__ == "__main__":
    main()
