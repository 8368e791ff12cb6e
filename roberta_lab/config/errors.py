"""Exceptions that commands answer in one line: a user's mistake, a run in use, a lost process, failed runs."""

import difflib

from roberta_lab.config.formatting import visible
from roberta_lab.config.secrets import masked


class ConfigError(ValueError):
    """A user's mistake: one line that says what is wrong, where, and what is allowed. Commands print it and exit with 2."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split("\n"))  # what libraries say of a file may have several lines


class RunInUse(RuntimeError):
    """The error of a run whose folder another live process holds."""


class RankDied(RuntimeError):
    """The error of a run on several devices of which one process died: which, and how it ended."""

    def __str__(self) -> str:
        return f"{super().__str__()}; the same command goes on from the last checkpoint."


class Unfinished(RuntimeError):
    """The error of a sweep with failed runs, which its message lists; all others were made. `found` is what the command answers."""

    def __init__(self, message: str, found: object = None) -> None:
        super().__init__(message)
        self.found = found


def nearest(name: str, allowed: list[str]) -> str:
    """` Did you mean 'x'?`, or nothing when no allowed name is near."""
    match = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


def one_line(error: BaseException | None) -> str:
    """Return the kind of an error and the first line of its message."""
    text = visible(masked(next(iter(str(error).strip().splitlines()), "")))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


ANSWERED = (ConfigError, RunInUse, RankDied, Unfinished)  # in one line, by the console script
