"""Hash the files of a large source together: each process, here or on other machines, takes some of them.

What they find goes into the memory that `scanning.scan` reads, so no file is read by two processes.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from roberta_lab.config import SourceConfig
from roberta_lab.data import claims
from roberta_lab.data.corpus import workers
from roberta_lab.data.corpus.sources import scanning
from roberta_lab.data.corpus.sources.remote import Place
from roberta_lab.data.corpus.workers import Pieces
from roberta_lab.data.storage import digest, remove_whole, write_json
from roberta_lab.data.verified import read_sealed, recall, remember, sealed

GROUP_BYTES = 1 << 28  # of files that one process takes together; a source of less is hashed by each process for itself


def share(source: SourceConfig, cache: Path, num_workers: int | None, progress: bool) -> None:
    """Hash the files of a source that were not read before, sharing them with other processes, and remember it."""
    groups = [*_grouped(source)]
    if len(groups) < 2:
        return
    memory = cache / scanning.MEMORY
    known = recall(memory)
    if all(group.keys() <= known.keys() for group in groups):  # nothing is written: the cache may be another's
        return
    folder = cache / f".scans-{digest({'keys': [sorted(group) for group in groups]})}"
    folder.mkdir(parents=True, exist_ok=True)
    known = recall(memory)  # after the folder is there: who removes it has remembered all before
    new = {number: group for number, group in enumerate(groups) if not group.keys() <= known.keys()}
    sizes = {number: sum(size for _, size in group.values()) for number, group in new.items()}
    with suppress(FileNotFoundError):  # another process has remembered all
        mark = partial(_mark, folder)
        workers.share(
            Pieces("hashing", "group", sizes, mark, partial(_scan, folder, groups)), num_workers, progress, leaves=False
        )
        found = {key: scan for number in new for key, scan in read_sealed(mark(number), "delete it")["files"].items()}
        with claims.locked(cache / f".{scanning.MEMORY}.lock"):
            remember(memory, recall(memory) | found)
    with suppress(OSError):  # at once: no process takes a group that was removed for one that is missing
        remove_whole(folder)


def _grouped(source: SourceConfig) -> Iterator[dict[str, tuple[Place, int]]]:
    """Yield files by the keys of their scans, with their bytes, about GROUP_BYTES in a group: the same in each process."""
    group, num_bytes = dict[str, tuple[Place, int]](), 0
    for key, path, size in scanning.keys(source):
        group[key], num_bytes = (path, size), num_bytes + size
        if num_bytes >= GROUP_BYTES:
            yield group
            group, num_bytes = {}, 0
    if group:
        yield group


def _scan(folder: Path, groups: list[dict[str, tuple[Place, int]]], number: int) -> None:
    found = scanning.scan_files({key: path for key, (path, _) in groups[number].items()})
    write_json(_mark(folder, number), sealed({"files": found}))


def _mark(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"
