"""Content of files as identity: the same bytes mean the same run, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from roberta_lab import tokenizer_files
from roberta_lab.config import ConfigError, TaskConfig

_DIGITS = 16


def of_files(files: Iterable[Path], folder: Path) -> str:
    """Hex digits of the files' content and of their places in the folder."""
    found = hashlib.sha256()
    for file in sorted(files):
        status = file.stat()
        content = _of_file(str(file), status.st_size, status.st_mtime_ns)
        found.update(f"{file.relative_to(folder).as_posix()}\0{content}\n".encode())
    return found.hexdigest()[:_DIGITS]


@lru_cache(maxsize=1 << 16)  # a sweep asks for each run, and again when it is made
def _of_file(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_model(path: str) -> dict[str, str]:
    """Of a Hugging Face folder: its config and weights, its tokenizer. Raises ConfigError when it lacks one of them."""
    folder = Path(path).expanduser()
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise ConfigError(f"pretrained.path={path}: allowed is a folder with config.json and model.safetensors.")
    files = [folder / "config.json", *weights, *folder.glob("model.safetensors.index.json")]
    try:
        return {"model": of_files(files, folder), "tokenizer": tokenizer_files.fingerprint(path)}
    except ConfigError as error:
        raise ConfigError(str(error).replace("tokenizer.path=", "pretrained.path=")) from None


def of_task(task: TaskConfig) -> str:
    """Of the files that a task is read from: those that `task.files` names, and all of its folder. Empty without a path.

    Raises: ConfigError when the folder is not there.
    """
    if not task.path:
        return ""
    path = Path(task.path).expanduser()
    if not path.exists():
        raise ConfigError(f"task.path={task.path}: there is no such folder.")
    if path.is_file():
        return of_files([path], path.parent)
    names = {_plain(task.name), _plain(task.family)}
    own = sorted(folder for folder in path.iterdir() if folder.is_dir() and _plain(folder.name) in names)
    folder = own[0] if own else path
    return of_files([f for f in folder.rglob("*") if f.is_file() and not f.name.startswith(".")], folder)


def _plain(name: str) -> str:
    """`SST-2` -> `sst2`: how folders and tasks are called."""
    return "".join(c for c in name.lower() if c.isalnum())
