"""A run's mirror in W&B: its names, what is shown beside it, its axis, and what it was made from.

`metrics.jsonl` has everything already, so nothing that happens to W&B may cost the run or make it wait for long: a server that
does not answer is found out before, a mirror that fails is dropped with one line, and each end waits for a limited time.
What was not sent lies in the run's `wandb/` folder, for `wandb sync`.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.config import Config
from roberta_lab.training.rows import Row

Values = dict[str, Any]  # name -> plain value, as W&B takes it
CONNECT_SECONDS, INIT_SECONDS, FINISH_SECONDS = 3.0, 30.0, 30.0
GRACE_SECONDS = 3.0  # beyond W&B's own timeouts; and for its process to end
LONGEST_TAG = 64  # W&B refuses longer ones


def mode(config: Config) -> str:
    """online | offline | off: what `logger.wandb=auto` means here."""
    if config.logger.wandb != "auto":
        return config.logger.wandb
    if found := os.environ.get("WANDB_MODE"):
        return {"disabled": "off"}.get(found, found)
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def answers(url: str, seconds: float = CONNECT_SECONDS) -> bool:
    """Whether anything listens at a server's address. `wandb.init` would find out only after its whole timeout."""
    parts = urlsplit(url)
    found = threading.Event()

    def connect() -> None:  # the look-up of a name has no timeout of its own
        try:
            port = parts.port or (80 if parts.scheme == "http" else 443)
            socket.create_connection((parts.hostname, port), seconds).close()
            found.set()
        except OSError:
            pass

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return found.is_set()


def axes(config: Config) -> Values:
    """What runs differ in, one plain value each, so that a panel of parallel coordinates shows them as they are."""
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
        "mask_prob": config.masking.mask_prob,
        "num_patterns": config.masking.num_patterns if config.masking.name == "static" else None,
        "nsp": int(nsp_is_on(config)),
        "sequences": batch.sequences,
        "steps": batch.steps,
        "peak_lr": batch.peak_lr,
        "precision": config.precision.dtype,
    }


def settings_of(config: Config, kind: str, run_id: str, science: Values) -> Values:
    """The axes, a finetuning run's own ones, and beneath them the whole science and circumstance."""
    found = axes(config)
    if kind == "finetune":
        tune = config.finetune
        found |= {"task": config.task.name, "stands_for": config.task.stands_for or None}
        found |= {"finetune_seed": tune.seed, "finetune_batch": tune.batch, "finetune_lr": tune.lr}
    found["run_id"] = run_id
    circumstance = {"trainer": asdict(config.trainer), "paths": asdict(config.paths)}
    return {**found, "science": science, "circumstance": circumstance}


def tags(config: Config, kind: str) -> list[str]:
    """`masking=static`, `input_format=segment_pair`, ...: what a table of runs is filtered by."""
    found = axes(config)
    names = ["scale", "model", "data_mix", "input_format", "masking", "nsp", "precision"]
    said = [f"{name}={found[name]}" for name in names]
    said += [f"task={config.task.name}"] if kind == "finetune" else []
    return [tag[:LONGEST_TAG] for tag in said]


def numbers(result: Values) -> Values:
    """What of a result is one number or word: W&B's panels take those; a mark (`at_chance`) is 0 or 1."""
    plain = {k: int(v) if isinstance(v, bool) else v for k, v in result.items()}
    return {k: v for k, v in plain.items() if isinstance(v, int | float | str)}


def within(seconds: float, work: Callable[[], Any]) -> BaseException | None:
    """Does the work in a thread, for some of W&B's calls wait for a server as long as it takes. Returns what was wrong."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # whatever it is, the run does not need W&B
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    return TimeoutError("it does not answer") if thread.is_alive() else next(iter(errors), None)


def give_up() -> None:
    """Leaves W&B's own process, which may be dead or wait for a server, to itself: neither the next job nor the end of this
    process has to do with it."""
    import wandb

    within(GRACE_SECONDS, lambda: wandb.teardown(1))


class Mirror:
    """One run in W&B. Its methods never raise and never wait for long."""

    def __init__(self, started: Any, directory: Path) -> None:
        self.run, self.directory = started, directory
        self.failed = False

    def log(self, row: Row) -> None:
        """Here and now: a row is handed to W&B's own process, which is quick; a thread for each would not be."""
        if self.failed:
            return
        try:
            self.run.log(dict(row))
        except Exception as error:
            self._drop(error)

    def made(self, kind: str, directory: Path) -> None:
        """Notes that this run made what lies in `directory`."""
        self.attempt(lambda: self.run.log_artifact(artifact(kind, directory)))

    def used(self, kind: str, directory: Path) -> None:
        """Notes that this run was made from another. `use_artifact` needs a server that answers at once; this is its own way
        for an artifact that is logged and used, it works offline too, and the server takes equal content as the same."""

        def use() -> None:
            self.run._log_artifact(artifact(kind, directory), aliases=[], is_user_created=True, use_after_commit=True)

        self.attempt(use)

    def summarize(self, result: Values) -> None:
        self.attempt(lambda: self.run.summary.update(numbers(result)))

    def finish(self, succeeded: bool) -> None:
        """Ends the run, also a failed one, so that the next job starts its own; after a failure with a new process of W&B's."""
        self.attempt(lambda: self.run.finish(exit_code=0 if succeeded else 1))
        if self.failed:
            give_up()

    def attempt(self, work: Callable[[], Any]) -> None:
        """Does something with the run; what goes wrong is said once."""
        if error := within(FINISH_SECONDS + GRACE_SECONDS, work):
            self._drop(error)

    def _drop(self, error: BaseException) -> None:
        if self.failed:
            return
        self.failed = True
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        where = f"metrics.jsonl has everything, {self.directory / 'wandb'} what W&B knew"
        print(f"W&B failed ({said}); {where}.", file=sys.stderr)


def artifact(kind: str, directory: Path) -> Any:
    """A run's folder as a node of the lineage. Its only content is the run's config: results and weights stay where they are."""
    import wandb

    made = wandb.Artifact(f"{kind}-{directory.name}", f"{kind}-run", metadata={"directory": str(directory)})
    made.add_file(str(directory / "config.yaml"), policy="immutable", skip_cache=True)
    return made


def start(config: Config, directory: Path, kind: str, name: str, science: Values) -> Mirror | None:
    """The mirror of a pretraining or finetuning run; None when W&B is off or does not start."""
    mirror = begin(
        config,
        directory,
        kind,
        directory.name,
        name,
        settings_of(config, kind, directory.name, science),
        tags(config, kind),
    )
    if mirror is not None:
        axis = "tokens_seen" if kind == "pretrain" else "step"
        mirror.run.define_metric(axis)
        mirror.run.define_metric("*", step_metric=axis)
    return mirror


def begin(
    config: Config, directory: Path, kind: str, run_id: str, name: str, settings: Values, tags: list[str]
) -> Mirror | None:
    """A run of any kind, in the group of its sweep."""
    chosen = mode(config)
    if chosen == "off":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    url = wandb.setup().settings.base_url  # of the environment, of `wandb login`, or the public one
    if chosen == "online" and not answers(url):
        print(
            f"W&B: {url} does not answer; offline, `wandb sync {directory / 'wandb'}/offline-*` later.", file=sys.stderr
        )
        chosen = "offline"
    try:
        started = wandb.init(
            project=config.logger.project,
            id=run_id,
            name=name,
            group=config.sweep.name if config.sweep is not None else None,
            job_type=kind,
            notes=config.sweep.question if config.sweep is not None else None,
            tags=tags,
            config=settings,
            dir=directory,
            mode=chosen,  # type: ignore[arg-type]
            resume="allow" if chosen == "online" else None,
            reinit="finish_previous",
            settings=_settings(wandb),
        )
    except Exception as error:  # of many kinds, when its process is dead
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"W&B did not start ({said}); metrics.jsonl has everything.", file=sys.stderr)
        give_up()
        return None
    return Mirror(started, directory)


def _settings(wandb: Any) -> Any:
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
