"""Errors of disk, file system and limits: which they are, what a user can do, and the path that they are of."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLACES = "see paths.outputs and paths.cache"
_FULL = "the disk or its quota is full"
_FILES = "the file system fails, or its server does"
OF_THE_MACHINE = {  # errors of the system that no code can mend -> what a user can do about them; empty: the error says it
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR), _PLACES
    ),
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


def of_the_machine(error: OSError, places: str = _PLACES) -> str | None:
    """Return an error of disk, file system or limits as one line with its path; None for one that only our code can cause.

    `places` says where the command writes, for an error without a path.
    """
    if error.errno not in OF_THE_MACHINE:
        return None
    way_out = OF_THE_MACHINE[error.errno]
    where = f": {error.filename}" if error.filename is not None else ""
    return "; ".join(part for part in (f"{error.strerror}{where}", way_out, "" if where else places) if part) + "."
