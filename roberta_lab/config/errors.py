"""Exceptions that commands answer in one line: a user's mistake, a run in use, a lost process, failed runs; and exit codes."""

import difflib
import signal

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


class RunInUse(RuntimeError):
    """The error of a run whose folder another live process holds."""


class RankDied(RuntimeError):
    """The error of a run on several devices of which one process died: which, and how it ended."""

    def __str__(self) -> str:
        return f"{super().__str__()}; the same command goes on from the last checkpoint."


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
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


ANSWERED = (ConfigError, RunInUse, RankDied, ProcessDied, Unfinished)  # in one line, by the console script
