"""Where the time of a training step goes: encoder, head, optimizer and data, of ours and of Hugging Face's, as a figure.

    python benchmarks/shares.py [--models tiny mini small] [--dtypes fp32] [--length 128] [--batch 16] [--seconds 10]
                                [--figure FILE.svg]

The steps are those of `step.py`, on the device that is there. The graph is cut behind the encoder, so that the backward pass of the
head and that of the encoder are timed apart; on a GPU every part is waited for, which a training run does not do. Head: dense,
LayerNorm, output layer and loss. Data: masking (ours) or the collator (theirs), and the way to the device. The embeddings count as encoder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from side_by_side import one_thread, setting, table
from step import DEVICE, TYPES, Ours, Theirs, model_config, packed_rows, synchronized
from torch import Tensor, nn

PARTS = ("encoder", "head", "optimizer", "data")
SIDES = {"roberta_lab": Ours, "transformers": Theirs}
COLOURS = {"encoder": "#4477aa", "head": "#ee6677", "optimizer": "#228833", "data": "#ccbb44"}
Seconds = dict[str, float]


class Cut:
    """The graph's seam behind the encoder: what the encoder computed, a leaf in its place, and when it was reached."""

    def __init__(self, model: nn.Module) -> None:
        if hasattr(model, "lm_head"):  # Hugging Face's
            model.lm_head.register_forward_pre_hook(lambda module, inputs: (self._leaf(inputs[0]), *inputs[1:]))
        else:
            model.encoder.layers[-1].register_forward_hook(lambda module, inputs, output: self._leaf(output))

    def _leaf(self, hidden: Tensor) -> Tensor:
        synchronized()
        self.reached = time.perf_counter()
        self.hidden = hidden
        self.leaf = hidden.detach().requires_grad_()
        return self.leaf


def step(side: Ours | Theirs, cut: Cut) -> Seconds:
    """One training step, taken apart."""
    seconds = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = call()
        synchronized()
        seconds[part] += time.perf_counter() - start
        return found

    timed("optimizer", side.optimizer.zero_grad)
    batch = timed("data", side.data)
    start = time.perf_counter()
    loss = side.forward(batch)
    synchronized()
    seconds["encoder"] += cut.reached - start
    seconds["head"] += time.perf_counter() - cut.reached
    timed("head", loss.backward)
    timed("encoder", lambda: cut.hidden.backward(cut.leaf.grad))
    timed("optimizer", side.optimizer.step)
    return seconds


def measured(model: str, dtype: str, options: argparse.Namespace) -> dict[str, Seconds]:
    """Median seconds of each part of both sides' steps, which take turns."""
    rows = packed_rows(options.batch, options.length)
    sides = {name: side(model_config(model), dtype, rows) for name, side in SIDES.items()}
    cuts = {name: Cut(side.model) for name, side in sides.items()}
    found: dict[str, list[Seconds]] = {name: [] for name in SIDES}
    end = time.perf_counter() + options.seconds * len(SIDES)
    while time.perf_counter() < end or len(found["transformers"]) < 4:
        for name, side in sides.items():
            found[name].append(step(side, cuts[name]))
    return {name: {part: median(one[part] for one in steps[1:]) for part in PARTS} for name, steps in found.items()}


def draw(found: dict[str, dict[str, Seconds]], path: Path, tokens: int, title: str) -> None:
    """Two bars for each model: milliseconds for a thousand tokens, by part."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "shares"  # the same figure is the same file
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found), figsize=(max(4.5, 1 + 2.4 * len(found)), 3.6), squeeze=False)
    for axis, (name, sides) in zip(axes[0], found.items(), strict=True):
        bottom = [0.0] * len(sides)
        for part in PARTS:
            heights = [seconds[part] * 1e6 / tokens for seconds in sides.values()]
            axis.bar(list(sides), heights, 0.6, bottom, color=COLOURS[part], label=part)
            bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
        axis.set_title(name, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    axes[0][0].set_ylabel("ms per 1,000 tokens")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(PARTS), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "mini", "small"])
    parser.add_argument("--dtypes", nargs="+", choices=TYPES, default=["fp32"])
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each side of a model")
    parser.add_argument("--figure", type=Path, help="an .svg, .png or .pdf")
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    found = {
        f"{model}, {dtype}": measured(model, dtype, options) for model in options.models for dtype in options.dtypes
    }
    rows, tokens = [], options.batch * options.length
    for name, sides in found.items():
        for side, seconds in sides.items():
            total = sum(seconds.values())
            shares = (f"{seconds[part] * 1e3:.1f} ({seconds[part] / total:.0%})" for part in PARTS)
            rows.append([f"{name}, {side}", *shares, f"{total * 1e3:.1f}"])
    print(f"{options.batch} x {options.length} tokens, {DEVICE}; median ms of a step (share)\n")
    print(table(("", *PARTS, "together"), rows))
    print(f"\n{setting('torch', 'transformers')}")
    if options.figure is not None:
        draw(found, options.figure, tokens, f"A training step, {options.batch} x {options.length} tokens, {DEVICE}")


if __name__ == "__main__":
    main()
