"""`prune`: free the disk of checkpoints that no resume needs and of caches that no run uses. No result is ever removed."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from roberta_lab.config import Damaged, RunInUse
from roberta_lab.config.formatting import counted, in_bytes, visible
from roberta_lab.data.storage import Json
from roberta_lab.runs import disk
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.disk import Removable
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import assign, without


def main(job: Job) -> Json:
    """Say what can go and why; with `prune.yes` remove it."""
    config = job.config
    found = [*_checked(disk.removable(config))]
    sizes = {one.path: one.size for one in found}
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for one in found:
        by_reason[one.why].append(one.path)
    for why, paths in by_reason.items():
        print(f"{why}: {in_bytes(sum(sizes[path] for path in paths))}")
        print("\n".join(visible(f"  {path} ({in_bytes(sizes[path])})") for path in paths))
    if disk.is_shared(config):
        print(f"kept: {config.paths.cache}, which lies outside {config.paths.outputs}: other outputs may use it")
    whole = in_bytes(sum(sizes.values()))
    removed: list[Path] = []
    if not found:
        print("nothing to remove")
    elif not config.prune.yes:
        again = folded("prune", [*without(job.overrides, "prune.yes"), assign("prune.yes", True)])
        print(f"nothing was removed yet: {counted(len(found), 'thing')}, {whole} together\nnext: {again}")
    else:
        for one in found:
            try:
                disk.remove(one)
            except (RunInUse, Damaged, OSError) as error:  # one that stays costs no other
                _say_kept(one, error)
            else:
                removed.append(one.path)
        print(f"removed {len(removed)} of {len(found)}, {in_bytes(sum(sizes[path] for path in removed))}")
    return {
        "removable": [{"path": str(one.path), "why": one.why, "bytes": sizes[one.path]} for one in found],
        "removed": [*map(str, removed)],
    }


def _checked(found: Iterable[Removable]) -> Iterator[Removable]:
    """Yield what can go without loss; say of the rest why it stays."""
    for one in found:
        try:
            disk.check(one)
        except (Damaged, OSError) as error:  # whatever cannot be read stays, and what it vouches for
            _say_kept(one, error)
        else:
            yield one


def _say_kept(one: Removable, error: Exception) -> None:
    print(visible(f"kept {one.path}: {error}"))
