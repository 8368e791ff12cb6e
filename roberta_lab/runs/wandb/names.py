"""What a run is called and described by in W&B: its name, tags, keys of metrics, and config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.masking import rule_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, LoggerConfig
from roberta_lab.runs import provenance
from roberta_lab.runs.results import VALIDATION
from roberta_lab.training.rows import Row

LONGEST_TAG, LONGEST_NAME = 64, 128  # characters; W&B refuses longer tags
AXES = ("step", "tokens_seen")  # keys without a prefix: what curves are drawn over
OF_A_STEP = ("train/", "perf/")  # how the names of the figures of a single step begin, and of its speed
LOWER_IS_BETTER = ("loss", "ppl", "bits_per_byte", "bits_per_nonspace_byte")  # ends of names; of all others higher is
CHANCE = "_chance"  # end of the name of what a constant prediction scores


def run_name(label: str) -> str:
    """Return the name of a run in W&B: what the run is called on the console."""
    return label[:LONGEST_NAME]


def row_key(sweep: str) -> str:
    """Return the key of W&B's config that has the name of the run's row in a sweep: a run may be in several."""
    return f"row_{sweep.replace('.', '_')}"


def sweep_tag(sweep: str) -> str:
    """Return the tag of a sweep's runs."""
    return f"sweep={sweep}"[:LONGEST_TAG]


def project(logger: LoggerConfig) -> str:
    """Return the project: the config's, unless it is the default and WANDB_PROJECT says another."""
    is_default = logger.project == LoggerConfig().project
    return os.environ.get("WANDB_PROJECT") or logger.project if is_default else logger.project


def axis_values(config: Config) -> dict[str, object]:
    """Return the settings in which runs differ, by name: plain values, which W&B's parallel coordinates can show."""
    model, data, batch = config.model, config.data_mix, config.batch_size
    return {
        "scale": config.scale.name,
        "row": config.sweep.row if config.sweep is not None else None,
        "seed": config.seed,
        "model": f"L{model.layers} H{model.hidden}",
        "tokenizer": config.tokenizer.kind,
        "vocab_size": config.tokenizer.vocab_size,
        "data_mix": " + ".join(data.sources),
        "train_tokens": data.train_tokens,
        "input_format": config.input_format.name,
        "max_length": config.input_format.max_length,
        "masking": config.masking.name,
        "positions": rule_of(config.masking),
        "mask_prob": config.masking.mask_prob,
        "num_patterns": config.masking.num_patterns if config.masking.name == "static" else None,
        "nsp": int(nsp_is_on(config)),
        "pairs": config.nsp.pairs if format_of(config.input_format).pairs else None,
        "nsp_weight": config.nsp.weight if nsp_is_on(config) else None,
        "objective": config.objective.name,
        "optimizer": config.optimizer.name,
        "schedule": config.schedule.name,
        "sequences": batch.sequences,
        "steps": batch.steps,
        "peak_lr": batch.peak_lr,
        "precision": config.precision.dtype,
    }


def tags(config: Config, kind: str, resumed: bool = False) -> list[str]:
    """Return the tags that filter a list of runs: `masking=static`, `sweep=table1_masking`, ..., and the user's."""
    found = axis_values(config)
    names = ["scale", "model", "data_mix", "input_format", "masking", "nsp", "precision"]
    pairs = [f"{name}={found[name]}" for name in names]
    pairs += [f"task={config.task.name}"] if kind != "pretrain" else []
    pairs += [sweep_tag(config.sweep.name)] if config.sweep is not None else []
    pairs += ["resumed"] if resumed else []
    return with_own(config, pairs)


def with_own(config: Config, found: list[str]) -> list[str]:
    """Return tags with those of `logger.tags` and WANDB_TAGS, each once, none longer than W&B takes."""
    own = [*config.logger.tags, *os.environ.get("WANDB_TAGS", "").split(",")]
    return list(dict.fromkeys(tag[:LONGEST_TAG] for tag in [*found, *own] if tag))


def run_settings(config: Config, kind: str, run_id: str, science: Mapping[str, object]) -> dict[str, object]:
    """Return what W&B shows as the run's config: the axis values, the settings of finetuning, and all others nested."""
    found = axis_values(config)
    if config.sweep is not None:
        found[row_key(config.sweep.name)] = config.sweep.row
    if kind != "pretrain":
        found |= {"task": config.task.name, "stands_for": config.task.stands_for or None}
    if kind == "finetune":
        tune = config.finetune
        found |= {"finetune_seed": tune.seed, "finetune_batch": tune.batch, "finetune_lr": tune.lr}
    found["run_id"] = run_id
    circumstance = {"trainer": asdict(config.trainer), "paths": asdict(config.paths)}
    return {**found, "science": science, "circumstance": circumstance}


def attempt_settings(directory: Path, resumed_at: int) -> dict[str, object]:
    """Return how the newest attempt at a run was made: command, commit, host; and the steps at which attempts went on."""
    noted = provenance.read(directory)
    if noted is None:
        return {}
    attempt = noted["attempts"][-1]
    starts = {attempt["cut"]["start"] for attempt in noted["attempts"] if "cut" in attempt} | {max(0, resumed_at)}
    return {
        "command": " ".join(attempt["command"]),
        "commit": attempt["git"]["commit"],
        "uncommitted_changes": attempt["git"]["dirty"],
        "host": attempt["hardware"]["host"],
        "resumed_at": sorted(starts - {0}),
    }


@dataclass(frozen=True)
class Keys:
    """The names of a run's metrics in W&B: those of `metrics.jsonl` behind a prefix, so that kinds of runs do not mix."""

    prefix: str  # `pretrain/`, `finetune/mnli/`, `evaluate/`

    @classmethod
    def of(cls, config: Config, kind: str) -> Keys:
        """Return the keys of a kind of run."""
        return cls(f"finetune/{config.task.name}/" if kind == "finetune" else f"{kind}/")

    def name(self, metric: str) -> str:
        """Return a metric's name in W&B."""
        return metric if metric in AXES else self.prefix + metric

    def row(self, row: Row, chance: Mapping[str, float]) -> dict[str, float]:
        """Return a row as W&B gets it; beside each score what `chance` says that a constant prediction scores."""
        beside = {f"{name}{CHANCE}": chance[name] for name in row if name in chance}
        return {self.name(name): value for name, value in {**row, **beside}.items()}

    def summary(self, config: Config, kind: str, result: Mapping[str, object]) -> dict[str, int | float | str]:
        """Return the numbers and words of a result; a bool (`at_chance`) becomes 0 or 1.

        Held-out figures lose their `val/`: under that name rows have the best and the last, which W&B's sweeps cannot aim at.
        """
        prefix = f"{self.prefix}{config.task.name}/" if kind == "evaluate" else self.prefix
        plain = {k.removeprefix(VALIDATION): int(v) if isinstance(v, bool) else v for k, v in result.items()}
        if "majority" in plain:
            plain["chance"] = plain.pop("majority")
        return {prefix + k: v for k, v in plain.items() if isinstance(v, int | float | str)}


def best_of(metric: str) -> str:
    """Return which values of a metric W&B's summary keeps: the best and the last."""
    return "min,last" if metric.endswith(LOWER_IS_BETTER) else "max,last"
