"""The figures of `gpu.py`: tokens per second of a step beside transformers', determinism, runs side by side."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from statistics import median
from typing import Any

import torch
from gpu import Line, Section
from side_by_side import short
from step import DEVICE, TYPES, VOCAB_SIZE, Ours, model_config, packed_rows, synchronized
from throughput import matrix_peak, seconds_of

from roberta_lab.axes.examples import Rows
from roberta_lab.model.flops import forward_flops
from roberta_lab.training import gpu_code
from roberta_lab.training.devices import device_name as name_of

ON_GPU = DEVICE.type == "cuda"
MASKED = 0.15


def device_name() -> str:
    """Return the name of the device that is used."""
    return name_of("auto")


class Timer:
    """A side's step over batches that are ready on the device, and the seconds it takes."""

    def __init__(self, side: Any) -> None:
        self.side, self.batches = side, cycle([side.data() for _ in range(4)])

    def __call__(self) -> None:
        self.side.zero_grad()
        self.side.forward(next(self.batches)).backward()
        self.side.optimizer.step()

    def seconds(self, for_seconds: float) -> float:
        """Return the median over some seconds, after the calls in which code is compiled."""
        for _ in range(4):
            self()
        synchronized()
        return median(seconds_of(self, for_seconds, 10 if ON_GPU else 1))


def flops_of(name: str, rows: Rows) -> float:
    """Return the model FLOPs of a step over these inputs."""
    config = model_config(name)
    lengths = rows.lengths.tolist()
    return sum(forward_flops(config, VOCAB_SIZE, n, False, MASKED).training for n in lengths)


def sides(name: str, dtype: str, rows: Rows) -> Iterator[tuple[str, Any]]:
    """Yield the sides of a comparison, the peer first; each is made when it is asked for, so that one lies in memory."""
    config = model_config(name)
    try:
        from step import Theirs
    except ImportError:
        Theirs = None  # type: ignore[assignment,misc]
    if Theirs is not None:
        yield "transformers", Theirs(config, dtype, rows)
        if ON_GPU:
            yield "transformers, compiled", Theirs(config, dtype, rows, compiled=True)
    yield "roberta_lab", Ours(config, dtype, rows)
    if ON_GPU:
        yield "roberta_lab, compiled for one shape", Ours(config, dtype, rows, compiled=True)


def compared(name: str, rows: Rows, label: str, quick: bool) -> Iterator[Line]:
    """Yield a line for each side: tokens per second, times the peer, MFU, memory."""
    dtype = "bf16" if ON_GPU else "fp32"
    peak, tokens, flops = matrix_peak(TYPES[dtype]), int(rows.lengths.sum()), flops_of(name, rows)
    first: float | None = None
    for who, side in sides(name, dtype, rows):
        if ON_GPU:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        took = Timer(side).seconds(0.3 if quick else 4.0)
        first = first or took
        gigabytes = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if ON_GPU else ""
        graph = ", as a graph" if getattr(side, "is_graph", False) else ""
        found = f"{short(tokens / took)} tokens/s, {1000 * took:.2f} ms, {first / took:.2f} times the first, "
        yield Line(f"{label}, {who}{graph}", f"{found}MFU {flops / took / peak:.1%}{gigabytes}", None)
        del side
    yield Line(f"{label}, peak of matrix products, {dtype}", f"{short(peak)}FLOP/s", None)


def base(quick: bool) -> Iterator[Line]:
    """Base at 512 tokens, 64 inputs."""
    model, rows = ("tiny", packed_rows(4, 64)) if quick else ("base", packed_rows(64, 512))
    yield from compared(model, rows, f"{model}, {len(rows.lengths)} x {rows.input_ids.shape[1]}", quick)


def large(quick: bool) -> Iterator[Line]:
    """Large at 512 tokens, 32 inputs, ours alone."""
    if quick:
        return
    rows = packed_rows(32, 512)
    peak = matrix_peak(TYPES["bf16"])
    took = Timer(Ours(model_config("large"), "bf16", rows, compiled=ON_GPU)).seconds(4.0)
    found = f"{short(int(rows.lengths.sum()) / took)} tokens/s, MFU {flops_of('large', rows) / took / peak:.1%}"
    yield Line("large, 32 x 512, roberta_lab, compiled for one shape", found, None)


def mini(quick: bool) -> Iterator[Line]:
    """Mini at 256 tokens, which is launched as a graph."""
    if not quick:
        yield from compared("mini", packed_rows(64, 256), "mini, 64 x 256", quick)


def short_inputs(quick: bool) -> Iterator[Line]:
    """Inputs of many lengths, as doc_sentences and sentence_pair make them: the peer pads."""
    for label, shortest, number in (("doc_sentences", 100, 64), ("sentence_pair", 10, 256)):
        longest = 512 if label == "doc_sentences" else 128
        rows = packed_rows(4, 64, shortest=10) if quick else packed_rows(number, longest, shortest=shortest)
        model = "tiny" if quick else "base"
        shape = f"{len(rows.lengths)} x {shortest} to {longest}" if not quick else "4 x 10 to 64"
        yield from compared(model, rows, f"{label}: {model}, {shape}", quick)
        if quick:
            return


def determinism(quick: bool) -> Iterator[Line]:
    """What kernels that repeat their bits cost, base at 512."""
    if not ON_GPU:
        yield Line("what determinism costs", "nothing on a CPU", None)
        return
    import os

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", gpu_code.CUBLAS_WORKSPACE)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    found = []
    for wanted in (False, True):
        torch.use_deterministic_algorithms(wanted)
        torch._dynamo.reset()
        rows = packed_rows(8, 64) if quick else packed_rows(64, 512)
        found.append(Timer(Ours(model_config("tiny" if quick else "base"), "bf16", rows, compiled=True)).seconds(3.0))
    off, on = found
    yield Line("trainer.deterministic=true against false, a step", f"{1000 * on:.2f} and {1000 * off:.2f} ms", None)
    yield Line("what determinism costs", f"{on / off - 1:+.1%} (15% at most)", on / off <= 1.15)


def side_by_side_runs(quick: bool) -> Iterator[Line]:
    """Runs by the command line, one after the other and side by side."""
    number, steps = (2, 4) if quick else (8, 150)
    size = ["model=tiny", "input_format.max_length=64"] if quick else ["model=mini", "precision=bf16"]
    with tempfile.TemporaryDirectory() as folder:
        took = {}
        for kind, seeds, jobs in (
            ("prepared", 1, 1),
            ("one after the other", number, 1),
            ("side by side", number, number),
        ):
            command = [
                *(
                    sys.executable,
                    "-m",
                    "roberta_lab",
                    "pretrain",
                    "-m",
                    f"seed={','.join(map(str, range(1, seeds + 1)))}",
                ),
                *(f"paths.outputs={folder}/{jobs}-{seeds}", f"paths.cache={folder}/cache", "logger.wandb=off", *size),
                *(f"trainer.jobs={jobs}", f"batch_size.steps={steps}", f"optimizer.warmup_steps={steps // 4}"),
                *("input_format=full_sentences", "trainer.progress=false"),
            ]
            start = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True)
            took[kind] = time.monotonic() - start
            if done.returncode:
                last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
                yield Line(f"{seeds} runs, {kind}", last, False)
                return
        one, beside = took["one after the other"], took["side by side"]
        yield Line(f"{number} runs of {size[0]}, {steps} steps, one after the other", f"{one:.1f} s", None)
        yield Line(f"the same, trainer.jobs={number}", f"{beside:.1f} s, {one / beside:.2f} times as fast", None)


SECTIONS = [
    Section("base", base, 150),
    Section("mini", mini, 120),
    Section("short inputs", short_inputs, 150),
    Section("determinism", determinism, 100),
    Section("large", large, 100),
    Section("jobs", side_by_side_runs, 150),
]
