"""A run: its identity (a hash of its science), its directory, the claim on that directory, its provenance and its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from roberta_lab import attempts, data_mix, fingerprints, tasks
from roberta_lab.command_line import typed
from roberta_lab.composition import encoder_config, nsp_is_on, usual_stride
from roberta_lab.config import Config, ConfigError, RunInUse
from roberta_lab.tasks import submission

SCIENCE = ("seed", "model", "tokenizer", "data_mix", "input_format", "masking", "batch_size", "optimizer", "precision")
KINDS = ("pretrain", "finetune")  # commands that make a run
MODEL, WEIGHTS = "model", "finetuned.ckpt"  # in the directory of a finetuning run, with finetune.save_model
ASKED = ("save_model", "submission")  # of `finetune`: files beside the result, no part of the science
SCIENCE_VERSION = 1  # raised when the code's meaning of a value changes, so that old results are not taken for new ones


def science(config: Config) -> dict[str, Any]:
    """Everything that changes the result of pretraining, as plain values: settings that mean the same are the same."""
    values: dict[str, Any] = {key: getattr(config, key) for key in SCIENCE}
    values = {
        k: dataclasses.asdict(v) if dataclasses.is_dataclass(v) and not isinstance(v, type) else v
        for k, v in values.items()
    }
    values["nsp"] = nsp_is_on(config)
    values["data_mix"]["sources"] = data_mix.science(config.data_mix)
    if path := values["tokenizer"].pop("path"):
        from roberta_lab import tokenizer_files

        values["tokenizer"] = {"kind": config.tokenizer.kind, "published": tokenizer_files.fingerprint(path)}
    if config.masking.name != "static":
        del values["masking"]["num_patterns"]
    return {"version": SCIENCE_VERSION, **values}


def finetune_science(config: Config) -> dict[str, Any]:
    """The science of what it starts from, with that of `init_from`'s run, and of the task; in whose column it is shown, where
    its files lie and their names do not count, but their content and the metric do: it chooses the best epoch."""
    task, tune = dataclasses.asdict(config.task), dataclasses.asdict(config.finetune)
    for name in ("stands_for", "caution", "path"):
        del task[name]
    task["content"] = fingerprints.of_task(config.task)
    if _own_stride(config) is None:
        del task["stride"]
    if config.task.path:
        task["files"] = {}  # which are in the content, by split
    if config.task.hub is None or not config.task.hub.revision:  # names a dataset that is not read
        del task["hub"]
    for name in ASKED:
        del tune[name]
    found = {"pretrained": start_science(config), "task": task, "finetune": tune}
    if config.finetune.init_from:
        found["encoder"] = identity(finetune_science(encoder_config(config)))
    return found


def _own_stride(config: Config) -> int | None:
    """`task.stride` where it may make other windows than the usual one."""
    task, length = config.task, min(config.task.max_length, config.input_format.max_length)
    if task.head != "span" or (task.stride == usual_stride(length) and not config.pretrained.path):
        return None  # how long the inputs of a folder's model may be is in the folder
    return task.stride


def start_science(config: Config) -> dict[str, Any]:
    """Of the weights that finetuning starts from, and of what it takes from the pretraining config beside them.

    A run: all of its science. A folder: its content. Random weights: the model, its tokenizer and its inputs.
    """
    if starts_from_run(config):
        return science(config)
    values = science(config)
    optimizer = {name: values["optimizer"][name] for name in ("beta1", "eps")}
    found = {"version": SCIENCE_VERSION, "optimizer": optimizer, "precision": values["precision"]}
    if config.pretrained.path:
        found["folder"] = fingerprints.of_model(config.pretrained.path)
    else:
        found |= {"start": config.pretrained.start, **{k: values[k] for k in ("model", "tokenizer", "input_format")}}
    if needs_corpus(config):
        found["data_mix"] = values["data_mix"]
    return found


def starts_from_run(config: Config) -> bool:
    """Whether finetuning starts from the pretraining run of the same settings; else from a folder or random weights."""
    return config.pretrained.start == "run" and not config.pretrained.path


def needs_corpus(config: Config) -> bool:
    """Whether finetuning reads anything that is prepared from the data mix: items, a tokenizer, or a run's own data."""
    own_tokenizer = not config.pretrained.path and not (config.pretrained.start == "none" and config.tokenizer.path)
    return config.task.family in tasks.READ_FROM_CORPUS or own_tokenizer


def reads_mix(config: Config) -> bool:
    """Whether finetuning asks for the prepared data mix, be it for its fingerprints alone."""
    return needs_corpus(config) or not config.pretrained.path


def identity(values: dict[str, Any]) -> str:
    """Twelve hex digits of the SHA-256 of the values; equal values give equal ids, on every machine."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def directory(config: Config, command: str) -> Path:
    """Where the run of this config lies, for `pretrain` and `finetune`."""
    values = finetune_science(config) if command == "finetune" else science(config)
    return Path(config.paths.outputs) / command / identity(values)


def is_complete(path: Path) -> bool:
    """`result.json` is written last and atomically, so a run that has it has everything."""
    return (path / "result.json").is_file()


def complete_line(label: str, path: Path) -> str:
    """That a run is not made again, and whether the code has changed since: it is no part of an id."""
    since = attempts.code_since(path)
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
    return (path / WEIGHTS).is_file() and (path / MODEL).is_dir()


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
        write_json(path / "owner.json", {"pid": os.getpid(), "host": socket.gethostname(), "since": attempts.now()})
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


def write_json(path: Path, value: Any) -> None:
    """Atomically: whoever reads sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


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
        write_json(file, {"data": data, "attempts": [*earlier["attempts"], attempts.begun(command)]})
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


def finish(path: Path, result: dict[str, Any], seconds: float) -> None:
    """Notes the end of the attempt and writes `result.json`, last and atomically: from here on the run is complete.

    Its `seconds` are those of all attempts but killed ones, which could not note theirs.
    """
    all_of_it = _end_attempt(path, seconds)
    write_json(path / "result.json", {**result, "seconds": sum(a.get("seconds", 0.0) for a in all_of_it)})


def _end_attempt(path: Path, seconds: float) -> list[dict[str, Any]]:
    provenance = json.loads((path / "provenance.json").read_text())
    provenance["attempts"][-1] |= {"end": attempts.now(), "seconds": seconds}
    write_json(path / "provenance.json", provenance)
    return provenance["attempts"]
