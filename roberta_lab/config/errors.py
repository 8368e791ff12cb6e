"""Exceptions that commands answer in one line: a user's mistake, a damaged file, a run in use, a lost process, failed runs."""

import difflib
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ConfigError(ValueError):
    """A user's mistake: one line that says what is wrong, where, and what is allowed. Commands print it and exit with 2."""


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
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


ANSWERED = (ConfigError, Damaged, RunInUse, RankDied, Unfinished)  # in one line, by the console script

_FULL = "the disk or its quota is full"
_FILES = "the file system fails, or its server does"
OF_THE_MACHINE = {  # errors of the system that no code can mend -> what a user can do about them; empty: the error says it
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP), ""),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"{_FULL}: free some, and the same command goes on"),
    errno.EFBIG: "a limit on the size of files (ulimit -f) is too low; raise it, and the same command goes on",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "the limit on open files (ulimit -n) is too low; raise it"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT), _FILES),
    **dict.fromkeys((errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS), f"{_FILES}, or cannot do this"),
    errno.ENOENT: "it was removed, perhaps while the command was going on; the same command makes it again",
    errno.ENOMEM: "the machine's memory is full",
}


@contextmanager
def naming(path: Path, size: int | None = None, beside: Path | None = None) -> Iterator[None]:
    """Give an error of the system in the block the path, and the bytes that were to be written: writing itself names neither.

    An error of `beside`, which is to take the path's place, is given the path too.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(beside)):
            raise
        said = "" if size is None else f" ({size:,} bytes are needed)"
        raise OSError(error.errno, f"{error.strerror}{said}", str(path)) from error


def of_the_machine(error: OSError, places: str = "see paths.outputs and paths.cache") -> str | None:
    """Return an error of disk, file system or limits as one line with its path; None for one that only our code can cause.

    `places` says where the command writes, for an error without a path.
    """
    if error.errno not in OF_THE_MACHINE:
        return None
    way_out = OF_THE_MACHINE[error.errno]
    where = f": {error.filename}" if error.filename is not None else ""
    return "; ".join(part for part in (f"{error.strerror}{where}", way_out, "" if where else places) if part) + "."
