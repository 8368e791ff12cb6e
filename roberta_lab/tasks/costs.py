"""How long finetuning takes, by the size of the published training set."""

from __future__ import annotations

from roberta_lab.config import Config
from roberta_lab.model.flops import FORWARD_AND_BACKWARD, forward_flops
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.tasks import families, heads


def finetune_seconds(config: Config) -> float | None:
    """Return the seconds of one finetuning run on one device, as if every input had full length.

    Returns: None where the task's size is unknown.
    """
    task = config.task
    items = task.num_train or families.get(task.family).train_items.get(task.name)
    if items is None:
        return None
    inputs = items * config.finetune.epochs * heads.load(task.head).inputs_per_item
    flops = (
        FORWARD_AND_BACKWARD * forward_flops(config.model, config.tokenizer.vocab_size, task.max_length, False).encoder
    )
    device = HARDWARE[config.plan.hardware]
    mfu = device.mfu if config.plan.mfu is None else config.plan.mfu
    return inputs * flops / (device.flops_per_second(config.precision.dtype) * mfu)
