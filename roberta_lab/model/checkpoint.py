"""Checkpoint files that are whole or absent, with a SHA-256 at their end that is verified when they are loaded.

Lightning's own saving loses the earlier checkpoint when the disk is full; here it stays until the new one is in place.
"""

import io
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor
from torch.serialization import MAP_LOCATION

from roberta_lab.config import ConfigError, Damaged
from roberta_lab.data.seals import SEAL_BYTES, with_seal, without_seal
from roberta_lab.data.storage import replacing

ROWS = "roberta_lab_rows"  # the key of the rows of metrics
Saved: TypeAlias = dict[str, Any]  # what torch.save writes: tensors, numbers and texts in nested dictionaries


def save(value: Saved, path: Path) -> None:
    """Write a checkpoint atomically; after a failure the folder is as before."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    body = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=True, size=len(body) + SEAL_BYTES) as file:
        file.write(body)
        file.write(with_seal(body))


def load(path: Path, map_location: MAP_LOCATION = "cpu") -> Saved:
    """Return what was saved; no code from the file is run (`weights_only=True`).

    Raises: Damaged when the SHA-256 does not fit.
    """
    body = without_seal(path, f"delete it and {path.parent}/result.json, and the same command makes both again")
    value: Saved = torch.load(io.BytesIO(body), map_location=map_location, weights_only=True)
    return value


def newest(directory: Path) -> Path | None:
    """Return the newest whole checkpoint `step-*.ckpt` whose weights are numbers, or None."""
    return next((path for path, _ in whole(directory)), None)


def final(run: Path, steps: int) -> Saved:
    """Return the last checkpoint of a complete run in its folder. Raises ConfigError if it was removed, Damaged if it is not whole."""
    found = next(whole(run / "checkpoints"), None)
    if found is None or step_of(found[0]) != steps:
        way_out = f"delete {run}/result.json; the command that made the run goes on from the checkpoint before, or from the start"
        if (run / "checkpoints" / f"step-{steps:09d}.ckpt").exists():
            raise Damaged.at(run, "has no whole final checkpoint", way_out)
        raise ConfigError(f"{run} has no whole final checkpoint; {way_out}.")
    return found[1]


def whole(directory: Path) -> Iterator[tuple[Path, Saved]]:
    """Yield the checkpoints that are as they were saved, the newest first, with what they hold; of another one, say so."""
    for path in sorted(directory.glob("step-*.ckpt"), reverse=True):
        try:
            saved = load(path)
        except Damaged as error:
            print(f"{str(error).partition(';')[0]}; taking the one before it", flush=True)
            continue
        if is_finite(saved.get("state_dict")) and is_finite(saved.get("optimizer_states")):
            yield path, saved
        else:
            print(f"{path}: its weights are no numbers; taking the one before it", flush=True)


def is_finite(saved: object) -> bool:
    """Return whether all tensors of nested dictionaries and lists are numbers, neither NaN nor infinite."""
    if isinstance(saved, torch.Tensor):
        return not saved.is_floating_point() or bool(saved.isfinite().all())
    parts = saved.values() if isinstance(saved, Mapping) else saved if isinstance(saved, list | tuple) else ()
    return all(map(is_finite, parts))


def packed(rows: bytes) -> Tensor:
    """Return the rows of metrics as a checkpoint keeps them, uint8 (n,)."""
    return torch.frombuffer(bytearray(zlib.compress(rows, 1)), dtype=torch.uint8)


def rows_of(saved: Saved) -> bytes | None:
    """Return the rows of metrics up to a checkpoint's step; None in one of older code."""
    return zlib.decompress(saved[ROWS].numpy().tobytes()) if ROWS in saved else None


def step_of(path: Path) -> int:
    """Return the number of optimizer steps before a checkpoint, from its name."""
    return int(path.stem.removeprefix("step-"))


def remove_unfinished(directory: Path) -> None:
    """Delete what a killed process left half-written. Only the process that has claimed the run may call it."""
    for path in directory.glob(".step-*"):
        path.unlink(missing_ok=True)


def keep_newest(directory: Path, number: int = 2) -> None:
    """Delete all but the newest checkpoints; two stay, so that a damaged one does not cost the run."""
    for path in sorted(directory.glob("step-*.ckpt"))[:-number]:
        path.unlink()


def set_aside(directory: Path, newest: Path | None) -> None:
    """Rename the checkpoints after the one that a run goes on from, and say so: `keep_newest` would take them for newer than its own."""
    for path in sorted(directory.glob("step-*.ckpt")):
        if newest is None or path.name > newest.name:
            aside = path.with_name(f"{path.name}.refused")
            os.replace(path, aside)
            print(f"{path} is called {aside.name} now: the run does not go on from it", flush=True)


def recount(loops: Saved, consumed: int) -> None:
    """Change Lightning's state of the fit loop to a new micro-batch size, of which one rank has had `consumed`."""
    for counts in (loops["epoch_loop.batch_progress"][key] for key in ("total", "current")):
        behind = consumed - counts["ready"]
        counts.update({name: count + behind for name, count in counts.items()})


class SealedCheckpointIO(CheckpointIO):
    """The plugin by which Lightning calls `save` and `load`."""

    def save_checkpoint(self, checkpoint: Saved, path: str | Path, storage_options: object = None) -> None:
        save(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: MAP_LOCATION = None, weights_only: bool | None = None
    ) -> Saved:
        return load(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
