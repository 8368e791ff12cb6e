"""Run independent pieces of work on all cores of this machine, and share them with other processes, on any machines.

Processes that share write into one folder that all of them see. A piece is done when its mark, the file that it writes last,
is there. Who works on it holds a hidden note beside the mark (`claims`), so each piece is made by one process; where that
dies, another takes it. A piece is a function of its input: made twice, it has the same bytes.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

from tqdm import tqdm

from roberta_lab.config import ProcessDied, processes, starters
from roberta_lab.config.console import say
from roberta_lab.data import claims, pool

_T = TypeVar("_T")
_R = TypeVar("_R")
QUICK = 32  # pieces that are hashed while a process starts
LONG_SECONDS = 10.0  # of work whose speed is said even without a bar
NOTES = ".*.taken"  # the notes of those who work on a piece


def cores() -> int:
    """Return the number of cores that this process may use: those that the system lets it have, and no more than SLURM gave it."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(own, starters.cpus_given() or own)


def run(
    function: Callable[[_T], _R], items: Sequence[_T], workers: int | None, name: str, each: int = 1
) -> Iterator[tuple[_T, _R]]:
    """Yield each item with `function(item)`, as they end; what has not begun is not begun when nobody asks for more.

    `workers` processes do the work, None for one per core, but none for less than `each` items; with one, or within a worker,
    this process does. Raises the first error of an item; ProcessDied when a process was killed, after which the same call goes on.
    """
    number = 1 if pool.is_one() else max(1, min(workers or cores(), len(items) // each))
    if number == 1:
        for item in items:
            yield item, function(item)
        return
    with pool.Pool(number) as processes:
        for i, outcome in processes.outcomes([(function, (item,)) for item in items]):
            if isinstance(outcome.error, ProcessDied):
                way_out = "what is finished stays; the same command goes on, prepare.workers=1 takes less memory"
                raise ProcessDied(f"{name}: {outcome.error}; {way_out}.")
            if outcome.error is not None:
                raise outcome.error
            yield items[i], outcome.value  # type: ignore[misc]


# ---------------------------------------------------------------- sharing
@dataclass(frozen=True)
class Pieces(Generic[_T]):
    """Work that processes share."""

    name: str  # for people: corpus
    of: str  # what a piece is called: unit
    sizes: Mapping[_T, int]  # of each piece: bytes or characters, 0 where that is not known
    mark: Callable[[_T], Path]  # the file that is there once a piece is done
    make: Callable[[_T], int | None]  # makes one, and returns the number of its tokens, where they are counted


class Made(NamedTuple):
    """What came of an attempt to make a piece."""

    is_there: bool  # it is done: by this process, or by another one
    seconds: float = 0.0  # that this process spent on it
    tokens: int = 0


def share(pieces: Pieces[_T], workers: int | None, progress: bool, leaves: bool) -> bool:
    """Make pieces that nobody has until all are done, and return whether they are; the bar counts their bytes.

    Where other processes have the rest, wait for them, or leave. Raises as `run` does; FileNotFoundError where another process
    has taken the folder of the pieces away, since all are done.
    """
    left = _in_order(pieces, leaves)
    if not left:
        return True
    found: dict[_T, Made] = {}
    start, number = time.monotonic(), 1 if pool.is_one() else workers or cores()
    try:
        with _Bar(pieces, progress) as bar:
            bar.count({*pieces.sizes} - {*left})
            while left:
                for piece, made in run(partial(_take, pieces.mark, pieces.make), left, workers, pieces.name):
                    if made.is_there:
                        found[piece] = made
                        bar.count([piece])
                left = [piece for piece in left if piece not in found]
                if left and leaves:
                    break
                if left and not _can_go_on(pieces, left):
                    left = []
    finally:
        own, seconds = {piece: made for piece, made in found.items() if made.seconds}, time.monotonic() - start
        if own and (progress or leaves or seconds > LONG_SECONDS):
            say(_rate(pieces, own, min(number, len(own)), seconds))
    return not left


class _Bar(Generic[_T]):
    """A bar of the bytes of pieces that are done; of their number, where the bytes are not known."""

    def __init__(self, pieces: Pieces[_T], progress: bool) -> None:
        self._sizes = pieces.sizes if (by_bytes := any(pieces.sizes.values())) else dict.fromkeys(pieces.sizes, 1)
        unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1000} if by_bytes else {"unit": pieces.of}
        total = sum(self._sizes.values())
        self._bar = tqdm(total=total, desc=pieces.name, mininterval=0.5, disable=not progress, **unit)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def count(self, done: Iterable[_T]) -> None:
        """Move it by some pieces."""
        self._bar.update(sum(self._sizes[piece] for piece in done))


def _in_order(pieces: Pieces[_T], leaves: bool) -> list[_T]:
    """Return the pieces that are not done. Beside others, and in jobs that have some, each process begins at another place."""
    left = [piece for piece in pieces.sizes if not pieces.mark(piece).exists()]
    if left and (leaves or any(pieces.mark(left[0]).parent.glob(NOTES))):
        first = random.Random(f"{processes.this_machine()} {os.getpid()}").randrange(len(left))
        return [*left[first:], *left[:first]]
    return left


def _take(mark: Callable[[_T], Path], make: Callable[[_T], int | None], piece: _T) -> Made:
    """Make a piece unless it is done, or another process has it."""
    file = mark(piece)
    if file.exists():
        return Made(True)
    with claims.locked_if_free(_note(file), watch=0.0) as is_ours:  # made twice, a piece has the same bytes
        if not is_ours:
            return Made(False)
        if file.exists():
            return Made(True)
        start = time.monotonic()
        tokens = make(piece)
        return Made(True, time.monotonic() - start, tokens or 0)


def _note(mark: Path) -> Path:
    return mark.with_name(NOTES.replace("*", mark.name))


def _can_go_on(pieces: Pieces[_T], left: list[_T]) -> bool:
    """Wait until one of these pieces can be taken from a process that is gone, and return true; false when all are done.

    One is looked at in a moment: of a thousand processes that wait, each look is work for the file system.
    """
    has_said, turn = False, 0
    while left := [piece for piece in left if not pieces.mark(piece).exists()]:
        note = _note(pieces.mark(left[turn % len(left)]))
        if not claims.is_held(note.parent, note.name):
            time.sleep(claims.POLL)
            return True
        if not has_said:
            line = f"{pieces.name}: waiting for {len(left)} of {len(pieces.sizes)} {pieces.of}s, which other processes make ..."
            say(line)
            has_said = True
        time.sleep(claims.WAIT)
        turn += 1
    return False


def _rate(pieces: Pieces[_T], own: Mapping[_T, Made], number: int, seconds: float) -> str:
    """Return how much this command made, and how fast each of its cores was, for the console."""
    busy = sum(made.seconds for made in own.values())
    size, tokens = sum(pieces.sizes[piece] for piece in own) / 1e6, sum(made.tokens for made in own.values())
    amounts = [f"{size:,.1f} MB"] * (size > 0) + [f"{tokens:,} tokens"] * (tokens > 0)
    rates = [f"{size / busy:.2f} MB/s"] * (size > 0) + [f"{tokens / busy:,.0f} tokens/s"] * (tokens > 0)
    made = ", ".join([f"{len(own)} of {len(pieces.sizes)} {pieces.of}s here", *amounts])
    a_core = f": {', '.join(rates)} a core" if rates else ""
    return f"{pieces.name}: {made}; {seconds:.1f} s, {number} process{'es' * (number > 1)}{a_core}"
