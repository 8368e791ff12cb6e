"""Injects every fault that is promised to do no harm, and prints fault x tries x survived x exit codes x message.

    make faults                                     # all of it, under 15 minutes on two cores
    python -m faults --short                        # a few of each, under a minute: part of `make test`
    python -m faults --only kills,flips --tries 50  # some

Exits non-zero on any loss, and prints each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faults import flips, inputs, not_numbers, processes, stops, tracking
from faults.world import Row, World, apart, side_by_side
from own_signals import as_in_a_shell

Inject = Callable[[World, int], list[Row]]


class Fault(NamedTuple):
    """A kind of fault: what injects it so many times, and how often in the whole suite and in the short one."""

    inject: Inject
    tries: int
    short: int


def in_folder(function: Callable[[int, Path, int], Iterable[Iterable[Any]]], what: str = "") -> Inject:
    """Return a function of a folder and a seed as one of a world. Where a kind has a name of its own, its rows are of that kind."""

    def inject(world: World, tries: int) -> list[Row]:
        folder, seed = world.folder / function.__qualname__, world.draw.randrange(1 << 31)
        folder.mkdir(exist_ok=True)

        def injected() -> list[Row]:
            os.chdir(folder)  # where a payload that is executed leaves its trace
            return [Row(*found) for found in function(tries, folder, seed)]

        rows = apart(injected)
        return [row._replace(what=what, message=row.message) for row in rows] if what else rows

    return inject


def of_files(inject_flips: Callable[[flips.World, int, int], list[flips.Outcome]], what: str) -> Inject:
    """Return the flips of bits in files as a function of a world."""

    def inject(world: World, tries: int) -> list[Row]:
        seed = world.draw.randrange(1 << 31)

        def flipped() -> list[Row]:
            with pytest.MonkeyPatch.context() as patched:
                flips.patch_source(patched)
                made = flips.world(world.folder / what.replace(" ", "-"))
                found = inject_flips(made, tries, seed)
            return [Row(f"{what}: {one.outcome}", one.outcome in flips.HARMLESS, None, one.said) for one in found]

        return apart(flipped)

    return inject


FAULTS = {
    "kills": Fault(stops.kills, 20, 1),
    "signals": Fault(stops.signals, 20, 2),
    "checkpoint_kills": Fault(stops.checkpoint_kills, 20, 2),
    "full_disks": Fault(stops.full_disks, 10, 1),
    "small_files": Fault(stops.small_files, 6, 1),
    "no_flock": Fault(stops.no_flock, 5, 1),
    "deleted_folder": Fault(stops.deleted_folder, 3, 0),
    "nan_gradients": Fault(not_numbers.nan_gradients, 6, 1),
    "nan_checkpoints": Fault(not_numbers.nan_checkpoints, 3, 1),
    "nan_weights": Fault(not_numbers.nan_weights, 4, 1),
    "bad_servers": Fault(tracking.bad_servers, 10, 0),
    "servers_that_turn": Fault(tracking.servers_that_turn, 5, 1),
    "lost_processes": Fault(tracking.lost_processes, 8, 0),
    "ended_commands": Fault(tracking.ended_commands, 3, 0),
    "not_installed": Fault(tracking.not_installed, 6, 1),
    "flips": Fault(of_files(flips.flips, "a file of outputs or cache damaged"), 200, 4),
    "interrupted_flips": Fault(of_files(flips.interrupted_flips, "a file of an interrupted run damaged"), 20, 0),
    "special_files": Fault(
        in_folder(inputs.special_files, "pipe, socket, device, folder, link in place of a file"), 20, 4
    ),
    "bombs": Fault(in_folder(inputs.bombs, "bomb or broken archive"), 12, 1),
    "links": Fault(in_folder(inputs.links, "link out of a corpus"), 8, 2),
    "yaml_bombs": Fault(in_folder(inputs.yaml_bombs, "bomb, tag or nesting in YAML"), 8, 3),
    "values": Fault(in_folder(inputs.values, "value that no setting has"), 30, 3),
    "tokenizers": Fault(in_folder(inputs.tokenizers, "hostile tokenizer"), 12, 3),
    "weights": Fault(in_folder(inputs.weights, "hostile folder of a model"), 12, 3),
    "task_files": Fault(in_folder(inputs.task_files, "hostile file of a task"), 12, 3),
    "shown": Fault(in_folder(inputs.shown, "text that would act on a terminal or spreadsheet"), 10, 3),
    "commands_signalled": Fault(in_folder(processes.signals, "signal to a command, its group, or reproduce"), 8, 0),
    "commands_killed": Fault(in_folder(processes.kills, "kill -9 of reproduce"), 4, 0),
    "dying_jobs": Fault(in_folder(processes.dying_jobs, "job that always dies"), 2, 0),
    "second_signals": Fault(in_folder(processes.second_signals, "second signal to a run that hangs"), 6, 0),
    "hangs": Fault(in_folder(processes.hangs, "rank or loader worker that hangs"), 4, 0),
    "several_at_once": Fault(in_folder(processes.several_at_once, "three reproduce at once"), 2, 0),
}
# that start whole commands: beside all others, on the second core
OF_COMMANDS = [
    FAULTS[name].inject
    for name in (
        *("commands_signalled", "commands_killed", "dying_jobs"),
        *("second_signals", "hangs", "several_at_once"),
    )
]
WIDTH = 150  # of a message in the table


def table(rows: Iterable[Row]) -> str:
    """Return a Markdown table with a line for each kind of fault, and one of its messages."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row.what, []).append(row)
    lines = ["| fault | tries | survived | exit codes | message |", "|---|---:|---:|---|---|"]
    for what, found in kinds.items():
        codes = ", ".join(sorted({"-" if row.code is None else str(row.code) for row in found}))
        said = " ".join(next((row.message for row in found if row.message), "").split()).replace("|", "\\|")
        survived = sum(row.survived for row in found)
        lines.append(f"| {what} | {len(found)} | {survived} | {codes} | {said[:WIDTH]} |")
    return "\n".join(lines)


def run(names: Iterable[str], tries: Callable[[Fault], int], folder: Path, seed: int) -> list[Row]:
    """Inject these faults and return a row for each injection; say what is at work and how long each kind took."""
    world, rows = World(folder, seed), list[Row]()
    for name in names:
        number = tries(FAULTS[name])
        if not number:
            continue
        start = time.monotonic()
        found = FAULTS[name].inject(world, number)
        lost = sum(not row.survived for row in found)
        print(f"{name}: {len(found)} tries, {lost} lost, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        for row in found:
            if not row.survived:
                print(f"LOST: {row.what}: exit code {row.code}: {row.message}", file=sys.stderr, flush=True)
        assert found, f"{name} injected nothing"
        rows += found
    return rows


def main() -> int:
    """Run the suite. Returns 1 if anything was lost, or nothing false noticed."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few of each kind")
    parser.add_argument("--only", default=",".join(FAULTS), help="kinds, with commas between them")
    parser.add_argument("--tries", type=int, help="of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments, bits and inputs")
    options = parser.parse_args()
    as_in_a_shell()
    folder, start, names = Path(tempfile.mkdtemp(prefix="faults-")), time.monotonic(), options.only.split(",")

    def tries(fault: Fault) -> int:
        return options.tries or (fault.short if options.short else fault.tries)

    halves = [[name for name in names if (FAULTS[name].inject in OF_COMMANDS) == half] for half in (False, True)]
    try:
        rows = side_by_side(
            [
                partial(run, half, tries, folder / f"world-{number}", options.seed)
                for number, half in enumerate(halves)
                if any(map(tries, map(FAULTS.__getitem__, half)))
            ]
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(rows))
    lost = [row for row in rows if not row.survived]
    print(
        f"{len(rows)} faults, {len(rows) - len(lost)} survived, {time.monotonic() - start:.0f} s, seed {options.seed}"
    )
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
