"""The speed of machines on paper and the share of it that training reaches, for plans where nothing was measured.

Peaks are FLOP/s of one device from data sheets, dense (without sparsity). The share that training reaches (MFU, model FLOPs
utilization; Chowdhery et al. 2022) depends on model, batch and network, so each number has its source.
"""

import re
from dataclasses import dataclass

from roberta_lab.config import ConfigError, PlanConfig


@dataclass(frozen=True)
class Hardware:
    """One device: a GPU, or a core of a CPU."""

    what: str
    peak: dict[str, float]  # precision -> FLOP/s
    memory: float | None  # bytes; None: not checked
    mfu: float
    mfu_source: str
    unit: str = "device"

    def flops_per_second(self, dtype: str) -> float:
        """Return the peak in a precision; float32's where the device lacks the precision."""
        return self.peak.get(dtype, self.peak["fp32"])


_ASSUMED = "assumed, not measured"
_HOPPER = {"fp32": 66.9e12, "bf16": 989e12, "fp16": 989e12}
# 406K tokens/s x 601.5 MFLOP a token = 244 TFLOP/s: 24.7% of the data sheet's peak, 31.2% of the 783 TFLOP/s that matrix products
# reach there. Compiled it was more, large models and short inputs were not measured.
_HOPPER_MFU = 0.247
_ON_H200 = "measured on one H200: base, 512 tokens, bf16, eager, through the command line"
HARDWARE = {
    "v100": Hardware(
        "NVIDIA V100, 32 GB",
        {"fp32": 15.7e12, "fp16": 125e12},
        32e9,
        0.08,
        # 2.0 GFLOP a token x 8192 x 512 x 100K = 8.4e20 FLOP in 24 h on 1,024 devices: 9.5 TFLOP/s each
        "the paper's: large, 100K steps of 8K in about a day on 1,024 of them, communication included",
    ),
    "a100": Hardware("NVIDIA A100, 80 GB", {"fp32": 19.5e12, "bf16": 312e12, "fp16": 312e12}, 80e9, 0.3, _ASSUMED),
    "h100": Hardware("NVIDIA H100 SXM, 80 GB", _HOPPER, 80e9, _HOPPER_MFU, f"{_ON_H200}; an H100 is assumed alike"),
    "h200": Hardware("NVIDIA H200 SXM, 141 GB", _HOPPER, 141e9, _HOPPER_MFU, _ON_H200),
    "cpu": Hardware(
        "one core of a CPU",
        {"fp32": 100e9, "bf16": 100e9, "fp16": 100e9},  # AVX2: 2 x 8 multiply-adds at about 3.1 GHz
        None,
        0.5,
        "measured on an AMD EPYC, one thread: 0.43 (tiny) to 0.75 (base)",
        unit="core",
    ),
}


_NAMES = re.compile(r"\b(V100-SXM\d|A100|H100|H200)\b")  # in what the driver calls a GPU
_OTHERS = re.compile(r"\b(MIG|NVL|H100 PCIe)\b")  # parts of a GPU, and siblings with other peaks


def kind_of(device: str) -> str | None:
    """Return which of `HARDWARE` a GPU is, by the name that its driver gives; None for others, and for a part of a GPU."""
    found = _NAMES.search(device)
    return None if found is None or _OTHERS.search(device) else found[1].partition("-")[0].lower()


def check(plan: PlanConfig) -> None:
    """Raise ConfigError for unknown hardware."""
    if plan.hardware not in HARDWARE:
        raise ConfigError(f"plan.hardware={plan.hardware}: unknown. Allowed: {', '.join(HARDWARE)}.")
