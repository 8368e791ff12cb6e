"""From overrides to a checked config: what Hydra is told at start, and what is refused before any work.

The clone, an editable install and a wheel find the same YAML: the root is the package folder if it holds `conf/`, else its parent.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from roberta_lab.axes import data_mix, masking
from roberta_lab.axes.batch_size import accumulation, micro_batch_size
from roberta_lab.axes.input_format import FORMATS, format_of
from roberta_lab.config import (
    DTYPES,
    POOLINGS,
    PREDICTIONS,
    SOURCE_KINDS,
    Config,
    ConfigError,
    PredictConfig,
    SourceConfig,
    TaskConfig,
    nearest,
)
from roberta_lab.model import hardware
from roberta_lab.runs.options import CONF, groups
from roberta_lab.tasks import families


def rate(published: str | float, *, _root_: DictConfig) -> float:
    """A published learning rate at the config's scale."""
    scale = _root_.scale
    scaled = float(published) * float(scale.lr_factor)
    return scaled if scale.largest_lr is None else min(scaled, float(scale.largest_lr))


def divide(number: int, divisor: int) -> int:
    """A number of the paper at a smaller scale: the nearest whole number, at least 1."""
    return max(1, round(number / divisor))


def build(cfg: DictConfig) -> Config:
    """The typed config of a composed tree, resolved and checked for contradictions; raises ConfigError."""
    plain = OmegaConf.masked_copy(cfg, [f.name for f in dataclasses.fields(Config)])
    tree = OmegaConf.merge(OmegaConf.structured(Config), plain)
    # sorted: the order in which a mix names its sources means nothing
    sources = sorted(tree.data_mix.sources.items())
    if (
        tree.sweep is not None and tree.sweep.row is None
    ):  # of all rows at once: `data_mix.NAME.path` is of those with NAME
        sources = [(name, source) for name, source in sources if "kind" in source]
    tree.data_mix.sources = {name: _source(name, source) for name, source in sources}
    config = OmegaConf.to_object(tree)
    assert isinstance(config, Config)
    check(config)
    return config


def _source(name: str, source: Any) -> Any:
    """A source of the mix with every key it can have, typed."""
    if not isinstance(source, DictConfig):
        raise ConfigError(f"data_mix.{name}={source}: a source is {{kind: KIND, path: PATH, ...}}.")
    allowed = [f.name for f in dataclasses.fields(SourceConfig)]
    for key in source:
        if key not in allowed:
            hint = nearest(str(key), allowed)
            raise ConfigError(f"data_mix.{name}.{key}: no such key.{hint} Allowed: {', '.join(allowed)}.")
    if "kind" not in source:
        raise ConfigError(f"data_mix.{name}.kind is missing. Allowed: {', '.join(SOURCE_KINDS)}.")
    try:
        return OmegaConf.merge(OmegaConf.structured(SourceConfig), source)
    except OmegaConfBaseException as error:
        raise ConfigError(f"data_mix.{name}.{error.full_key}: {str(error).splitlines()[0]}.") from None


def encoder_config(config: Config) -> Config:
    """Of the run whose encoder `finetune.init_from` names: the same settings on that task, in the same folder of tasks or at
    the same commit of the hub. Raises ConfigError for an unknown task."""
    name, own = config.finetune.init_from, config.task
    if name not in groups()["task"]:
        raise ConfigError(f"finetune.init_from={name}: no such task. Allowed: {', '.join(groups()['task'])}.")
    task = OmegaConf.to_object(
        OmegaConf.merge(OmegaConf.structured(TaskConfig), OmegaConf.load(CONF / "task" / f"{name}.yaml"))
    )
    assert isinstance(task, TaskConfig)
    path = Path(own.path)
    is_own = "".join(c for c in path.name.lower() if c.isalnum()) == own.name  # GLUE/RTE, and MNLI lies beside it
    task.path = str(path.parent if is_own else path) if own.path else ""
    if task.hub is not None and own.hub is not None:
        task.hub.revision = own.hub.revision
    finetune = dataclasses.replace(config.finetune, init_from=None, save_model=True, submission=False)
    return dataclasses.replace(config, task=task, finetune=finetune)


AT_LEAST_ONE = (
    *("batch_size.sequences", "batch_size.steps", "model.layers", "model.hidden", "model.heads", "model.ffn"),
    *("finetune.batch", "finetune.epochs", "trainer.checkpoint_every_steps", "trainer.num_validations"),
    *("predict.top_k", "plan.devices"),
)
BELOW_ONE = ("model.dropout", "model.attention_dropout", "finetune.dropout", "data_mix.held_out_share")


def _check_ranges(config: Config) -> None:
    for key in AT_LEAST_ONE:
        if (number := attrgetter(key)(config)) < 1:
            raise ConfigError(f"{key}={number}: allowed is 1 or more.")
    if (workers := config.prepare.workers) is not None and workers < 1:
        raise ConfigError(f"prepare.workers={workers}: allowed is 1 or more, or null for one a core.")
    if (stride := config.task.stride) is not None and stride < 1:
        raise ConfigError(f"task.stride={stride}: allowed is 1 or more, or null for a quarter of the input's length.")
    if (largest := config.scale.largest_lr) is not None and not largest > 0:
        raise ConfigError(f"scale.largest_lr={largest}: allowed is more than 0, or null for no limit.")
    for key in BELOW_ONE:
        if not 0 <= (share := attrgetter(key)(config)) < 1:
            raise ConfigError(f"{key}={share}: allowed is 0 or more and less than 1.")
    for name, source in config.data_mix.sources.items():
        if source.kind not in SOURCE_KINDS:
            allowed = f"{nearest(source.kind, list(SOURCE_KINDS))} Allowed: {', '.join(SOURCE_KINDS)}."
            raise ConfigError(f"data_mix.{name}.kind={source.kind}: unknown.{allowed}")
    data_mix.check(config.data_mix)
    _check_prediction(config.predict)
    hardware.check(config.plan)
    if config.optimizer.warmup_steps < 0:
        raise ConfigError(f"optimizer.warmup_steps={config.optimizer.warmup_steps}: allowed is 0 or more.")
    families.check(config.task)


def _check_prediction(predict: PredictConfig) -> None:
    for key, chosen, allowed in (
        ("what", predict.what, list(PREDICTIONS)),
        ("pooling", predict.pooling, list(POOLINGS)),
    ):
        if chosen not in allowed:
            raise ConfigError(
                f"predict.{key}={chosen}: unknown.{nearest(chosen, allowed)} Allowed: {', '.join(allowed)}."
            )
    if predict.text is not None and predict.file:
        raise ConfigError("predict.text and predict.file are both set; choose one.")
    texts = predict.text if isinstance(predict.text, list) else [predict.text or ""]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError("predict.text: allowed is a text or a list of texts, each in quotes.")
    endings = PREDICTIONS[predict.what]
    if predict.output and Path(predict.output).suffix not in endings:
        allowed = " or ".join(f"FILE{ending}" for ending in endings)
        raise ConfigError(f"predict.output={predict.output}: for {predict.what}, allowed is {allowed}.")


def check(config: Config) -> None:
    """Refuses values out of range and options that contradict each other."""
    batch = config.batch_size
    masking.validate(config.masking)
    _check_ranges(config)
    if config.input_format.max_length < 8:
        raise ConfigError(f"input_format.max_length={config.input_format.max_length}: allowed is 8 or more.")
    for key, chosen, allowed in (
        ("input_format.name", config.input_format.name, FORMATS),
        ("precision.dtype", config.precision.dtype, DTYPES),
        ("logger.wandb", config.logger.wandb, ("auto", "offline", "online", "off")),
    ):
        if chosen not in allowed:
            raise ConfigError(
                f"{key}={chosen}: unknown.{nearest(chosen, list(allowed))} Allowed: {', '.join(allowed)}."
            )
    if config.nsp.mode == "on" and not format_of(config.input_format).pairs:
        raise ConfigError(
            f"nsp=on contradicts input_format={config.input_format.name}, which yields no pairs. "
            f"Use nsp=auto or nsp=off, or input_format={'|'.join(name for name, form in FORMATS.items() if form.pairs)}."
        )
    if (size := config.trainer.micro_batch_size) not in (None, "auto") and type(size) is not int:
        raise ConfigError(f"trainer.micro_batch_size={size}: allowed is 1 and more, null or auto.")
    accumulation(batch.sequences, config.trainer.devices, micro_batch_size(batch.sequences, config.trainer))
    if config.model.hidden % config.model.heads:
        raise ConfigError(f"model.hidden={config.model.hidden} does not divide by model.heads={config.model.heads}.")
