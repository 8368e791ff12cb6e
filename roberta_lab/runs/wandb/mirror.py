"""The copy of a run in Weights & Biases (W&B): its names, settings, metrics, result, and the runs that it started from.

`metrics.jsonl` holds all metrics already, so a failure of W&B must not stop the run or delay it for long. It drops the copy
with one line on the console. `wandb sync` sends later what is still in the run's `wandb/` folder.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.masking import rule_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config, one_line
from roberta_lab.training.rows import Row

if TYPE_CHECKING:
    import wandb

CONNECT_SECONDS, INIT_SECONDS, FINISH_SECONDS = 3.0, 30.0, 30.0
GRACE_SECONDS = 3.0  # added to W&B's own timeouts; also the time for W&B's process to end
LONGEST_TAG = 64  # characters; W&B refuses longer tags


def mode(config: Config) -> str:
    """Return online, offline or off. `logger.wandb=auto` follows WANDB_MODE, then whether WANDB_API_KEY is set."""
    if config.logger.wandb != "auto":
        return config.logger.wandb
    if found := os.environ.get("WANDB_MODE"):
        return {"disabled": "off"}.get(found, found)
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def is_reachable(url: str, seconds: float = CONNECT_SECONDS) -> bool:
    """Return whether a server accepts connections. `wandb.init` would wait for a missing one until its timeout."""
    parts = urlsplit(url)
    address = parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)
    # the timeout of the socket does not cover the look-up of the host name
    return run_within(seconds, lambda: socket.create_connection(address, seconds).close()) is None


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


def run_settings(config: Config, kind: str, run_id: str, science: Mapping[str, object]) -> dict[str, object]:
    """Return what W&B shows as the run's config: the axis values, the settings of finetuning, and all others nested."""
    found = axis_values(config)
    if kind != "pretrain":
        found |= {"task": config.task.name, "stands_for": config.task.stands_for or None}
    if kind == "finetune":
        tune = config.finetune
        found |= {"finetune_seed": tune.seed, "finetune_batch": tune.batch, "finetune_lr": tune.lr}
    found["run_id"] = run_id
    circumstance = {"trainer": asdict(config.trainer), "paths": asdict(config.paths)}
    return {**found, "science": science, "circumstance": circumstance}


def tags(config: Config, kind: str) -> list[str]:
    """Return the tags that filter a list of runs: `masking=static`, `input_format=segment_pair`, ..."""
    found = axis_values(config)
    names = ["scale", "model", "data_mix", "input_format", "masking", "nsp", "precision"]
    pairs = [f"{name}={found[name]}" for name in names]
    pairs += [f"task={config.task.name}"] if kind != "pretrain" else []
    return [tag[:LONGEST_TAG] for tag in pairs]


def scalars(result: Mapping[str, object]) -> dict[str, int | float | str]:
    """Return the numbers and words of a result, which W&B's panels can show; a bool (`at_chance`) becomes 0 or 1."""
    plain = {k: int(v) if isinstance(v, bool) else v for k, v in result.items()}
    return {k: v for k, v in plain.items() if isinstance(v, int | float | str)}


def run_within(seconds: float, work: Callable[[], object]) -> BaseException | None:
    """Call `work` in a thread: some calls have no timeout. Return its error, TimeoutError when late, or None."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # no error may end the run, which does not need W&B
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    return TimeoutError("it does not answer") if thread.is_alive() else next(iter(errors), None)


def give_up() -> None:
    """Disconnect from W&B's own process, which may be dead or waiting, so that the next job starts a new one."""
    import wandb

    run_within(GRACE_SECONDS, lambda: wandb.teardown(1))


class Mirror:
    """The copy of one run in W&B. Its methods raise no error and wait for a limited time."""

    def __init__(self, run: wandb.Run, directory: Path) -> None:
        self.run, self.directory = run, directory
        self.failed = False

    def log(self, row: Row) -> None:
        """Send a row to W&B's own process: at once, because a thread for each row would be slower."""
        if self.failed:
            return
        try:
            self.run.log(dict(row))
        except Exception as error:
            self._drop(error)

    def log_output(self, kind: str, directory: Path) -> None:
        """Record that this run made the run folder `directory`."""
        self.attempt(lambda: self.run.log_artifact(artifact(kind, directory)))

    def log_input(self, kind: str, directory: Path) -> None:
        """Record that this run was made from the run in `directory`."""

        def use() -> None:
            # Private: the public `use_artifact` refuses offline runs and waits for the server. Inside, it makes this
            # call, which also works offline; the server recognizes equal content as the same artifact.
            self.run._log_artifact(artifact(kind, directory), aliases=[], is_user_created=True, use_after_commit=True)

        self.attempt(use)

    def summarize(self, result: Mapping[str, object]) -> None:
        """Show the numbers and words of a result as the run's summary."""
        self.attempt(lambda: self.run.summary.update(scalars(result)))

    def finish(self, succeeded: bool) -> None:
        """End the run in W&B, so that the next job starts its own; after a failure of W&B, give up its process too."""
        self.attempt(lambda: self.run.finish(exit_code=0 if succeeded else 1))
        if self.failed:
            give_up()

    def attempt(self, work: Callable[[], object]) -> None:
        """Call `work` within the time limit. The first error is printed and ends the logging of rows."""
        if error := run_within(FINISH_SECONDS + GRACE_SECONDS, work):
            self._drop(error)

    def _drop(self, error: BaseException) -> None:
        if self.failed:
            return
        self.failed = True
        where = f"metrics.jsonl has everything, {self.directory / 'wandb'} what W&B knew"
        print(f"W&B failed ({one_line(error)}); {where}.", file=sys.stderr)


def artifact(kind: str, directory: Path) -> wandb.Artifact:
    """Return a run as a node of W&B's lineage graph. Only the run's config is uploaded, no result and no weights."""
    import wandb

    node = wandb.Artifact(f"{kind}-{directory.name}", f"{kind}-run", metadata={"directory": str(directory)})
    node.add_file(str(directory / "config.yaml"), policy="immutable", skip_cache=True)
    return node


def start(config: Config, directory: Path, kind: str, name: str, science: Mapping[str, object]) -> Mirror | None:
    """Start the mirror of a run. Return None when W&B is off or does not start."""
    run_id = directory.name
    settings = run_settings(config, kind, run_id, science)
    mirror = start_run(config, directory, kind, run_id, name, settings, tags(config, kind))
    if mirror is not None:
        axis = "tokens_seen" if kind == "pretrain" else "step"
        mirror.run.define_metric(axis)
        mirror.run.define_metric("*", step_metric=axis)
    return mirror


def start_run(
    config: Config, directory: Path, kind: str, run_id: str, name: str, settings: dict[str, object], tags: list[str]
) -> Mirror | None:
    """Start a W&B run of any kind, in the group of its sweep. Return None when W&B is off or does not start."""
    chosen = mode(config)
    if chosen == "off":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    url = wandb.setup().settings.base_url  # from the environment, from `wandb login`, or the public server
    if chosen == "online" and not is_reachable(url):
        later = f"offline, `wandb sync {directory / 'wandb'}/offline-*` later"
        print(f"W&B: {url} does not answer; {later}.", file=sys.stderr)
        chosen = "offline"
    sweep = config.sweep
    try:
        run = wandb.init(
            project=config.logger.project,
            id=run_id,
            name=name,
            group=sweep.name if sweep is not None else None,
            job_type=kind,
            notes=sweep.question if sweep is not None else None,
            tags=tags,
            config=settings,
            dir=directory,
            mode=chosen,  # type: ignore[arg-type]  # a str; wandb checks it, and refuses other modes
            resume="allow" if chosen == "online" else None,
            reinit="finish_previous",
            settings=_client_settings(),
        )
    except Exception as error:  # a dead process of W&B causes errors of many types
        print(f"W&B did not start ({one_line(error)}); metrics.jsonl has everything.", file=sys.stderr)
        give_up()
        return None
    return Mirror(run, directory)


def _client_settings() -> wandb.Settings:
    """Return settings that keep W&B silent and its waiting short, and that send no code and no machine statistics."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        x_disable_stats=True,
        x_disable_meta=True,
        disable_git=True,
        save_code=False,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
