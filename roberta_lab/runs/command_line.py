"""A command as it is shown, so that it can be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

LONGEST = 200  # characters of a command that stays on one line where it is folded
WIDTH = 120  # of the lines of a longer one, unless one override is longer


def typed(command: str, overrides: Iterable[str]) -> str:
    """`roberta-lab COMMAND OVERRIDES` in one line, each override quoted where a shell needs it."""
    return " ".join(["roberta-lab", command, *map(shlex.quote, overrides)])


def folded(command: str, overrides: Iterable[str]) -> str:
    """The same to be read; a long one is broken between overrides, where a backslash tells the shell to read on."""
    overrides = list(overrides)
    if len(line := typed(command, overrides)) <= LONGEST:
        return line
    lines = [typed(command, [])]
    for word in map(shlex.quote, overrides):
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)
