"""Exceptions that commands answer in one line: a mistake, a damaged file, a run in use, a lost process; and exit codes."""

import difflib
import signal
from pathlib import Path

from roberta_lab.config.formatting import visible
from roberta_lab.config.secrets import masked

# signals that end a command: what is in progress is finished and saved after the first, a second one ends at once
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
EXIT_CODES = {
    0: "done",
    1: "failed: a run, the machine, another process; what is finished or saved stays",
    2: "a mistake in what was typed or in a file, found before the work",
    **{
        128 + number: f"stopped by {number.name}: after the first signal saved, after a second at once"
        for number in STOPPING
    },
}  # of every command, in a shell and under a scheduler alike


class ConfigError(ValueError):
    """A user's mistake: one line that says what is wrong, where, and what is allowed. Commands print it and exit with 2."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split("\n"))  # what libraries say of a file may have several lines


class Damaged(RuntimeError):
    """The error of a wrong file that this program wrote: one line that says which, what is wrong, and the way out."""

    @classmethod
    def at(cls, path: Path, what: str, way_out: str) -> "Damaged":
        """Return the error of a file or folder."""
        return cls(f"{path} {what}; {way_out}.")


class RunInUse(RuntimeError):
    """The error of a run whose folder another live process holds, or has taken."""


class RankDied(RuntimeError):
    """The error of a run on several devices of which one process died: which, and how it ended."""

    def __str__(self) -> str:
        return f"{super().__str__()}; the same command goes on from the last checkpoint."


class SlurmError(RuntimeError):
    """The error of a command of SLURM that failed, with what it said."""


class NonFinite(FloatingPointError):
    """The error of a run whose loss, gradients or weights are no numbers: at which step, and where its examples are written."""


class NonFiniteStep(NonFinite):
    """The error of a step that was not taken, since its gradients are no numbers; it can be left out."""


class ProcessDied(RuntimeError):
    """The error of work whose process ended before it answered: killed, by the machine perhaps for want of memory."""


class Stopped(KeyboardInterrupt):
    """A signal has asked this command to stop. `said` is what is lost, or how to go on; empty where nothing special is."""

    def __init__(self, number: int, said: str = "") -> None:
        super().__init__(number, said)
        self.number, self.said = number, said

    def __str__(self) -> str:
        said = self.said or "the same command goes on from what is finished or saved"
        return f"stopped by {signal.Signals(self.number).name}; {said}."


class Unfinished(RuntimeError):
    """The error of a sweep with failed runs, which its message lists; all others were made. `found` is what the command answers."""

    def __init__(self, message: str, found: object = None) -> None:
        super().__init__(message)
        self.found = found


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that ended with an error: of `EXIT_CODES`."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)
    return 2 if isinstance(error, ConfigError) else 1


def nearest(name: str, allowed: list[str]) -> str:
    """` Did you mean 'x'?`, or nothing when no allowed name is near."""
    match = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""


def one_line(error: BaseException | None) -> str:
    """Return the kind of an error and the first line of its message."""
    text = visible(masked(next(iter(str(error).strip().splitlines()), "")))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


ANSWERED = (
    ConfigError,
    Damaged,
    RunInUse,
    RankDied,
    ProcessDied,
    SlurmError,
    NonFinite,
    Unfinished,
)  # in one line, by the console script
