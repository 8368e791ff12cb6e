"""Hashes of files that are part of a run's id: the same bytes mean the same run, wherever they lie."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.config.paths import user_path
from roberta_lab.data import tokenizer_files
from roberta_lab.data.foreign import expect_regular
from roberta_lab.tasks import families, zero_shot


def _hash_by_name(files: Mapping[str, Path]) -> str:
    """Return hex digits for the content of files and their names."""
    found = hashlib.sha256()
    for name, file in sorted(files.items()):
        expect_regular(file)
        status = file.stat()
        found.update(f"{name}\0{_hash_file(str(file), status.st_size, status.st_mtime_ns)}\n".encode())
    return found.hexdigest()[:16]


@lru_cache(maxsize=1 << 16)  # a sweep asks for each run, and again when it is made
def _hash_file(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_model_folder(path: str) -> dict[str, str]:
    """Return the hashes of a Hugging Face folder: of config and weights, and of the tokenizer. Raises ConfigError without."""
    folder = user_path(path)
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise ConfigError(f"pretrained.path={path}: allowed is a folder with config.json and model.safetensors.")
    files = [folder / "config.json", *weights, *folder.glob("model.safetensors.index.json")]
    try:
        return {
            "model": _hash_by_name({file.name: file for file in files}),
            "tokenizer": tokenizer_files.fingerprint(path),
        }
    except ConfigError as error:
        raise ConfigError(str(error).replace("tokenizer.path=", "pretrained.path=")) from None


def hash_task_files(task: TaskConfig) -> str:
    """Return the hash of a task's files, each under its split, so that file names and folder do not change it.

    It is empty for a task without files, and `incomplete` when needed files are missing: reading the task then says which.
    Raises ConfigError when the folder is not there.
    """
    files_of = (zero_shot if zero_shot.is_yardstick(task.family) else families).get(task.family).files
    if files_of is None or not task.path:
        return ""
    if not user_path(task.path).is_dir():
        raise ConfigError(f"task.path={task.path}: there is no such folder.")
    try:
        files = files_of(task)
    except ConfigError:
        return "incomplete"
    return _hash_by_name({name: file for name, file in files.items() if file.is_file()})
