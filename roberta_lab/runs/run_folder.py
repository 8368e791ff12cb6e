"""A run: its identity (a hash of its science), its directory, the claim on that directory, its provenance and its result."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from roberta_lab.config import Config, ConfigError, RunInUse
from roberta_lab.data.storage import write_json
from roberta_lab.runs import provenance, results
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.identity import directory
from roberta_lab.runs.results import RunResult, is_complete
from roberta_lab.tasks import submission
from roberta_lab.tasks.result import MODEL_FOLDER, WEIGHTS_FILE


def complete_line(label: str, path: Path) -> str:
    """That a run is not made again, and whether the code has changed since: it is no part of an id."""
    since = provenance.code_since(path)
    return f"{label}: complete, {path}" + (f" (by {since}; delete the folder to make it again)" if since else "")


def is_finetuned(config: Config, path: Path) -> bool:
    """A finetuning run with everything that is asked for and that only training gives."""
    tune, has_files = config.finetune, (path / submission.FOLDER).is_dir()
    predicted = not tune.submission or has_files or submission.is_predicted(path, config.task)
    return is_complete(path) and (not tune.save_model or has_model(path)) and predicted


def has_all(config: Config, path: Path) -> bool:
    """A finetuning run with everything that is asked for, the files of a submission too, which its predictions give."""
    return is_finetuned(config, path) and (not config.finetune.submission or (path / submission.FOLDER).is_dir())


def has_model(path: Path) -> bool:
    """Whether a finetuning run kept its weights: sealed, and as a folder that transformers loads."""
    return (path / WEIGHTS_FILE).is_file() and (path / MODEL_FOLDER).is_dir()


def pretrained(config: Config, overrides: list[str], own: tuple[str, ...]) -> Path:
    """The complete pretraining run that the overrides address.

    Args:
        own: how overrides begin that are the command's and not the run's.

    Raises: ConfigError with the command that makes it.
    """
    path = directory(config, "pretrain")
    if not is_complete(path):
        kept = (o for o in overrides if not o.lstrip("+~").startswith(own))
        raise ConfigError(f"the pretrained run {path} is not complete: {typed('pretrain', kept)}")
    return path


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Holds the run's directory for this process. The lock goes with the process, so a dead one's directory is free.

    Raises: RunInUse, with who holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunInUse(
            f"{path} is in use by {_owner(path)}; wait for it or stop it, then type the same command again."
        ) from None
    try:
        write_json(path / "owner.json", {"pid": os.getpid(), "host": socket.gethostname(), "since": provenance.now()})
        yield
    finally:
        (path / "owner.json").unlink(missing_ok=True)
        lock.release()


def _owner(path: Path) -> str:
    try:
        owner = json.loads((path / "owner.json").read_text())
    except (OSError, ValueError):
        return "another process"
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"


def label(config: Config) -> str:
    """What a run is called on the console and in W&B: its row in the sweep, or what distinguishes its inputs."""
    row = config.sweep.row if config.sweep is not None else None
    name = row or f"{config.input_format.name} {config.masking.name}"
    return f"{name} seed {config.seed}"


@contextmanager
def opened(
    path: Path,
    config: Config,
    overrides: list[str],
    data: dict[str, str],
    has_all: Callable[[], bool] = lambda: True,
) -> Iterator[bool]:
    """The claimed directory with its config, overrides and provenance; a run goes on only with the data it started with.

    Args:
        has_all: whether a complete run has what is asked for now. If not, it is made again, and whoever makes it removes
            `result.json` once everything is ready: until then nothing is lost.

    Yields False, with nothing touched, when another process completed the run before this one had the claim.

    Raises: RunInUse; ConfigError when the data are others than before.
    """
    with claim(path):
        if is_complete(path) and has_all():
            yield False
            return
        check_data(path, data)
        file, command = path / "provenance.json", ["roberta-lab", path.parent.name, *overrides]
        earlier = json.loads(file.read_text()) if file.is_file() else {"attempts": []}
        (path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
        (path / "overrides.yaml").write_text(OmegaConf.to_yaml(overrides))
        write_json(file, {"data": data, "attempts": [*earlier["attempts"], provenance.begun(command)]})
        start = time.monotonic()
        try:
            yield True
        finally:
            if "end" not in json.loads(file.read_text())["attempts"][-1]:
                _end_attempt(path, time.monotonic() - start)


def check_data(path: Path, data: dict[str, str]) -> None:
    """Raises ConfigError when the run in `path` was made of other data: its token ids would mean other text."""
    file = path / "provenance.json"
    earlier = json.loads(file.read_text())["data"] if file.is_file() else data
    if earlier != data:
        raise ConfigError(
            f"{path} was started on other data ({earlier}) than is prepared now ({data}); move it away to start anew."
        )


def finish(path: Path, result: RunResult) -> None:
    """Note the end of the attempt, which took `result.seconds`, and write the result: from here on the run is complete.

    The seconds in `result.json` are those of all attempts but killed ones, which could not note theirs.
    """
    attempts = _end_attempt(path, result.seconds)
    results.write(path, replace(result, seconds=sum(attempt.get("seconds", 0.0) for attempt in attempts)))


def _end_attempt(path: Path, seconds: float) -> list[dict[str, Any]]:
    found = json.loads((path / "provenance.json").read_text())
    found["attempts"][-1] |= {"end": provenance.now(), "seconds": seconds}
    write_json(path / "provenance.json", found)
    return found["attempts"]
