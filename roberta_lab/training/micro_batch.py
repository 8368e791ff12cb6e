"""Choose the micro-batch size for `trainer.micro_batch_size=auto`: the largest that fits the GPU and divides a rank's share.

In a sweep it divides the share of all rows' batches (`trainer.common_batch`), so that their steps are cut alike.

On a GPU it is found by trying full inputs, and the cache remembers it for each model, precision and device. On a CPU nothing
is tried: larger micro-batches are not faster there, so the default size is taken.
"""

import dataclasses
import gc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from roberta_lab.axes.batch_size import micro_batch_share, micro_batch_size
from roberta_lab.axes.examples import IGNORED, Rows, Vocabulary
from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, ConfigError
from roberta_lab.config.later_keys import settings
from roberta_lab.data.batch import Batch
from roberta_lab.data.datamodule import pack, to_batch, to_device
from roberta_lab.data.storage import digest
from roberta_lab.data.verified import recall, remember
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.objective import Objective, own_counts
from roberta_lab.model.objectives import objective_of
from roberta_lab.model.optimizer import build_optimizer
from roberta_lab.training.devices import on_cuda

ALMOST_ALL = 0.95  # of a GPU's memory, which is free when no other process uses the GPU
MEMORY_SHARE = 0.92  # of the free memory; the rest is for DDP, validation and fragmentation
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Trials(NamedTuple):
    """The largest number of inputs known to fit, and the smallest known not to."""

    fits: int = 0  # the largest number that fits
    fails: int | None = None  # the smallest number that does not fit; None: not seen yet


def resolve_auto(config: Config, vocab_size: int, make_model: Callable[[], PretrainingModel]) -> Config:
    """Return the config with a number in the place of `auto`. Raises ConfigError when not even one input fits."""
    if config.trainer.micro_batch_size != "auto":
        return config
    size = micro_batch_size(config.batch_size.sequences, config.trainer)
    if on_cuda(config.trainer.accelerator):
        share = micro_batch_share(config.batch_size.sequences, config.trainer)
        facts = cache_key(config, vocab_size)
        file = Path(config.paths.cache) / "micro_batch" / f"{digest(facts)}.json"
        known = read_trials(file)
        was_free = gpu_is_free()  # asked before the trials, which take memory
        size, found = find_largest(share, lambda number: fits(config, vocab_size, make_model, number), known)
        if found != known and was_free:  # beside other processes less would fit
            remember(file, {**found._asdict(), "of": facts})
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, micro_batch_size=size))


def gpu_is_free() -> bool:
    free, total = torch.cuda.mem_get_info()
    return free > ALMOST_ALL * total


def find_largest(share: int, fits: Callable[[int], bool], known: Trials) -> tuple[int, Trials]:
    """Return the largest divisor of `share` that fits, and all trials; try only what is not known. Raises ConfigError."""
    divisors = [d for d in range(1, share + 1) if share % d == 0]
    while untried := [d for d in divisors if d > known.fits and (known.fails is None or d < known.fails)]:
        if known.fails is None:
            # At most double what fits: a trial far beyond the limit costs more time than one below it.
            number = max((d for d in untried if d <= 2 * max(known.fits, 1)), default=untried[0])
        else:
            number = untried[len(untried) // 2]
        known = known._replace(fits=number) if fits(number) else known._replace(fails=number)
    if known.fits < 1:
        raise ConfigError(
            "trainer.micro_batch_size=auto: not one input fits the device's memory; allowed is a smaller model, a shorter "
            "input_format.max_length or another device."
        )
    return max(d for d in divisors if d <= known.fits), known


def read_trials(file: Path) -> Trials:
    """Return what earlier trials have found; a file that cannot be read counts as no trials."""
    found = recall(file)
    return Trials(found.get("fits", 0), found.get("fails"))


def cache_key(config: Config, vocab_size: int) -> dict[str, object]:
    """Return what the memory of a step depends on. Later keys are left out at their neutral values, as in ids."""
    later = {"objective": settings(config.objective), "optimizer": settings(config.optimizer).get("name")}
    return {
        **{name: value for name, value in later.items() if value},
        "model": dataclasses.asdict(config.model),
        "vocab_size": vocab_size,
        "max_length": config.input_format.max_length,
        "format": config.input_format.name,
        "nsp": nsp_is_on(config),
        "mask_prob": config.masking.mask_prob,
        "precision": config.precision.dtype,
        "trainer": {name: getattr(config.trainer, name) for name in ("activation_checkpointing",)},
        "device": device_facts(),
        "torch": torch.__version__,
    }


def device_facts() -> dict[str, object]:
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {"name": properties.name, "bytes": properties.total_memory}


def fits(config: Config, vocab_size: int, make_model: Callable[[], PretrainingModel], number: int) -> bool:
    """Return whether two optimizer steps over `number` inputs leave some of the GPU's free memory."""
    device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    allowed = MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]
    try:
        batch, objective = trial_batch(config, vocab_size, number), objective_of(config)
        take_two_steps(objective, config, make_model().to(device), batch, device)
        return torch.cuda.max_memory_reserved(device) <= allowed
    except torch.OutOfMemoryError:
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def take_two_steps(
    objective: Objective, config: Config, model: PretrainingModel, batch: Batch, device: torch.device
) -> None:
    """Train as a run does. The first step makes the optimizer's state, the second has it in memory all the time."""
    optimizer = build_optimizer(model.named_parameters(), 0.0, (0.9, 0.98), 1e-6, 0.01, config.optimizer.name)
    batch = to_device(batch, device)
    dtype = AUTOCAST.get(config.precision.dtype)
    model.train()
    for _ in range(2):
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            loss = objective.loss(objective.sums(model, batch), own_counts(batch))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def trial_batch(config: Config, vocab_size: int, number: int) -> Batch:
    """Return the largest micro-batch of `number` inputs: all are full. A format that counts tokens may have one input more."""
    form = format_of(config.input_format)
    shape = number + (form.matched_to is not None), config.input_format.max_length
    ids = np.arange(shape[0] * shape[1]).reshape(shape) % vocab_size
    labels = np.full(shape, IGNORED)
    masked = max(1, round(config.masking.mask_prob * shape[1]))
    labels[:, :masked] = ids[:, :masked]
    pairs = np.zeros(shape[0], np.int64) if form.pairs else None
    rows = Rows(
        ids,
        np.zeros_like(ids),
        np.full(shape[0], shape[1]),
        np.zeros(shape, bool),
        pairs,
        np.zeros(shape[0], np.uint64),
    )
    vocabulary = Vocabulary(vocab_size, vocab_size - 1, (vocab_size - 1,))
    fields = objective_of(config).fields(rows, ids, labels, vocabulary)
    return pack(to_batch(rows, ids, labels), shape[1], fields)
