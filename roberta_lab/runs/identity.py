"""The identity of a run: the settings that change its result, the id that is their hash, and the folder of that id."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.axes import data_mix
from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.mask_positions import POSITIONS
from roberta_lab.axes.masking import positions_of, rule_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, ConfigError, MaskingConfig, TrainerConfig
from roberta_lab.config.later_keys import Settings, is_later, settings
from roberta_lab.data.storage import digest
from roberta_lab.runs import fingerprints
from roberta_lab.runs.compose import encoder_config
from roberta_lab.tasks import families, zero_shot
from roberta_lab.tasks.features import usual_stride
from roberta_lab.tasks.heads import HEADS

ASKED = ("save_model", "submission")  # of `finetune`: files beside the result, no part of the science
UNREAD = ("recipe", "grid")  # of `finetune`: for tables and sweeps, which no run reads
SCIENCE = ("model", "tokenizer", "data_mix", "input_format", "masking", "batch_size", "optimizer", "precision")
# parts of the config all of whose keys are later ones: left out where each is neutral
LATER_GROUPS = tuple(f.name for f in dataclasses.fields(Config) if is_later(f.type))
LEAVES_OUT = {"on_nonfinite": "skip"}  # of a run's science, once it left a step out
SCIENCE_VERSION = 2  # raised when the code's meaning of a value changes, so that old results are not taken for new ones


def science(config: Config) -> Settings:
    """Return everything that changes the result of pretraining, as plain values; settings that mean the same are equal.

    `trainer.on_nonfinite=skip` is one once a step was left out: the folder of that run is there.
    """
    values = _science(config)
    may_skip = isinstance(config.trainer, TrainerConfig) and config.trainer.on_nonfinite == "skip"
    return values | LEAVES_OUT if may_skip and without_steps(config).is_dir() else values


def without_steps(config: Config) -> Path:
    """Return the folder of the run of a config from which steps are left out (`trainer.on_nonfinite=skip`).

    It is made when the first such step comes up: up to there the run is the same as one that would stop.
    """
    return _folder(config, "pretrain", _science(config) | LEAVES_OUT)


def folders_of_skipping(config: Config) -> tuple[Path, Path]:
    """Return the folder of the run of a config while all of its steps were taken, and the one from the first left out on."""
    return _folder(config, "pretrain", _science(config)), without_steps(config)


def _science(config: Config) -> Settings:
    values: Settings = {key: settings(getattr(config, key)) for key in SCIENCE}
    values |= {group: found for group in LATER_GROUPS if (found := settings(getattr(config, group)))}
    values |= {"seed": config.seed, "nsp": nsp_is_on(config), **_pair_settings(config)}
    values["data_mix"]["sources"] = data_mix.science(config.data_mix)
    if path := values["tokenizer"].pop("path"):
        from roberta_lab.data import tokenizer_files

        values["tokenizer"] = {"kind": config.tokenizer.kind, "published": tokenizer_files.fingerprint(path)}
    values["masking"] = mask_settings(config.masking)
    if format_of(config.input_format).matched_to is None:
        values["input_format"].pop("matched_to", None)
    return {"version": SCIENCE_VERSION, **values}


def mask_settings(config: MaskingConfig) -> Settings:
    """Return what of a masking config decides masks: no key that its rules do not read."""
    values, rule = settings(config), rule_of(config)
    if config.name != "static":
        del values["num_patterns"]
    values["whole_words"] = rule == "whole_words"  # however it was said
    if config.selection == "fairseq" and rule != "uniform":
        values["special_tokens"] = "words"  # of their own; older code took one for the beginning of the word behind it
    if values["whole_words"]:
        values.pop("positions", None)
    unread = {key for positions in POSITIONS.values() for key in positions.reads} - {*positions_of(config).reads}
    return {key: value for key, value in values.items() if key not in unread}


def _pair_settings(config: Config) -> Settings:
    """Return what of `nsp` counts beside whether it is on: how pairs are made, and the weight of a loss that is there."""
    values = settings(config.nsp)
    pairs = format_of(config.input_format).pairs
    is_read = {"pairs": pairs, "copies": pairs, "weight": nsp_is_on(config)}
    return {f"nsp_{key}": values[key] for key in is_read if key in values and is_read[key]}


def finetune_science(config: Config) -> Settings:
    """Return everything that changes the result of finetuning: the starting weights, the task, and its own settings.

    The content of the task's files counts, not their place or names; so does the metric, which chooses the best epoch. The
    column in which the score is shown does not. Raises ConfigError for a task that is scored without finetuning.
    """
    if zero_shot.is_yardstick(config.task.family):
        raise ConfigError(f"task={config.task.name} is scored without finetuning: roberta-lab evaluate.")
    task, tune = settings(config.task), settings(config.finetune)
    for name in ("stands_for", "caution", "path"):
        del task[name]
    task["content"] = fingerprints.hash_task_files(config.task)
    if _own_stride(config) is None:
        del task["stride"]
    if config.task.path:
        task["files"] = {}  # which are in the content, by split
    if config.task.hub is None or not config.task.hub.revision:  # names a dataset that is not read
        del task["hub"]
    for name in (*ASKED, *UNREAD):
        tune.pop(name, None)
    found: Settings = {"pretrained": start_science(config), "task": task, "finetune": tune}
    if config.finetune.init_from:
        found["encoder"] = digest(finetune_science(encoder_config(config)))
    return found


def evaluate_science(config: Config) -> Settings:
    """Return everything that changes the score of a model as it is: its weights, the task's content, and how it is scored.

    Raises ConfigError for a task that must be finetuned.
    """
    task = config.task
    if not zero_shot.is_yardstick(task.family):
        allowed = f"Allowed are tasks of {', '.join(zero_shot.YARDSTICKS)}"
        raise ConfigError(f"task={task.name} is scored after finetuning: roberta-lab finetune. {allowed}.")
    start = start_science(config)
    if not starts_from_run(config):
        start = {name: value for name, value in start.items() if name not in ("optimizer", "precision")}
    if not starts_from_run(config) and not config.pretrained.path:
        start["seed"] = config.seed  # of random weights
    values = {key: value for key, value in settings(task).items() if key in ("name", "family", "metric", "num_dev")}
    values["content"] = fingerprints.hash_task_files(task)
    reads = zero_shot.get(task.family).reads
    scoring = {key: value for key, value in settings(config.evaluate).items() if key in reads}
    return {"evaluated": start, "task": values, "evaluate": scoring}


def _own_stride(config: Config) -> int | None:
    """Return `task.stride` where it may make other windows than the usual stride does; else None."""
    task, length = config.task, min(config.task.max_length, config.input_format.max_length)
    if not HEADS[task.head].reads_stride or (task.stride == usual_stride(length) and not config.pretrained.path):
        return None  # how long the inputs of a folder's model may be is in the folder
    return task.stride


def start_science(config: Config) -> Settings:
    """Return the part of the run id that describes the starting weights, and what else finetuning takes from pretraining.

    For a run that is all of its science, for a folder its content, for random weights the model, its tokenizer and inputs.
    """
    if starts_from_run(config):
        return science(config)
    values = science(config)
    optimizer = {name: values["optimizer"][name] for name in ("beta1", "eps")}
    found = {"version": SCIENCE_VERSION, "optimizer": optimizer, "precision": values["precision"]}
    if config.pretrained.path:
        found["folder"] = fingerprints.hash_model_folder(config.pretrained.path)
    else:
        found |= {"start": config.pretrained.start, **{k: values[k] for k in ("model", "tokenizer", "input_format")}}
    if needs_corpus(config):
        found["data_mix"] = values["data_mix"]
    return found


def starts_from_run(config: Config) -> bool:
    """Return whether a task's run starts from the pretraining run of the same settings, not from a folder or random weights."""
    return config.pretrained.start == "run" and not config.pretrained.path


def needs_corpus(config: Config) -> bool:
    """Return whether a task's run reads anything that is prepared from the data mix: items, or a tokenizer."""
    own_tokenizer = not config.pretrained.path and not (config.pretrained.start == "none" and config.tokenizer.path)
    family = config.task.family
    return own_tokenizer or (not zero_shot.is_yardstick(family) and families.get(family).files is None)


def reads_mix(config: Config) -> bool:
    """Return whether a task's run needs the prepared data mix, if only for its fingerprints."""
    return needs_corpus(config) or not config.pretrained.path


@dataclass(frozen=True)
class Kind:
    """A command that makes runs."""

    science: Callable[[Config], Settings]  # all that changes their results, which is hashed into the id
    has_task: bool = True  # scores a task, and starts from pretrained weights; else it makes them
    has_seed: bool = False  # trains on the task, with seeds of its own


KINDS = {
    "pretrain": Kind(science, has_task=False),
    "finetune": Kind(finetune_science, has_seed=True),
    "evaluate": Kind(evaluate_science),
}


def kind_of_task(family: str) -> str:
    """Return the command that scores tasks of a family."""
    return "evaluate" if zero_shot.is_yardstick(family) else "finetune"


def directory(config: Config, command: str) -> Path:
    """Return the folder of the run of a config, for a kind of run. Raises ConfigError for a task of another kind."""
    return _folder(config, command, KINDS[command].science(config))


def _folder(config: Config, command: str, values: Settings) -> Path:
    return Path(config.paths.outputs) / command / digest(values)
