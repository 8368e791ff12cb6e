"""What lies on the disk: the sizes of runs, checkpoints and caches, and what of it can go without loss of a result."""

import os
from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from roberta_lab.config import Config, Damaged
from roberta_lab.data import local_copy
from roberta_lab.data.claims import claim
from roberta_lab.data.corpus.folders import content_of
from roberta_lab.data.seals import check_seal
from roberta_lab.data.storage import REMOVED, remove_whole
from roberta_lab.data.verified import MANIFEST
from roberta_lab.runs import provenance, results
from roberta_lab.runs.identity import KINDS

PREPARED = ("corpus", "tokenizer", "tokens")  # folders of the cache, which runs note by the hash of their content
FEATURES = "features"  # of the cache: inputs of tasks, which only runs that are not complete read
CHECKPOINTS = "checkpoints"
COPY = "a copy of tokens on this machine, which is made again when it is read"
UNREADABLE = (Damaged, OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Removable:
    """A file or folder that can go, and why."""

    path: Path
    why: str
    run: Path | None = None  # whose folder is claimed while it is removed
    last: Path | None = None  # the checkpoint of the run that stays, which must be whole

    @property
    def size(self) -> int:
        """Return its size in bytes."""
        return size_of(self.path)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed."""
    is_folder = path.is_dir() and not path.is_symlink()
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names) if is_folder else [path]
    return sum(map(_bytes_of, files))


def _bytes_of(file: Path) -> int:
    try:
        return file.lstat().st_size
    except FileNotFoundError:  # of a run at work
        return 0


def runs_in(outputs: Path) -> list[Path]:
    """Return the folders of all runs, complete or not."""
    return [folder for kind in KINDS for folder in sorted(outputs.glob(f"{kind}/*/"))]


def caches_in(cache: Path) -> list[Path]:
    """Return the prepared folders and files of a cache; none that is being made."""
    return [path for kind in (*PREPARED, FEATURES) for path in sorted((cache / kind).glob("[!.]*"))]


def removable(config: Config) -> list[Removable]:
    """Return what `prune` would remove: checkpoints of complete runs, all but the last unless `prune.final`, and unused caches."""
    outputs, cache = Path(config.paths.outputs), Path(config.paths.cache)
    runs = runs_in(outputs)
    found = [own for run in runs for own in _checkpoints(run, config.prune.final)]
    found += [Removable(path, COPY) for path in local_copy.copies_in(config.paths.local)]
    if is_shared(config):
        return found
    hidden = sorted(path for pattern in (f".*{REMOVED}", f"*/.*{REMOVED}") for path in cache.glob(pattern))
    left = [Removable(path, "what an interrupted removal has left") for path in hidden]
    return [*found, *left, *_unused(caches_in(cache), runs)]


def is_shared(config: Config) -> bool:
    """Return whether the cache lies outside the outputs, where runs of other outputs may use it."""
    outputs, cache = Path(config.paths.outputs).resolve(), Path(config.paths.cache).resolve()
    return not cache.is_relative_to(outputs)


def _checkpoints(run: Path, final: bool) -> Iterator[Removable]:
    if not results.is_complete(run):
        return
    files, refused = (sorted((run / CHECKPOINTS).glob(f"step-*.ckpt{end}")) for end in ("", ".refused"))
    last = files[-1] if files and not final else None
    for file in files[:-1]:
        yield Removable(file, "an earlier checkpoint of a complete run", run, last)
    for file in refused:
        yield Removable(file, "a checkpoint that was refused, of a run that is complete by now", run, last)
    if final and files:
        why = "the weights of a complete run: finetune, evaluate, predict and export would have to make it again"
        yield Removable(files[-1], why, run)


def check(what: Removable) -> None:
    """Raise Damaged for a checkpoint that has to stay, since the last one of its run is not whole."""
    if what.last is not None and what.path.exists():  # else another prune has removed it, and the last one perhaps
        stat = what.last.stat()
        _check_seal(what.last, stat.st_size, stat.st_mtime_ns)


@cache  # of one run several may go
def _check_seal(file: Path, size: int, changed: int) -> None:
    run = file.parent.parent
    check_seal(file, f"delete it and {run}/result.json, and the same command goes on from the checkpoint before")


def _unused(caches: Collection[Path], runs: list[Path]) -> Iterator[Removable]:
    """Yield the caches whose content no run has noted; features only where every run is complete.

    Where a note cannot be read, what is used is not known, and nothing but features goes.
    """
    try:
        noted = [found["data"] for run in runs if (found := provenance.read(run)) is not None]
        used = {(kind, content) for data in noted for kind, content in data.items()}
        unused = [path for path in caches if path.parent.name != FEATURES and not _is_used(path, used)]
    except UNREADABLE:
        unused = []
    for path in unused:
        yield Removable(path, f"{path.parent.name}, which no run has used")
    if all(map(results.is_complete, runs)):
        features = (path for path in caches if path.parent.name == FEATURES)
        yield from (Removable(path, "inputs of tasks, while every run is complete") for path in features)


def _is_used(path: Path, used: Container[tuple[str, str]]) -> bool:
    """Return whether a run has used a prepared folder; also for what is none, which is not ours."""
    return not (path / MANIFEST).is_file() or (path.parent.name, content_of(path)) in used


def remove(what: Removable) -> None:
    """Remove it, if its run is still complete and nobody works on it. Raises RunInUse, OSError, and Damaged as `check` does."""
    if what.run is not None:
        with claim(what.run):
            if results.is_complete(what.run):
                check(what)
                what.path.unlink(missing_ok=True)
    elif what.path.is_dir() and not what.path.is_symlink():
        remove_whole(what.path)
    else:
        what.path.unlink(missing_ok=True)
