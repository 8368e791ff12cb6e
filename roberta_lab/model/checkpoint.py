"""Checkpoints that are whole or absent: written beside the target, synced, sealed with a SHA-256, renamed, verified on load.

Lightning's own saving costs the earlier checkpoint when the disk is full; here the earlier one stays until the new one is in place.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from roberta_lab.config import ConfigError
from roberta_lab.data.storage import replacing

_MAGIC = b"roberta_lab sha256 "
_SEAL = len(_MAGIC) + 32


class CorruptCheckpoint(RuntimeError):
    """The file's bytes are not those that were saved."""


def save(value: dict[str, Any], path: Path) -> None:
    """Atomically; a failure on the way leaves nothing behind and everything before it in place."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    body = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True) as file:
        file.write(body)
        file.write(_MAGIC + hashlib.sha256(body).digest())


def load(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Raises CorruptCheckpoint when the seal does not fit; never runs code from the file (`weights_only=True`)."""
    data = path.read_bytes()
    body, seal = data[:-_SEAL], data[-_SEAL:]
    if seal != _MAGIC + hashlib.sha256(body).digest():
        raise CorruptCheckpoint(f"{path}: the SHA-256 at its end does not fit its bytes; it was cut short or changed")
    return torch.load(io.BytesIO(body), map_location=map_location, weights_only=True)


def newest(directory: Path) -> Path | None:
    """The newest checkpoint `step-*.ckpt` whose seal fits, or None."""
    found = _newest(directory)
    return found[0] if found else None


def final(run: Path, steps: int) -> dict[str, Any]:
    """The last checkpoint of a complete run in its folder. Raises ConfigError if it is not there or not whole."""
    found = _newest(run / "checkpoints")
    if found is None or step_of(found[0]) != steps:
        raise ConfigError(f"{run} has no whole final checkpoint; delete its result.json and pretrain it again.")
    return found[1]


def _newest(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    for path in sorted(directory.glob("step-*.ckpt"), reverse=True):
        try:
            return path, load(path)
        except CorruptCheckpoint as error:
            print(f"{error}; taking the one before it")
    return None


def step_of(path: Path) -> int:
    """The optimizer steps that a checkpoint has behind it, from its name."""
    return int(path.stem.removeprefix("step-"))


def remove_unfinished(directory: Path) -> None:
    """Deletes what a killed process left half-written; only for who has claimed the run."""
    for path in directory.glob(".step-*"):
        path.unlink()


def keep_newest(directory: Path, number: int = 2) -> None:
    """Deletes all but the newest checkpoints: two, so that a damaged one does not cost the run."""
    for path in sorted(directory.glob("step-*.ckpt"))[:-number]:
        path.unlink()


def recount(loops: dict[str, Any], consumed: int) -> None:
    """Lightning counts micro-batches; a checkpoint of another cut of the batch is told how many of these ones it is.

    Args:
        loops: Lightning's state of the fit loop, changed in place.
        consumed: micro-batches of one rank that the checkpoint has behind it.
    """
    for counts in (loops["epoch_loop.batch_progress"][key] for key in ("total", "current")):
        behind = consumed - counts["ready"]
        counts.update({name: count + behind for name, count in counts.items()})


class SealedCheckpointIO(CheckpointIO):
    """Lightning's door to `save` and `load`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return load(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
