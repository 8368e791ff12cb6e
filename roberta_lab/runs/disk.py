"""What lies on the disk: the sizes of runs, checkpoints and caches, and what of it can go without loss of a result."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.data.corpus.preparation import content_of
from roberta_lab.data.storage import claim
from roberta_lab.runs import provenance, results
from roberta_lab.runs.identity import KINDS

PREPARED = ("corpus", "tokenizer", "tokens")  # folders of the cache, which runs note by the hash of their content
FEATURES = "features"  # of the cache: inputs of tasks, which only runs that are not complete read
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Removable:
    """A file or folder that can go, and why."""

    path: Path
    why: str
    run: Path | None = None  # whose folder is claimed while it is removed

    @property
    def size(self) -> int:
        """Return its size in bytes."""
        return size_of(self.path)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; links are not followed."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


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
    if is_shared(config):
        return found
    return [*found, *_unused(caches_in(cache), runs)]


def is_shared(config: Config) -> bool:
    """Return whether the cache lies outside the outputs, where runs of other outputs may use it."""
    outputs, cache = Path(config.paths.outputs).resolve(), Path(config.paths.cache).resolve()
    return not cache.is_relative_to(outputs)


def _checkpoints(run: Path, final: bool) -> Iterator[Removable]:
    if not results.is_complete(run):
        return
    files = sorted((run / CHECKPOINTS).glob("step-*.ckpt"))
    for file in files[:-1]:
        yield Removable(file, "an earlier checkpoint of a complete run", run)
    if final and files:
        why = "the weights of a complete run: finetune, evaluate, predict and export would have to make it again"
        yield Removable(files[-1], why, run)


def _unused(caches: Iterable[Path], runs: list[Path]) -> Iterator[Removable]:
    """Yield the caches whose content no run has noted; features only where every run is complete."""
    noted = [found["data"] for run in runs if (found := provenance.read(run)) is not None]
    used = {(kind, content) for data in noted for kind, content in data.items()}
    is_all_complete = all(map(results.is_complete, runs))
    for path in caches:
        kind = path.parent.name
        if kind == FEATURES and is_all_complete:
            yield Removable(path, "inputs of tasks, while every run is complete")
        elif kind != FEATURES and (kind, content_of(path)) not in used:
            yield Removable(path, f"{kind}, which no run has used")


def remove(what: Removable) -> None:
    """Remove it, if its run is still complete and nobody works on it. Raises RunInUse."""
    if what.run is not None:
        with claim(what.run):
            if results.is_complete(what.run):
                what.path.unlink(missing_ok=True)
    elif what.path.is_dir():
        shutil.rmtree(what.path)
    else:
        what.path.unlink(missing_ok=True)
