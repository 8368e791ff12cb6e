"""Which device a run is on: what `trainer.accelerator` means on this machine, and what it is called."""

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from roberta_lab.config import ConfigError, TrainerConfig, starters


def on_cuda(accelerator: str) -> bool:
    """Return whether `trainer.accelerator` means CUDA on this machine."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def device_of(accelerator: str) -> str:
    """Return torch's name of the device that `trainer.accelerator` means here. Raises ConfigError if there is none."""
    if on_cuda(accelerator):
        return "cuda"
    mps = torch.backends.mps.is_available()
    if accelerator in ("auto", "gpu", "mps") and mps:
        return "mps"
    if accelerator in ("auto", "cpu"):
        return "cpu"
    allowed = ["auto", *["cuda"] * torch.cuda.is_available(), *["mps"] * mps, "cpu"]
    raise ConfigError(f"trainer.accelerator={accelerator} is not there. Allowed: {', '.join(allowed)}.")


def device_name(accelerator: str) -> str:
    """Return the model of the device that `trainer.accelerator` means here: of a GPU, or of the CPU as far as it is known."""
    device = device_of(accelerator)
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    with suppress(OSError):  # Linux has it here
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if device == "cpu" else []:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or device


def of_this_machine(trainer: TrainerConfig, world_size: int) -> int:
    """Return how many devices of a run's ranks each of them sees: those of its machine, or the one that srun gave to it alone."""
    if on_cuda(trainer.accelerator) and torch.cuda.device_count() == 1:
        return 1
    return min(world_size, trainer.devices)


def check(trainer: TrainerConfig) -> None:
    """Raise ConfigError when the machine has fewer accelerators than the run asks of it."""
    if on_cuda(trainer.accelerator) and trainer.devices > (number := torch.cuda.device_count()):
        is_given = number == 1 and os.environ.get("CUDA_VISIBLE_DEVICES") and starters.place() is not None
        if is_given:  # by srun, to each process its own
            return
        raise ConfigError(f"trainer.devices={trainer.devices}: this machine has {number}; allowed is up to that.")
