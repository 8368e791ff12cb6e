"""The dev items of a task on both sides: the interval of the score's difference over items, and the predictions that flipped."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from roberta_lab.reports.diff.comparison import Flip, Flips, ItemsDifference
from roberta_lab.reports.diff.sides import Member, Pair
from roberta_lab.reports.items import ScoredItems, scored_items
from roberta_lab.reports.statistics.multi_bootstrap import SeedsAndItems, multi_bootstrap

DIRECTIONS = ("right to wrong", "wrong to right", "wrong to other wrong")
MOST_CHARACTERS = 600  # of a text
Both = tuple[ScoredItems, ScoredItems]


def items_of(pairs: Sequence[Pair], most: int, name: str) -> Iterator[ItemsDifference]:
    """Yield what became of the items of each task; of each direction at most `most` items. `name` keys the draws."""
    by_task: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.a.task is not None:
            by_task.setdefault(pair.a.task, []).append(pair)
    for task, own in by_task.items():
        yield _items(task, own, most, name)


def _items(task: str, pairs: Sequence[Pair], most: int, name: str) -> ItemsDifference:
    scored = pairs[0].a.result.scored.metric
    metric = scored.removeprefix("best_")  # a best threshold is no score of resamples
    found, notes = dict[int, Both](), dict[str, None]()
    for number, pair in enumerate(pairs):
        both, why = _both(pair)
        if both is not None and found and both[0].ids != next(iter(found.values()))[0].ids:
            both, why = None, f"{pair.name}: other items than those of the pairs before"
        if both is None:
            notes[why] = None
        else:
            found[number] = both
    if not found:
        return ItemsDifference(task, metric, (), None, (), "; ".join(notes))
    kept = [pairs[number] for number in found]
    interval = _interval(kept, list(found.values()), f"{name}/{task}")
    flips = tuple(_flips(list(found.values()), most))
    if not flips:
        notes["the scores of items have no right and wrong"] = None
    return ItemsDifference(
        task, metric, tuple(pair.name for pair in kept), interval, flips, "; ".join(notes), metric == scored
    )


def _both(pair: Pair) -> tuple[Both | None, str]:
    """Return the items of both runs; or None and why they cannot be compared."""
    found = []
    for member in (pair.a, pair.b):
        items, why = _read(member)
        if items is None:
            return None, why
        found.append(items)
    a, b = found
    if a.ids != b.ids:
        return None, f"{pair.name}: both sides have other items"
    return (a, b), ""


def _read(member: Member) -> tuple[ScoredItems | None, str]:
    if member.config is None:
        return None, f"{member.path}: the config is not known"
    return scored_items(member.path, member.result, member.config)


def _interval(pairs: Sequence[Pair], found: Sequence[Both], name: str) -> SeedsAndItems | None:
    """Return the interval of the score's difference; None where both sides are scored by unlike metrics."""
    if any(pair.a.result.scored.metric != pair.b.result.scored.metric for pair in pairs):
        return None
    seeds: dict[tuple[int, int], list[Both]] = {}
    for pair, both in zip(pairs, found, strict=True):
        seeds.setdefault((pair.a.seed, pair.b.seed), []).append(both)
    ours, theirs = ([[both[side].table for both in own] for own in seeds.values()] for side in (1, 0))
    return multi_bootstrap(ours, theirs, found[0][0].score, name)


def _flips(found: Sequence[Both], most: int) -> Iterator[Flips]:
    """Yield the flips of each direction; nothing where items have no right and wrong."""
    rights = [[side.right for side in both if side.right is not None] for both in found]
    if any(len(both) < 2 for both in rights):
        return
    a, b = np.array(rights).swapaxes(0, 1)  # bool (pairs, N) each
    unlike = np.array(
        [[x != y for x, y in zip(one.predictions, other.predictions, strict=True)] for one, other in found]
    )
    for direction, flipped in zip(DIRECTIONS, (a & ~b, ~a & b, ~a & ~b & unlike), strict=True):
        times = flipped.sum(0)
        order = np.argsort(-times, kind="stable")[:most]
        items = tuple(_flip(found, int(i), int(times[i])) for i in order if times[i])
        yield Flips(direction, tuple(flipped.sum(1).tolist()), items)


def _flip(found: Sequence[Both], i: int, times: int) -> Flip:
    one = found[0][0]
    a, b = (Counter(both[side].said_of(i) for both in found).most_common(1)[0][0] for side in (0, 1))
    texts = {name: cut(text) for name, text in one.texts_of(i).items()}
    return Flip(one.ids[i], texts, cut(one.gold_of(i)), cut(a), cut(b), times)


def cut(text: str) -> str:
    """Return a text, or its first `MOST_CHARACTERS` with a sign that there is more."""
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].rstrip() + " …"
