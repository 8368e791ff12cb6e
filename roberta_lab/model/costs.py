"""What a pretraining run costs, computed from its config alone: tokens, passes, FLOPs, memory, hours. Nothing is trained.

Tokens are real ones, without padding (data/real_tokens.py). Memory of a device, in bytes, for N
parameters and n tokens in a micro-batch, of which a share m is masked:

    weights, gradients, Adam     4 N + 4 N + 8 N, all float32; in half precision 2 N more for copies of the weights
    activations of a layer       n (e (6 H + 2 F) + 8 H + 2 d H)
    embeddings                   n (8 + d) H
    logits                       m n V e, once: their gradient takes their place
    at work                      0.5 of activations and logits: what the backward pass holds, workspaces, fragmentation

e is 4 in float32 and 2 in half precision. A layer keeps the inputs of its four products and queries, keys and values (6 H + F),
the input of GELU (F), those of two LayerNorms (float32) and two dropout masks, of d bytes an element: 1 on a GPU, e on a CPU.
On a CPU attention with dropout also keeps three float32 matrices of scores, 12 A T a token, which a GPU's kernels never store.
With activation checkpointing a layer keeps its input, 4 H a token, and one layer at a time has the rest.

For a layer the formula gives exactly what autograd keeps (tests/model/test_costs.py). The last line is fitted: with it, the peak
resident set of a step above what the process held before (benchmarks/memory.py: one CPU thread, float32, 16 and 32 inputs of 128
tokens, vocabulary 50,265) is met within 8% for tiny (308 and 429 MB), mini (675 and 1,059) and small (1,373 and 2,024). On a GPU
nothing was measured.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

from roberta_lab.axes.batch_size import micro_batch_size
from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, ModelConfig
from roberta_lab.data.real_tokens import RealTokens, real_tokens
from roberta_lab.model.flops import forward_flops, parameters
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.model.network import Exchange, exchange_of

AT_WORK = 0.5


@dataclass(frozen=True)
class Rate:
    """Real tokens per second of one device in training, and where the number comes from."""

    per_second: float
    basis: str


@dataclass(frozen=True)
class Memory:
    """Bytes of memory on one device, by part."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        at_work = AT_WORK * (self.activations + self.logits)
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits + at_work


@dataclass(frozen=True)
class Costs:
    """The costs of one pretraining run."""

    parameters: int
    sequences: int  # of a step
    length: int  # tokens of a full input
    steps: int
    real: RealTokens  # of a step and of a pass
    devices: int
    micro_batch: int  # sequences of one forward pass of one device
    accumulation: int  # forward passes of a device in a step
    flops: float
    memory: Memory
    seconds: float
    basis: str  # where the throughput comes from
    price_per_hour: float | None  # of a device
    exchange: Exchange | None  # of gradients, by each device at each step; None for one device
    warnings: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Return the real tokens that the run sees, special ones counted in."""
        return round(self.real.per_step * self.steps)

    @property
    def passes(self) -> float | None:
        """Return how often the run sees each input; None when the size of the text is unknown."""
        return None if self.real.per_pass is None else self.tokens / self.real.per_pass

    @property
    def hours(self) -> float:
        return self.seconds / 3600

    @property
    def device_hours(self) -> float:
        return self.hours * self.devices

    @property
    def price(self) -> float | None:
        """Return the price of all devices for the whole run; None without `plan.price_per_hour`."""
        return None if self.price_per_hour is None else self.device_hours * self.price_per_hour


def costs_of(config: Config, measured: Callable[[int], Rate | None] = lambda micro_batch: None) -> Costs:
    """Return the costs of the pretraining run of a config, on the hardware of `config.plan`.

    `measured` gives the rate of a run like this one with such micro-batches, if there is one; what the plan states counts first.
    """
    plan, batch = config.plan, config.batch_size
    length, nsp, vocab_size = config.input_format.max_length, nsp_is_on(config), config.tokenizer.vocab_size
    micro, accumulation, used = _cut(config)
    token_types = 2 if format_of(config.input_format).pairs else 0
    number = parameters(config.model, vocab_size, length, token_types, nsp).total
    per_input = forward_flops(config.model, vocab_size, length, nsp, config.masking.mask_prob).training
    rate = _rate(config, per_input / length, measured(micro))
    real = real_tokens(config)
    tokens = real.per_step * batch.steps
    memory = memory_of(config, number, micro * length)
    computing = real.per_step / (rate.per_second * used)  # seconds of a step
    bandwidth = None if plan.bandwidth is None else plan.bandwidth * 1e9
    exchange = exchange_of(number, used, bandwidth, computing)
    waiting = exchange.seconds if exchange is not None and exchange.seconds is not None else 0.0
    return Costs(
        parameters=number,
        sequences=batch.sequences,
        length=length,
        steps=batch.steps,
        real=real,
        devices=plan.devices,
        micro_batch=micro,
        accumulation=accumulation,
        flops=per_input / length * tokens,
        memory=memory,
        seconds=tokens / (rate.per_second * used) + batch.steps * waiting,
        basis=rate.basis,
        price_per_hour=plan.price_per_hour,
        exchange=exchange,
        warnings=tuple(_warnings(config, memory, micro, accumulation)),
    )


def _cut(config: Config) -> tuple[int, int, int]:
    """Return the sequences of a micro-batch, the micro-batches of a device in a step, and the devices that have work."""
    sequences, devices = config.batch_size.sequences, config.plan.devices
    used = min(devices, sequences)
    size = micro_batch_size(max(used, sequences // used * used), replace(config.trainer, devices=used))
    return size, math.ceil(sequences / (used * size)), used


def _rate(config: Config, flops_per_token: float, measured: Rate | None) -> Rate:
    """Return the rate that the plan states, else the measured one, else one by the hardware's peak and usual share of it."""
    plan, dtype, device = config.plan, config.precision.dtype, HARDWARE[config.plan.hardware]
    if (rate := plan.tokens_per_second) is not None:
        return Rate(rate, f"measured: plan.tokens_per_second={rate:g} a {device.unit}")
    if measured is not None and plan.mfu is None:
        return measured
    peak = device.flops_per_second(dtype)
    mfu, source = (device.mfu, device.mfu_source) if plan.mfu is None else (plan.mfu, "plan.mfu")
    return Rate(peak * mfu / flops_per_token, f"stated: {peak / 1e12:g} TFLOP/s ({dtype}) x MFU {mfu:g} ({source})")


def shape_of(config: Config) -> dict[str, object]:
    """Return what the tokens per second depend on beside device and cut: in plans a run stands for others of this shape.

    The size of the vocabulary is beside it: a tokenizer may find fewer tokens than it is asked for.
    """
    return {
        "model": {name: value for name, value in asdict(config.model).items() if name != "init_std"},
        "format": config.input_format.name,
        "max_length": config.input_format.max_length,
        "nsp": nsp_is_on(config),
        "mask_prob": config.masking.mask_prob,
        "objective": config.objective.name,
        "precision": config.precision.dtype,
        "activation_checkpointing": config.trainer.activation_checkpointing,
    }


def layer_bytes(model: ModelConfig, length: int, dtype: str, cpu: bool) -> float:
    """Return the bytes that one layer keeps of a token until its backward pass (formula above)."""
    e, mask = _element_bytes(model, dtype, cpu)
    kept = e * (6 * model.hidden + 2 * model.ffn) + 8 * model.hidden + 2 * mask * model.hidden
    if cpu and model.attention_dropout:
        kept += 12 * model.heads * length + (3 * (4 - e)) * model.hidden  # in float32 whatever the precision
    return kept


def _element_bytes(model: ModelConfig, dtype: str, cpu: bool) -> tuple[int, int]:
    """Return the bytes of an element of an activation (e above) and of its dropout mask (d above)."""
    e = 4 if dtype == "fp32" else 2
    return e, (e if cpu else 1) if model.dropout else 0


def memory_of(config: Config, num_parameters: int, tokens: int) -> Memory:
    """Return the memory of one device with so many tokens in a micro-batch."""
    model, dtype, cpu = config.model, config.precision.dtype, config.plan.hardware == "cpu"
    e, mask = _element_bytes(model, dtype, cpu)
    layer = layer_bytes(model, config.input_format.max_length, dtype, cpu)
    checkpointed = config.trainer.activation_checkpointing
    layers = model.layers * 4 * model.hidden + layer if checkpointed else model.layers * layer
    return Memory(
        weights=num_parameters * (4 if dtype == "fp32" else 6),
        gradients=num_parameters * 4,
        optimizer=num_parameters * 8,
        activations=tokens * (layers + (8 + mask) * model.hidden),
        logits=config.masking.mask_prob * tokens * config.tokenizer.vocab_size * e,
    )


def memory_on_gpu(config: Config, tokens: int = 0) -> float:
    """Return the bytes that a run takes on each of its GPUs; `tokens` in a pass, if these are not those of a micro-batch."""
    length, nsp = config.input_format.max_length, nsp_is_on(config)
    micro = micro_batch_size(config.batch_size.sequences, config.trainer)
    token_types = 2 if format_of(config.input_format).pairs else 0
    number = parameters(config.model, config.tokenizer.vocab_size, length, token_types, nsp).total
    there = replace(config, plan=replace(config.plan, hardware="h200"))  # of GPUs the formula has one form
    return memory_of(there, number, tokens or micro * length).total


# ---------------------------------------------------------------- what would not work as asked
def _warnings(config: Config, memory: Memory, micro: int, accumulation: int) -> Iterator[str]:
    """Yield what stands in the way of the run on this hardware, and what would help."""
    device, dtype = HARDWARE[config.plan.hardware], config.precision.dtype
    sequences, devices = config.batch_size.sequences, config.plan.devices
    if dtype not in device.peak:
        yield f"{device.what} has no {dtype}; float32 is planned"
    if device.memory is not None and memory.total > device.memory:
        fixed = memory.weights + memory.gradients + memory.optimizer
        most = int((device.memory - fixed) / ((memory.total - fixed) / micro))
        share = max(1, sequences // devices)
        fits = max((size for size in range(1, most + 1) if share % size == 0), default=0)
        advice = f"trainer.micro_batch_size={fits}" if fits else "trainer.activation_checkpointing=true, or more memory"
        yield f"{memory.total / 1e9:.0f} GB do not fit in {device.memory / 1e9:.0f} GB; {advice} would"
    if config.optimizer.warmup_steps >= config.batch_size.steps:
        warmup = f"optimizer.warmup_steps={config.optimizer.warmup_steps}"
        yield f"{warmup} is not below batch_size.steps={config.batch_size.steps}"
    if devices > sequences:
        yield f"{devices} devices for {sequences} sequences: {devices - sequences} have no work"
    elif micro * accumulation * devices != sequences:
        yield f"{sequences} sequences do not divide into {devices} devices x {micro} x {accumulation}"
