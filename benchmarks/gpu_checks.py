"""The checks of `gpu.py`: kernels, output layer, shapes, cuts, bits, precisions, all on the device that is there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from corpora import composed, jsonl
from gpu import Line, Section
from step import DEVICE, Ours, model_config, packed_rows
from torch import Tensor

from roberta_lab.axes.input_format import FORMATS
from roberta_lab.config import Config, ModelConfig
from roberta_lab.model import cross_entropy
from roberta_lab.model.attention import Packed
from roberta_lab.training import gpu_code

ON_GPU = DEVICE.type == "cuda"
TYPES = {"fp32": (torch.float32, 2e-5), "bf16": (torch.bfloat16, 2e-2), "fp16": (torch.float16, 5e-3)}
TINY = ModelConfig(2, 64, 2, 128)
Differences = dict[str, float]


def worst(found: Tensor, right: Tensor) -> float:
    """Return the largest difference as a share of the largest value."""
    return float((found.double() - right.double()).abs().max() / right.double().abs().max().clamp(min=1e-30))


def within(what: str, difference: float, allowed: float) -> Line:
    """Return the line of a difference that has a limit."""
    return Line(what, f"{difference:.1e} of the largest (allowed {allowed:.0e})", difference <= allowed)


def kernels(quick: bool) -> Iterator[Line]:
    """Attention over joined inputs against its definition in float64, with its gradient."""
    lengths = [5, 17, 64, 1] if quick else [512, 37, 128, 300, 1, 511]
    ends = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32, device=DEVICE)
    torch.manual_seed(0)
    exact = torch.randn(sum(lengths), 3, 4, 64, device=DEVICE, dtype=torch.float64)
    for name, (dtype, allowed) in TYPES.items():
        qkv = exact.to(dtype).requires_grad_()
        context = Packed(ends, max(lengths))(*qkv.unbind(1), 0.0)
        context.square().sum().backward()
        assert qkv.grad is not None
        slow = qkv.detach().double().requires_grad_()
        parts = [one.transpose(0, 1) for one in slow.unbind(1)]
        contexts = []
        for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            q, k, v = (part[:, start:stop] for part in parts)
            contexts.append(((q @ k.mT / 8).softmax(-1) @ v).transpose(0, 1))
        right = torch.cat(contexts)
        right.square().sum().backward()
        assert slow.grad is not None
        yield within(f"attention of joined inputs, {name}", worst(context.detach(), right.detach()), allowed)
        yield within(f"its gradient, {name}", worst(qkv.grad, slow.grad), allowed)


def output_layer(quick: bool) -> Iterator[Line]:
    """Cross-entropy over more columns than classes against float64; rows that count for nothing."""
    rows, size = (40, 301) if quick else (2000, 50_265)
    torch.manual_seed(0)
    leaves = [torch.randn(*shape, device=DEVICE) * 0.1 for shape in ((rows, 128), (size, 128), (size,))]
    labels = torch.randint(size, (rows,), device=DEVICE)
    labels[-7:] = -100
    cross_entropy.COLUMNS |= {"cpu": 64}
    own, exact = ([leaf.clone().to(d).requires_grad_() for leaf in leaves] for d in (torch.float32, torch.float64))
    loss = cross_entropy.summed_cross_entropy(*own, labels, some_ignored=True)
    right = F.cross_entropy(F.linear(*exact), labels, reduction="sum")
    loss.backward()
    right.backward()
    yield within(
        f"loss over {size:,} classes in a multiple of 64 columns, fp32", worst(loss.detach(), right.detach()), 1e-5
    )
    for name, one, other in zip(("features", "matrix", "bias"), own, exact, strict=True):
        assert one.grad is not None and other.grad is not None
        yield within(f"its gradient, {name}", worst(one.grad, other.grad), 1e-4)


def fixed_shapes(quick: bool) -> Iterator[Line]:
    """Losses and gradients of batches of one shape, whose encoder is compiled on a GPU, against those of their inputs alone."""
    rows = packed_rows(8, 64, 1000, shortest=9) if quick else packed_rows(64, 512, shortest=100)
    vocab_size, config = (1000, TINY) if quick else (50_265, model_config("mini"))
    found: list[tuple[float, list[Tensor]]] = []
    for compiled in (False, True):
        torch.manual_seed(0)
        side = Ours(replace(config, dropout=0.0, attention_dropout=0.0), "fp32", rows, vocab_size, compiled and ON_GPU)
        for _ in range(3):  # a graph is replayed from the third time on
            side.zero_grad()
            side.epochs = iter([5])  # the same masks again
            loss = side.forward(side.data())
            loss.backward()
        found.append((float(loss.detach()), [p.grad.clone() for p in side.model.parameters() if p.grad is not None]))
    (plain, gradients), (other, others) = found
    yield within("loss of a batch of one shape, compiled", abs(plain - other) / plain, 1e-5)
    differences = max(worst(one, two) for one, two in zip(others, gradients, strict=True))
    yield within("its gradients", differences, 1e-3)


def keyed_dropout(quick: bool) -> Iterator[Line]:
    """The same key gives the same dropout, whatever ran before: as written, and compiled (as a graph where it is small)."""
    from roberta_lab.training.trainer import seed_dropout

    rows = packed_rows(4, 32, 1000) if quick else packed_rows(64, 128)
    for compiled in (False, True) if ON_GPU else (False,):
        torch.manual_seed(0)
        side = Ours(TINY if quick else model_config("mini"), "fp32", rows, 1000 if quick else 50_265, compiled)
        batch, losses = side.data(), []
        for key in (30, 40, 50, 40, 90, 40, 30):
            side.zero_grad()
            seed_dropout(DEVICE, key)
            loss = side.forward(batch)
            loss.backward()
            losses.append(float(loss.detach()))
            torch.rand(7, device=DEVICE)
        same = losses[1] == losses[3] == losses[5] and losses[0] == losses[6]
        kind = "as a graph" if side.is_graph else "compiled" if compiled else "as written"
        yield Line(f"dropout by key, {kind}", f"{len(set(losses))} losses of 4 keys", same and len(set(losses)) == 4)


# ---------------------------------------------------------------- runs
SMALL = ("model=tiny", "tokenizer.vocab_size=2048", "batch_size.sequences=8", "batch_size.peak_lr=1e-3")


class Runs:
    """Runs of a small model on the embedded corpus, each in a folder of its own, as `roberta-lab pretrain` makes them."""

    def __init__(self, folder: Path, quick: bool, steps: int) -> None:
        self.folder = folder
        self.text = jsonl(folder / "text.jsonl", 0.3 if quick else 2.0)
        size = ["model.layers=1", "model.hidden=32", "model.heads=2", "model.ffn=64"] if quick else []
        length = "input_format.max_length=64" if quick else "input_format.max_length=512"
        self.common = [*SMALL, *size, length, f"batch_size.steps={steps}", f"optimizer.warmup_steps={steps // 4}"]
        self.common += ["trainer.num_validations=2", "trainer.progress=false", f"paths.cache='{folder / 'cache'}'"]

    def made(self, name: str, *overrides: str) -> tuple[list[Any], str]:
        """Return the rows of a run and the SHA-256 of its weights."""
        from roberta_lab.data.corpus.preparation import prepared_for
        from roberta_lab.model import checkpoint
        from roberta_lab.runs.tracking import Tracker, read
        from roberta_lab.training.pretraining import pretrain

        config: Config = composed(self.text, self.folder, [*self.common, *overrides])
        path = self.folder / name
        path.mkdir(exist_ok=True)
        rows = Tracker(config, path, "pretrain", name, {})
        pretrain(config, prepared_for(config), path, rows, name)
        newest = checkpoint.newest(path / "checkpoints")
        assert newest is not None
        weights, digest = checkpoint.load(newest)["state_dict"], hashlib.sha256()
        for key in sorted(weights):
            digest.update(weights[key].cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return read(path / "metrics.jsonl"), digest.hexdigest()


def distance(one: list[Any], other: list[Any], name: str = "train/mlm_loss") -> float:
    """Return the largest relative difference between the losses of two runs, step by step."""
    pairs = zip(one, other, strict=True)
    return max(abs(a[name] - b[name]) / abs(a[name]) for a, b in pairs if name in a)


def runs(quick: bool) -> Iterator[Line]:
    """Cuts, precisions, compiled code, checkpointing and the four formats, each against the plain run."""
    with tempfile.TemporaryDirectory() as folder:
        made = Runs(Path(folder), quick, 8).made
        still = ("model.dropout=0", "model.attention_dropout=0", "input_format=full_sentences")
        plain, _ = made("plain", *still, "trainer.micro_batch_size=8", "trainer.compile=false")
        for name, allowed, *overrides in (
            ("micro-batches of 2", 1e-4, "trainer.micro_batch_size=2", "trainer.compile=false"),
            ("activation checkpointing", 1e-4, "trainer.micro_batch_size=8", "trainer.activation_checkpointing=true"),
            ("micro_batch_size=auto", 1e-4, "trainer.micro_batch_size=auto"),
            ("bf16", 3e-2, "trainer.micro_batch_size=8", "precision=bf16"),
            ("fp16", 3e-2, "trainer.micro_batch_size=8", "precision=fp16"),
            *([("compiled", 1e-4, "trainer.micro_batch_size=8", "trainer.compile=true")] if ON_GPU else []),
        ):
            rows, _ = made(name, *still, *map(str, overrides))
            yield within(f"losses of 8 steps, {name}, against fp32 in one micro-batch", distance(plain, rows), allowed)
        for name in FORMATS:
            rows, _ = made(name, f"input_format={name}", "precision=bf16")
            losses = [row["train/mlm_loss"] for row in rows if "train/mlm_loss" in row]
            text = f"loss {losses[0]:.2f} to {losses[-1]:.2f}, held-out ppl {rows[-1]['val/ppl']:.0f}"
            yield Line(f"{name}, bf16", text, bool(np.isfinite(losses).all()) and min(losses[1:]) < losses[0])


def bits(quick: bool) -> Iterator[Line]:
    """A run at 512 tokens, repeated: the same rows and the same SHA-256 of its weights, as written and compiled."""
    with tempfile.TemporaryDirectory() as folder:
        made = Runs(Path(folder), quick, 8 if quick else 30).made
        for how in ("compile=false", "compile=true") if ON_GPU else ("compile=false",):
            overrides = "input_format=full_sentences", "precision=bf16", f"trainer.{how}"
            (rows, weights), (again, others) = (made(f"{how}{i}", *overrides) for i in range(2))
            text = f"{len(rows)} rows, weights {weights[:12]} and {others[:12]}"
            yield Line(
                f"repeated, trainer.{how}, trainer.deterministic=auto", text, rows == again and weights == others
            )
        if ON_GPU:
            with_other = made("other", "input_format=full_sentences", "precision=bf16", "trainer.deterministic=false")
            again = made("again", "input_format=full_sentences", "precision=bf16", "trainer.deterministic=false")
            yield Line("repeated, trainer.deterministic=false", f"same bits: {with_other[1] == again[1]}", None)


def killed(quick: bool) -> Iterator[Line]:
    """A run that is killed three times and resumed, by the command line, against one that is not."""
    here, kills = Path(__file__).parent / "kill_and_resume.py", 1 if quick else 3
    size = ["input_format.max_length=64"] if quick else ["input_format.max_length=512", "precision=bf16"]
    overrides = ["input_format=full_sentences", *size, "optimizer.warmup_steps=20"]
    steps = 300 if quick else 900
    command = [sys.executable, str(here), "--kills", str(kills), "--steps", str(steps), *overrides]
    done = subprocess.run(command, capture_output=True, text=True)
    found = "; ".join(done.stdout.strip().splitlines()[-2:]) or done.stderr.strip().splitlines()[-1]
    yield Line(f"killed {kills} times and resumed, {' '.join(size)}", found, done.returncode == 0)


def shapes_of_a_run(quick: bool) -> Iterator[Line]:
    """How many graphs are compiled over varied batches, by the compiler's own count."""
    from torch._dynamo.utils import counters

    if not ON_GPU:
        yield Line(
            "graphs compiled over 50 varied batches", "a GPU only; tests/training/test_gpu_code.py counts 1", None
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        counters.clear()
        overrides = "input_format=segment_pair", "precision=bf16", "trainer.compile=true", "trainer.micro_batch_size=4"
        Runs(Path(folder), quick, 25).made("varied", *overrides)
        graphs = counters["stats"]["unique_graphs"]
        yield Line("graphs compiled over 50 varied batches of segment_pair", str(graphs), graphs == 1)


SECTIONS = [
    Section("kernels", kernels, 60),
    Section("output layer", output_layer, 60),
    Section("fixed shapes", fixed_shapes, 120),
    Section("keyed dropout", keyed_dropout, 120),
    Section("compilations", shapes_of_a_run, 120),
    Section("runs", runs, 150),
    Section("bits", bits, 150),
    Section("killed", killed, 200),
]
assert gpu_code.REPAID_AFTER > 100, "the runs here are compiled only where it is asked for"
