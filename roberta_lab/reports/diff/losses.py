"""Where the training losses of two runs part, by their `metrics.jsonl`."""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from roberta_lab.reports.diff.comparison import Parting
from roberta_lab.reports.diff.sides import Pair
from roberta_lab.runs import tracking

Losses = dict[str, dict[int, float]]  # name -> step -> value


def partings(pairs: Iterable[Pair]) -> tuple[tuple[Parting, ...], tuple[str, ...]]:
    """Return where each training loss that both runs of a pair logged parts; and notes on pairs without one."""
    found, notes = list[Parting](), list[str]()
    for pair in pairs:
        if pair.a.kind == "evaluate":  # which trains nothing
            continue
        if pair.a.path.resolve() == pair.b.path.resolve():
            notes.append(f"{pair.name}: both sides have the same run")
            continue
        own = list(_partings(pair))
        found += own
        if not own:
            notes.append(f"{pair.name}: no step at which both logged the same training loss")
    return tuple(found), tuple(notes)


def _partings(pair: Pair) -> Iterator[Parting]:
    a, b = (losses(member.path / "metrics.jsonl") for member in (pair.a, pair.b))
    for name in a:
        ours, theirs = a[name], b.get(name, {})
        steps = sorted(ours.keys() & theirs.keys())
        if not steps:
            continue
        first = next((step for step in steps if not _same(ours[step], theirs[step])), None)
        there = 0.0 if first is None else theirs[first] - ours[first]
        end = 0.0 if first is None else theirs[steps[-1]] - ours[steps[-1]]
        yield Parting(pair.name, name, len(steps), first, there, steps[-1], end)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def losses(file: Path) -> Losses:
    """Return the training losses of a run by name and step; {} where nothing was logged."""
    return _losses(str(file), file.stat().st_mtime_ns) if file.is_file() else {}


@lru_cache(maxsize=16)  # the runs of a reference row, which every other row is compared with
def _losses(file: str, changed: int) -> Losses:
    found: Losses = {}
    for row in tracking.read(Path(file)):
        for name, value in row.metrics.items():
            if name.startswith("train/") and name.endswith("loss"):
                found.setdefault(name, {})[row.step] = value
    return found
