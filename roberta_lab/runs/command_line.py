"""Commands as they are shown, so that they can be pasted into a shell."""

import shlex
from collections.abc import Iterable

from roberta_lab.runs.overrides import Override

LONGEST = 200  # characters of a command that stays on one line where it is folded
WIDTH = 120  # of the lines of a longer one, unless one override is longer


def typed(command: str, overrides: Iterable[Override | str]) -> str:
    """Return `roberta-lab COMMAND OVERRIDES` in one line, each override quoted where a shell needs it."""
    return " ".join(["roberta-lab", command, *map(_quoted, overrides)])


def folded(command: str, overrides: Iterable[Override | str]) -> str:
    """Return the command for reading: a long one is broken between overrides, where a backslash lets the shell read on."""
    overrides = list(overrides)
    if len(line := typed(command, overrides)) <= LONGEST:
        return line
    lines = [typed(command, [])]
    for word in map(_quoted, overrides):
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)


def _quoted(override: Override | str) -> str:
    return shlex.quote(override if isinstance(override, str) else override.input_line or "")
