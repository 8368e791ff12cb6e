"""Prove on the GPU that is there that results are right and repeat, and measure how fast training is. One line, a few minutes.

    python benchmarks/gpu.py [--minutes 8] [--quick] [--only NAME ...] [--write FILE]

First correctness (`gpu_checks.py`), then speed (`gpu_speed.py`). Each section runs in a process of its own with a time limit, so
one that fails or hangs does not stop the rest. Needs no network and no W&B; transformers is the peer where it is installed.
--quick takes small models, so that a CPU does it in a minute or two. Exits 1 if a check fails. The table is printed, and
written to FILE, by default benchmarks/results/gpu_NAME_OF_THE_DEVICE.md (with --quick only when asked).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault(
    "PYTORCH_NVML_BASED_CUDA_CHECK", "1"
)  # so that looking for a GPU leaves forked processes the use of it

RESULTS = Path(__file__).parent / "results"


class Line(NamedTuple):
    """One line of the table."""

    what: str
    found: str
    holds: bool | None  # None: a figure, which nothing is asked of


class Section(NamedTuple):
    """A function that yields lines, and the seconds that it may take."""

    name: str
    run: Callable[[bool], Iterator[Line]]  # quick -> lines
    seconds: float


def sections() -> list[Section]:
    """Return all sections, the checks first."""
    import gpu_checks
    import gpu_speed

    return [*gpu_checks.SECTIONS, *gpu_speed.SECTIONS]


def run(section: Section, quick: bool, seconds: float) -> tuple[list[Line], str]:
    """Run a section in a process of its own; return its lines, and what went wrong ("" if nothing)."""
    ours, theirs = get_context("fork").Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        ours.close()
        os.setsid()
        os._exit(_send(section, quick, theirs))
    theirs.close()
    lines: list[Line] = []
    end = time.monotonic() + seconds
    wrong = "died"
    try:
        while ours.poll(max(0.0, end - time.monotonic())):
            found = ours.recv()
            if isinstance(found, str):
                wrong = found
                break
            lines.append(found)
        else:
            wrong = f"not done after {seconds:.0f} s"
    except EOFError:
        pass
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return lines, wrong


def _send(section: Section, quick: bool, to: Connection) -> int:
    try:
        for line in section.run(quick):
            to.send(line)
        to.send("")
    except BaseException as error:  # its end is told, whatever it is
        traceback.print_exc()
        to.send(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}")
    return 0


def row(line: Line) -> str:
    """Return a line as a row of Markdown."""
    return f"| {line.what} | {line.found} | {'' if line.holds is None else 'yes' if line.holds else '**no**'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="for all sections; what has no time left is named")
    parser.add_argument("--quick", action="store_true", help="small models, short runs")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    chosen = [section for section in sections() if not options.only or section.name in options.only]
    if unknown := {*(options.only or [])} - {section.name for section in chosen}:
        parser.error(f"--only {' '.join(sorted(unknown))}: allowed are {', '.join(s.name for s in sections())}")
    head = ["| | found | as it should be |", "|---|---|---|"]
    print("\n".join(head), flush=True)
    table, failed = head.copy(), False
    for section in chosen:
        left, start = end - time.monotonic(), time.monotonic()
        lines, wrong = run(section, options.quick, min(section.seconds, left)) if left > 5 else ([], "no time left")
        if wrong:
            cut_short = wrong == "no time left" or (wrong.startswith("not done") and left < section.seconds)
            lines.append(Line(f"{section.name}: not whole", wrong, None if cut_short else False))
        lines.append(Line(f"*{section.name}*", f"*{time.monotonic() - start:.0f} s*", None))
        failed |= any(line.holds is False for line in lines)
        table += map(row, lines)
        print("\n".join(map(row, lines)), flush=True)
    from gpu_speed import device_name
    from side_by_side import setting

    text = "\n".join([*table, "", setting("torch", "transformers", "lightning"), ""])
    print(f"\n{setting('torch', 'transformers', 'lightning')}")
    slug = re.sub(r"\W+", "_", device_name().lower()).strip("_")
    file = options.write or (None if options.quick else RESULTS / f"gpu_{slug}.md")
    if file is not None:
        title = f"# Correctness and speed on {device_name()}\n\n`python benchmarks/gpu.py {' '.join(sys.argv[1:])}`\n\n"
        file.write_text(title + text, encoding="utf-8")
        print(f"written to {file}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
