"""What lies in `outputs/wandb/`: a folder of each run for W&B, and which of them the server does not have yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.data import claims
from roberta_lab.runs.identity import KINDS

FOLDER = "wandb"  # W&B makes it in the folder that it is given
OFFLINE, ONLINE = "offline-run-*", "run-*"
CUT_OFF = "cut-off"  # an empty file in the folder of an online run that W&B failed in: not all of it was uploaded
SYNCED = ".synced"  # beside a file that was uploaded, W&B leaves an empty one with this added to its name
COARSE = 5.0  # seconds by which some file systems note a time too early


def home(config: Config) -> Path:
    """Return the folder in which W&B makes `wandb/`, one for all runs and tables."""
    return Path(config.paths.outputs)


def not_uploaded(outputs: Path) -> list[Path]:
    """Return the folders of runs that no server has, or not all of, the oldest first; runs of older code have theirs inside."""
    places = [outputs, *outputs.glob("*/*"), *outputs.glob("tables/*/*")]
    found = {folder.resolve(): folder for place in places for folder in _kept_here(place) if not is_uploaded(folder)}
    return sorted(found.values(), key=lambda folder: folder.name)


def num_uploaded(outputs: Path) -> int:
    """Return how many of such runs were uploaded."""
    return sum(map(is_uploaded, _kept_here(outputs)))


def is_uploaded(folder: Path) -> bool:
    """Return whether a server has what is in the folder of such a run: nothing was written there after the upload."""
    written = max((file.stat().st_mtime for file in folder.glob("*.wandb")), default=0.0)
    return any(mark.stat().st_mtime + COARSE >= written for mark in folder.glob(f"*.wandb{SYNCED}"))


def is_at_work(folder: Path, outputs: Path) -> bool:
    """Return whether the run of such a folder is held by a process, which goes on writing into it."""
    return any(claims.is_held(outputs / kind / run_id(folder)) for kind in KINDS)


def run_id(folder: Path) -> str:
    """Return the W&B id of the run in a folder, which holds `run-ID.wandb`."""
    return next(folder.glob("*.wandb")).stem.removeprefix("run-")


def remove_earlier(outputs: Path, of: str, newest: Path) -> None:
    """Remove what earlier attempts at a run left for W&B and no server has: the newest attempt logs all of it again.

    Of two folders of one run, `wandb sync` would keep what it happens to upload last.
    """
    for folder in list(_kept_here(outputs)):
        if run_id(folder) == of and not is_uploaded(folder) and folder.resolve() != newest.resolve():
            shutil.rmtree(folder, ignore_errors=True)


def _kept_here(place: Path) -> Iterator[Path]:
    online = (folder for folder in (place / FOLDER).glob(ONLINE) if (folder / CUT_OFF).is_file())
    return (folder for folder in (*(place / FOLDER).glob(OFFLINE), *online) if any(folder.glob("*.wandb")))
