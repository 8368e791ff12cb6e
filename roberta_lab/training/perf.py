"""Measure how fast a run trains, step by step: tokens per second, MFU, the wait for the loader, memory of the GPU.

A step's time goes from the end of all that followed the step before it to the moment when the device has done it, so
validations, scores of tasks and checkpoints are in none. Nothing here waits for the device: the end of a step does anyway.
"""

import os
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Protocol

import numpy as np
import torch

from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config
from roberta_lab.data import pool
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model.costs import shape_of
from roberta_lab.model.flops import forward_flops
from roberta_lab.model.hardware import HARDWARE, kind_of
from roberta_lab.training.devices import device_name, device_of
from roberta_lab.training.rows import Row

PREFIX = "perf/"  # how the names of what is measured begin
TOKENS_PER_SECOND = PREFIX + "tokens_per_second"  # real ones, of all devices together
MFU = PREFIX + "mfu"  # model FLOPs (model/flops.py) for the peak of the devices (model/hardware.py)
DATA_WAIT = PREFIX + "data_wait"  # the share of the time in which the loop waited for its loader
PEAK_MEMORY = PREFIX + "peak_memory"  # bytes that tensors had at most on the first GPU since the attempt began
LOOK_SECONDS = 1.0  # from one look at the GPU's memory to the next: one takes about as long as a small kernel
MOST_LENGTHS = 1 << 20  # inputs of a plan by whose lengths FLOPs are reckoned
PACKAGES = ("torch", "lightning", "numpy")


class PerfLog(Protocol):
    """What keeps the measurements of a run."""

    def begin(self, setup: Mapping[str, object]) -> None:
        """Take what the speed depends on (`setup_of`), before the first row of an attempt."""

    def write(self, row: Row) -> None:
        """Add what was measured of a step."""


class NoPerf:
    """A log that keeps nothing."""

    def begin(self, setup: Mapping[str, object]) -> None:
        pass

    def write(self, row: Row) -> None:
        pass


class Meter:
    """The clock of the training loop: `begin` when a step may begin, `end` when the device has done it."""

    def __init__(self, config: Config, data: PretrainingData) -> None:
        self.is_cuda = device_of(config.trainer.accelerator) == "cuda"
        peak = peak_of(config) if self.is_cuda else None
        self.share_of_peak = 0.0  # of one token each second; 0: the peak is not known
        if peak is not None:
            self.share_of_peak = flops_per_token(config, data) / (peak * data.micro_batches.rank.world_size)
        self.peak_memory, self.looked = 0.0, -LOOK_SECONDS

    def reset(self) -> None:
        """Forget what memory was used before training: trials of micro-batches, other runs."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()

    def begin(self, tokens: int, waited: float) -> None:
        """Start the clock, at so many tokens seen and so many seconds of waiting for the loader."""
        self.tokens, self.waited, self.start = tokens, waited, time.perf_counter()

    def end(self, tokens: int, waited: float) -> dict[str, float]:
        """Return what was measured since `begin`, by name."""
        now = time.perf_counter()
        seconds = max(now - self.start, 1e-9)
        rate = (tokens - self.tokens) / seconds
        found = {TOKENS_PER_SECOND: round(rate, 1), DATA_WAIT: round((waited - self.waited) / seconds, 4)}
        if self.share_of_peak:
            found[MFU] = round(rate * self.share_of_peak, 4)
        if self.is_cuda:
            if now - self.looked >= LOOK_SECONDS:
                self.peak_memory, self.looked = torch.cuda.max_memory_allocated(), now
            found[PEAK_MEMORY] = self.peak_memory
        return found


def peak_of(config: Config) -> float | None:
    """Return the FLOP/s of the GPU that is there, in the run's precision; None where its data sheet is not known here."""
    kind = kind_of(device_name(config.trainer.accelerator))
    return None if kind is None else HARDWARE[kind].peak.get(config.precision.dtype)


def flops_per_token(config: Config, data: PretrainingData) -> float:
    """Return the model FLOPs of training for a real token, forward and backward, by the lengths of the run's own inputs.

    Inputs are packed, so a token attends to those of its own input only.
    """
    lengths = data.micro_batches.plans.plan(0).lengths
    lengths = lengths[:: -(-len(lengths) // MOST_LENGTHS)].astype(np.float64)
    mean, attended = float(lengths.mean()), float(lengths @ lengths / lengths.sum())
    found = forward_flops(
        config.model, data.vocabulary.size, mean, nsp_is_on(config), config.masking.mask_prob, attended
    )
    return found.training / mean


def setup_of(config: Config, data: PretrainingData) -> dict[str, object]:
    """Return all that the speed depends on: `shape_of`, device, cut, threads, neighbours and versions."""
    accelerator, batches = config.trainer.accelerator, data.micro_batches
    device, name = device_of(accelerator), device_name(accelerator)
    return {
        **shape_of(config),
        "vocab_size": data.vocabulary.size,
        "device": name,
        "kind": kind_of(name) if device == "cuda" else "cpu" if device == "cpu" else None,  # of `HARDWARE`
        "devices": batches.rank.world_size,
        "threads": torch.get_num_threads() if device == "cpu" else None,  # of each process
        "micro_batch": batches.size,
        "accumulation": batches.per_step,
        "side_by_side": config.trainer.jobs if pool.is_one() else 1,  # runs that share the machine
        "compile": config.trainer.compile,
        "workers": config.trainer.workers,
        "cpus": os.cpu_count(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
    }
