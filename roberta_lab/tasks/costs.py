"""How long finetuning takes, by the size of the published training set."""

from roberta_lab.config import Config
from roberta_lab.model.flops import FORWARD_AND_BACKWARD, forward_flops
from roberta_lab.model.hardware import HARDWARE
from roberta_lab.tasks import families
from roberta_lab.tasks.heads import HEADS


def finetune_seconds(config: Config) -> float | None:
    """Return the seconds of one run on one device, as if every input had full length; None where the size is unknown."""
    task = config.task
    items = task.num_train or families.get(task.family).train_items.get(task.name)
    if items is None:
        return None
    inputs = items * config.finetune.epochs * HEADS[task.head].inputs_per_item
    flops = (
        FORWARD_AND_BACKWARD * forward_flops(config.model, config.tokenizer.vocab_size, task.max_length, False).encoder
    )
    device = HARDWARE[config.plan.hardware]
    mfu = device.mfu if config.plan.mfu is None else config.plan.mfu
    return inputs * flops / (device.flops_per_second(config.precision.dtype) * mfu)
