"""A command as it is shown, so that it can be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

LONGEST = 200  # characters of a command that stays on one line
WIDTH = 120  # of the lines of a longer one, unless one override is longer


def typed(command: str, overrides: Iterable[str]) -> str:
    """`roberta-lab COMMAND OVERRIDES`, each override quoted where a shell needs it.

    A long one is broken between overrides, where a backslash at the end of a line tells the shell to read on.
    """
    words = ["roberta-lab", command, *map(shlex.quote, overrides)]
    if len(line := " ".join(words)) <= LONGEST:
        return line
    lines = [" ".join(words[:2])]
    for word in words[2:]:
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)
