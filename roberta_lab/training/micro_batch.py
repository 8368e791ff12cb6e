"""`trainer.micro_batch_size=auto`: the largest number of inputs that fits a GPU and divides a rank's share of the batch.

Found by trying, with inputs as long as they get, once for each model, precision and device; remembered in the cache. On a
CPU nothing is tried: there it is the number that no setting gives, the largest up to 32, for more is not faster.
"""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch

from roberta_lab.axes.batch_size import micro_batch_size
from roberta_lab.axes.examples import IGNORED
from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, ConfigError
from roberta_lab.data.datamodule import pack
from roberta_lab.data.storage import digest, write_json
from roberta_lab.model.objective import batch_loss, loss_sums
from roberta_lab.model.optimizer import build_optimizer
from roberta_lab.model.pretraining_model import PretrainingModel
from roberta_lab.training.ranks import on_cuda

ALMOST_ALL = 0.95  # of a GPU's memory, which is free when nobody else is on it
MEMORY_SHARE = 0.92  # of what is free; the rest is for DDP, validation, and memory in pieces
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Known(NamedTuple):
    """What trials have shown: so many inputs fit, and so many do not (None: not seen yet)."""

    fits: int = 0
    fails: int | None = None


def settled(config: Config, vocab_size: int, make_model: Callable[[], PretrainingModel]) -> Config:
    """The config with a number in the place of `auto`.

    Args:
        make_model: called when a trial is needed.

    Raises: ConfigError when not even one input fits.
    """
    if config.trainer.micro_batch_size != "auto":
        return config
    size = micro_batch_size(config.batch_size.sequences, config.trainer)
    if on_cuda(config.trainer.accelerator):
        share = config.batch_size.sequences // config.trainer.devices
        facts = key(config, vocab_size, device_facts())
        file = Path(config.paths.cache) / "micro_batch" / f"{digest(facts)}.json"
        known = remembered(file)
        alone = nobody_else()  # before the trials
        size, found = largest(share, lambda number: fits(config, vocab_size, make_model, number), known)
        if found != known and alone:  # beside other processes it would be remembered wrongly
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {**found._asdict(), "of": facts})
    return dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, micro_batch_size=size))


def nobody_else() -> bool:
    """Whether nearly all of the GPU's memory is free."""
    free, total = torch.cuda.mem_get_info()
    return free > ALMOST_ALL * total


def largest(share: int, fits: Callable[[int], bool], known: Known) -> tuple[int, Known]:
    """The largest divisor of `share` that fits, and what is known after looking; tries only what is not known."""
    divisors = [d for d in range(1, share + 1) if share % d == 0]
    while open_ones := [d for d in divisors if d > known.fits and (known.fails is None or d < known.fails)]:
        # doubling from what fits, as far as nothing failed: a trial far beyond what fits costs more than one before it
        near = [d for d in open_ones if d <= 2 * max(known.fits, 1)] or open_ones[:1]
        number = near[-1] if known.fails is None else open_ones[len(open_ones) // 2]
        known = known._replace(fits=number) if fits(number) else known._replace(fails=number)
    fitting = [d for d in divisors if d <= known.fits]
    if not fitting:
        raise ConfigError(
            "trainer.micro_batch_size=auto: not one input fits the device's memory; allowed is a smaller model, a shorter "
            "input_format.max_length or another device."
        )
    return fitting[-1], known


def remembered(file: Path) -> Known:
    """What earlier trials have shown; a file that cannot be read is as none."""
    try:
        found = json.loads(file.read_text())
        return Known(int(found["fits"]), None if found["fails"] is None else int(found["fails"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Known()


def key(config: Config, vocab_size: int, device: dict[str, Any]) -> dict[str, Any]:
    """What the memory of a forward and backward pass depends on."""
    trainer = {k: v for k, v in vars(config.trainer).items() if k in ("compile", "activation_checkpointing")}
    return {
        "model": dataclasses.asdict(config.model),
        "vocab_size": vocab_size,
        "max_length": config.input_format.max_length,
        "format": config.input_format.name,
        "nsp": nsp_is_on(config),
        "mask_prob": config.masking.mask_prob,
        "precision": config.precision.dtype,
        "trainer": trainer,
        "device": device,
        "torch": torch.__version__,
    }


def device_facts() -> dict[str, Any]:
    """The GPU's name and memory."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {"name": properties.name, "bytes": properties.total_memory}


def fits(config: Config, vocab_size: int, make_model: Callable[[], PretrainingModel], number: int) -> bool:
    """Whether two optimizer steps over so many inputs leave some of the GPU's free memory."""
    device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    allowed = MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]
    try:
        two_steps(config, make_model().to(device), trial_batch(config, vocab_size, number), device)
        return torch.cuda.max_memory_reserved(device) <= allowed
    except torch.OutOfMemoryError:
        return False
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def two_steps(config: Config, model: PretrainingModel, batch: dict[str, Any], device: torch.device) -> None:
    """As in training; two, for Adam's state comes with the first and is there in the second."""
    optimizer = build_optimizer(model.named_parameters(), 0.0, (0.9, 0.98), 1e-6, 0.01)
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    dtype = AUTOCAST.get(config.precision.dtype)
    model.train()
    for _ in range(2):
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            loss = batch_loss(loss_sums(model, batch), len(batch["masked_labels"]), len(batch["cu_seq_lens"]) - 1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def trial_batch(config: Config, vocab_size: int, number: int) -> dict[str, Any]:
    """A micro-batch of the greatest size that `number` can mean: every input full. Matched in tokens, it may have one more."""
    rows = number + format_of(config.input_format).matched
    length = config.input_format.max_length
    ids = torch.arange(rows * length).view(rows, length) % vocab_size
    labels = torch.full_like(ids, IGNORED)
    masked = max(1, round(config.masking.mask_prob * length))
    labels[:, :masked] = ids[:, :masked]
    batch = {"input_ids": ids, "labels": labels, "token_type_ids": torch.zeros_like(ids)}
    if format_of(config.input_format).pairs:
        batch["next_sentence_label"] = torch.zeros(rows, dtype=torch.int64)
    return pack(batch, length)
