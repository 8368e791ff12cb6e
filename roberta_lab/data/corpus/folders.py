"""Make a prepared folder once: named by a hash of its inputs, filled by any number of processes, made a whole by one of them.

A folder is whole or absent (`storage.make_once`). What a killed process had finished is kept, and the next one goes on from there.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from roberta_lab.config import ConfigError
from roberta_lab.config.console import say
from roberta_lab.data import claims, verified
from roberta_lab.data.corpus import workers
from roberta_lab.data.corpus.parts import Manifest
from roberta_lab.data.storage import digest, make_once, shared_folder
from roberta_lab.data.storage import write as write_file
from roberta_lab.data.verified import MANIFEST


@dataclass(frozen=True)
class Folder:
    """A folder that is there, or can be made."""

    parent: Path
    inputs: Mapping[str, object]  # that decide what it holds
    # makes pieces in the given folder until none is left to take; waits for those of other processes, or leaves them
    share: Callable[[Path, bool], bool] | None
    make: Callable[[Path], Manifest]  # makes what is missing there, and a whole of it
    progress: bool

    @property
    def path(self) -> Path:
        """Return where it lies once it is whole."""
        return self.parent / digest(self.inputs, 16)

    def help_out(self) -> bool:
        """Make pieces of it while there are some that nobody has. Return whether all are there."""
        return self.path.exists() or self._share(leaves=True)

    def made(self) -> Path:
        """Return it, made if it is missing: its pieces beside other processes that do so, a whole of them by one."""
        path, start = self.path, time.monotonic()
        if not path.exists():
            self._share(leaves=False)
        waiting = f"waiting for another process that prepares {path} ..."  # printed even without progress
        if make_once(path, self._fill, on_wait=lambda: say(waiting)) and self.progress:
            say(f"prepared {self.parent.name}: {counts_text(path)}; {time.monotonic() - start:.1f} s; {path}")
        verified.check_sizes(path)
        verified.check(path / MANIFEST)
        return path

    def _share(self, leaves: bool) -> bool:
        if self.share is None or (making := shared_folder(self.path)) is None:
            return True
        try:
            with self._beginning(making):
                return self.share(making, leaves)
        except FileNotFoundError:
            if shared_folder(self.path) is None:  # another process makes a whole of it
                return True
            with self._beginning(making):  # one that found a mistake in the data has removed it: this one says so too
                return self.share(making, leaves)

    def _fill(self, making: Path) -> None:
        making.mkdir(parents=True, exist_ok=True)
        with self._beginning(making, has_begun=self.share is not None):
            manifest = self.make(making)
        for unfinished in making.glob("*/.*"):  # of processes that were killed
            unfinished.unlink(missing_ok=True)
        content = json.dumps({"inputs": self.inputs, **manifest}, indent=2)
        write_file(making / MANIFEST, content + "\n")
        verified.seal(making)

    @contextmanager
    def _beginning(self, making: Path, has_begun: bool = False) -> Iterator[None]:
        """Say that it is made. After a mistake of the user, leave nothing, unless something was finished or others are at work."""
        if self.progress and not has_begun:
            say(f"{'going on with' if any(making.iterdir()) else 'preparing'} {self.parent.name} ...")
        try:
            yield
        except ConfigError:
            is_alone = not any(claims.is_held(note.parent, note.name) for note in making.glob(f"*/{workers.NOTES}"))
            if is_alone and not any(making.glob("*/[!.]*")):
                shutil.rmtree(making, ignore_errors=True)
            raise


# ---------------------------------------------------------------- what one notes of itself
def manifest_of(path: Path) -> Manifest:
    """Return what a prepared folder notes of itself. Raises Damaged."""
    return cast(Manifest, verified.read_json(path / MANIFEST))


def content_of(path: Path) -> str:
    """Return the hash of what a prepared folder holds, noted when it was made. Raises Damaged."""
    return manifest_of(path)["content"]


def inputs_of(path: Path) -> Mapping[str, Any]:
    """Return what decided what a prepared folder holds. Raises Damaged."""
    found: Mapping[str, Any] = verified.read_json(path / MANIFEST).get("inputs", {})
    return found


def counts_of(path: Path) -> dict[str, int]:
    """Return what a prepared folder holds, by name."""
    return manifest_of(path)["counts"]


def counts_text(path: Path) -> str:
    """Return the counts of a prepared folder for the console."""
    return ", ".join(f"{number:,} {name}" for name, number in counts_of(path).items())
