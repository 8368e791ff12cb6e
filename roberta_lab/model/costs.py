"""What a pretraining run costs, from its config alone: tokens, passes, FLOPs, memory, hours. No weights, no data, no GPU.

Tokens of a step are `sequences` x `max_length`, which full inputs have and shorter ones stay a little below. Memory of a
device, in bytes, for N parameters and n tokens in a micro-batch, of which a share m is masked:

    weights, gradients, Adam     4 N + 4 N + 8 N, all float32; in half precision 2 N more for copies of the weights
    activations of a layer       n (e (6 H + 2 F) + 8 H + 2 d H)
    embeddings                   n (8 + d) H
    logits                       m n V e, once: their gradient takes their place
    at work                      0.5 of activations and logits: what the backward pass holds, workspaces, gaps between blocks

e is 4 in float32 and 2 in half precision. A layer keeps the inputs of its four products and queries, keys and values (6 H + F),
the input of GELU (F), those of two LayerNorms (float32) and two dropout masks, of d bytes an element: 1 on a GPU, e on a CPU.
There attention with dropout also keeps three float32 matrices of scores, 12 A T a token, that a GPU's kernels never store.
With activation checkpointing a layer keeps its input, 4 H a token, and one layer at a time has the rest.

Against what autograd keeps of a layer the formula is exact (tests/test_costs.py). The last line is fitted: with it, the peak resident
set of a step above what the process held before (benchmarks/memory.py: one CPU thread, float32, 16 and 32 inputs of 128 tokens, vocabulary
50,265) is met within 8% for tiny (308 and 429 MB), mini (675 and 1,059) and small (1,373 and 2,024). On a GPU nothing was measured.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from roberta_lab.axes import data_mix
from roberta_lab.axes.batch_size import micro_batch_size
from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, DataMixConfig, ModelConfig
from roberta_lab.model.flops import parameters, training_flops
from roberta_lab.model.hardware import HARDWARE, Hardware

# Gigabytes of text of each corpus (Section 3.2; BookCorpus and Wikipedia are 16 together), and bytes a token of GPT-2's byte-level
# BPE has there, measured on some megabytes of the kind. (OpenWebText is widely known to have 9.0G tokens: 4.2 bytes each.)
CORPORA = {
    "books": (4.2, 4.2),
    "wikipedia": (11.8, 4.6),
    "cc_news": (76.0, 4.5),
    "openwebtext": (38.0, 4.2),
    "stories": (31.0, 4.2),
}
AT_WORK = 0.5
EMBEDDED = {2048: 1_391_553, 16384: 1_008_447}  # tokens of the embedded corpus, training and held out, by vocabulary


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by part."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float

    @property
    def at_work(self) -> float:
        return AT_WORK * (self.activations + self.logits)

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.at_work


@dataclass(frozen=True)
class Costs:
    """Of one pretraining run."""

    parameters: int
    sequences: int  # of a step
    length: int  # tokens of a full input
    steps: int
    pass_tokens: float | None  # training tokens of the mix, read once; None: not known
    pass_basis: str  # where that number comes from
    devices: int
    micro_batch: int  # sequences of one forward pass of one device
    accumulation: int  # forward passes of a device in a step
    flops: float
    memory: Memory
    seconds: float
    basis: str  # where the throughput comes from
    price_per_hour: float | None  # of a device
    warnings: tuple[str, ...]

    @property
    def tokens_per_step(self) -> int:
        return self.sequences * self.length

    @property
    def tokens(self) -> int:
        """All that the run sees."""
        return self.tokens_per_step * self.steps

    @property
    def passes(self) -> float | None:
        return None if self.pass_tokens is None else self.tokens / self.pass_tokens

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @property
    def device_hours(self) -> float:
        return self.hours * self.devices

    @property
    def price(self) -> float | None:
        return None if self.price_per_hour is None else self.device_hours * self.price_per_hour


def costs_of(config: Config) -> Costs:
    """Of the pretraining run of a config, on the hardware of `config.plan`."""
    plan, batch, device = config.plan, config.batch_size, HARDWARE[config.plan.hardware]
    length, nsp, vocab_size = config.input_format.max_length, nsp_is_on(config), config.tokenizer.vocab_size
    micro, passes, used = _cut(config)
    token_types = 2 if format_of(config.input_format).pairs else 0
    number = parameters(config.model, vocab_size, length, token_types, nsp).total
    per_input = training_flops(config.model, vocab_size, length, nsp, config.masking.mask_prob)
    flops = per_input * batch.sequences * batch.steps
    per_second, basis = _throughput(config, device, per_input / length)
    tokens, pass_basis = pass_tokens(config)
    memory = memory_of(config, number, micro * length)
    return Costs(
        parameters=number,
        sequences=batch.sequences,
        length=length,
        steps=batch.steps,
        pass_tokens=tokens,
        pass_basis=pass_basis,
        devices=plan.devices,
        micro_batch=micro,
        accumulation=passes,
        flops=flops,
        memory=memory,
        seconds=batch.sequences * length * batch.steps / (per_second * used),
        basis=basis,
        price_per_hour=plan.price_per_hour,
        warnings=(*_warnings(config, memory, micro), *_of_the_cut(config, micro, passes)),
    )


def _cut(config: Config) -> tuple[int, int, int]:
    """Sequences of a micro-batch, micro-batches of a device in a step, and the devices that have any work."""
    sequences, devices = config.batch_size.sequences, config.plan.devices
    used = min(devices, sequences)
    size = micro_batch_size(max(used, sequences // used * used), replace(config.trainer, devices=used))
    return size, math.ceil(sequences / (used * size)), used


def _throughput(config: Config, device: Hardware, flops_per_token: float) -> tuple[float, str]:
    """Tokens per second of one device, and where the number comes from."""
    plan = config.plan
    if plan.tokens_per_second is not None:
        return plan.tokens_per_second, f"measured: plan.tokens_per_second={plan.tokens_per_second:g} a {device.unit}"
    peak = device.flops_per_second(config.precision.dtype)
    mfu, source = (device.mfu, device.mfu_source) if plan.mfu is None else (plan.mfu, "plan.mfu")
    dtype = config.precision.dtype
    return peak * mfu / flops_per_token, f"stated: {peak / 1e12:g} TFLOP/s ({dtype}) x MFU {mfu:g} ({source})"


def layer_bytes(model: ModelConfig, length: int, dtype: str, cpu: bool) -> float:
    """Bytes that one layer keeps of a token until its backward pass (formula above)."""
    e = 4 if dtype == "fp32" else 2
    mask = (e if cpu else 1) if model.dropout else 0
    kept = e * (6 * model.hidden + 2 * model.ffn) + 8 * model.hidden + 2 * mask * model.hidden
    if cpu and model.attention_dropout:
        kept += 12 * model.heads * length + (3 * (4 - e)) * model.hidden  # in float32 whatever the precision
    return kept


def memory_of(config: Config, num_parameters: int, tokens: int) -> Memory:
    """Of one device that sees so many tokens at once."""
    model, dtype, cpu = config.model, config.precision.dtype, config.plan.hardware == "cpu"
    e = 4 if dtype == "fp32" else 2
    layer = layer_bytes(model, config.input_format.max_length, dtype, cpu)
    if config.trainer.activation_checkpointing:
        layers = model.layers * 4 * model.hidden + layer
    else:
        layers = model.layers * layer
    mask = (e if cpu else 1) if model.dropout else 0
    return Memory(
        weights=num_parameters * (4 if dtype == "fp32" else 6),
        gradients=num_parameters * 4,
        optimizer=num_parameters * 8,
        activations=tokens * (layers + (8 + mask) * model.hidden),
        logits=config.masking.mask_prob * tokens * config.tokenizer.vocab_size * e,
    )


# ---------------------------------------------------------------- data
def pass_tokens(config: Config) -> tuple[float | None, str]:
    """Training tokens of a pass over the mix, and where the number comes from: the prepared store, or stated sizes."""
    limit = config.data_mix.train_tokens
    found, basis = prepared_tokens(config), "the prepared store"
    if found is None:
        found, basis = _stated_tokens(config), "by the stated size of the corpora"
    if found is None:
        return (float(limit), "data_mix.train_tokens") if limit else (None, "sizes unknown before `prepare`")
    return (float(limit), "data_mix.train_tokens") if limit is not None and limit < found else (found, basis)


def _stated_tokens(config: Config) -> float | None:
    mix = config.data_mix
    if list(mix.sources) == ["pydoc"]:
        nearest = min(EMBEDDED, key=lambda size: abs(size - config.tokenizer.vocab_size))
        return EMBEDDED[nearest] * (1 - mix.held_out_share) * (mix.sources["pydoc"].repeats or 1)
    if not set(mix.sources) <= set(CORPORA):
        return None
    tokens = {name: CORPORA[name][0] * 1e9 / CORPORA[name][1] for name in mix.sources}
    times = data_mix.repeats(mix, {name: round(number) for name, number in tokens.items()})
    return sum(tokens[name] * times[name] for name in tokens) * (1 - mix.held_out_share)


def prepared_tokens(config: Config) -> int | None:
    """Training tokens of the store that lies prepared for this mix and encoding, if there is exactly one, by its manifests."""
    mix, cache = config.data_mix, Path(config.paths.cache)
    if any(source.repeats or source.weight for source in mix.sources.values()) or not cache.is_dir():
        return None
    known = {kind: _manifests(cache / kind) for kind in ("corpus", "tokenizer")}
    found = []
    for path in sorted((cache / "tokens").glob("*/manifest.json")):
        inputs = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        corpus, encoding = (known[kind].get(inputs.get(kind), {}) for kind in ("corpus", "tokenizer"))
        if inputs.get("sources") == list(mix.sources) and _is_of(mix, corpus) and _encodes(config, encoding):
            found.append(json.loads((path.parent / "train" / "manifest.json").read_text(encoding="utf-8"))["tokens"])
    return found[0] if len(found) == 1 else None


def _manifests(folder: Path) -> dict[str, dict]:
    """What was made of what: content -> inputs."""
    made = (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*/manifest.json"))
    return {manifest["content"]: manifest["inputs"] for manifest in made}


def _is_of(mix: DataMixConfig, inputs: dict) -> bool:
    return all(inputs.get(name) == getattr(mix, name) for name in ("deduplicate", "held_out_share"))


def _encodes(config: Config, inputs: dict) -> bool:
    return all(inputs.get(name) == getattr(config.tokenizer, name) for name in ("kind", "vocab_size"))


# ---------------------------------------------------------------- what would not work as asked
def _warnings(config: Config, memory: Memory, micro: int) -> list[str]:
    device, dtype, found = HARDWARE[config.plan.hardware], config.precision.dtype, []
    if dtype not in device.peak:
        found.append(f"{device.what} has no {dtype}; float32 is planned")
    if device.memory is not None and memory.total > device.memory:
        fixed = memory.weights + memory.gradients + memory.optimizer
        most = int((device.memory - fixed) / ((memory.total - fixed) / micro))
        share = max(1, config.batch_size.sequences // config.plan.devices)
        fits = max((size for size in range(1, most + 1) if share % size == 0), default=0)
        advice = f"trainer.micro_batch_size={fits}" if fits else "trainer.activation_checkpointing=true, or more memory"
        found.append(f"{memory.total / 1e9:.0f} GB do not fit in {device.memory / 1e9:.0f} GB; {advice} would")
    if config.optimizer.warmup_steps >= config.batch_size.steps:
        warmup = f"optimizer.warmup_steps={config.optimizer.warmup_steps}"
        found.append(f"{warmup} is not below batch_size.steps={config.batch_size.steps}")
    return found


def _of_the_cut(config: Config, micro: int, passes: int) -> list[str]:
    sequences, devices = config.batch_size.sequences, config.plan.devices
    if devices > sequences:
        return [f"{devices} devices for {sequences} sequences: {devices - sequences} have no work"]
    if micro * passes * devices != sequences:
        return [f"{sequences} sequences do not divide into {devices} devices x {micro} x {passes}"]
    return []
