"""Read files that other machines replace, and tell how old they are: what file systems of networks do in another way than a disk."""

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from roberta_lab.config import Damaged, naming
from roberta_lab.data.foreign import special

_TRIES = 3
_PAUSE = 0.02  # seconds
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK, errno.EXDEV)
_seen: dict[
    tuple[Path, str], tuple[float, float]
] = {}  # by file and who wrote it: its time, and since when it is known


@contextmanager
def without(*numbers: int) -> Iterator[None]:
    """Leave the block at an error of the system of these numbers."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def read(file: Path) -> bytes:
    """Return what a file holds. One that goes between opening and reading is an error there, of many kinds: it is opened anew.

    NFS answers with a handle that is forgotten (ESTALE), others with EPERM or EFAULT. Raises OSError, and Damaged for what is no
    regular file.
    """
    for _ in range(_TRIES):
        try:
            return _content(file)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError:
            time.sleep(_PAUSE)
    return _content(file)


def _content(file: Path) -> bytes:
    if kind := special(file, file.stat()):
        raise Damaged.at(file, f"is {kind} in place of a file", "delete it")
    return file.read_bytes()


def tail(file: Path, most: int) -> bytes:
    """Return the last bytes of a file that may still grow; none of what is no regular file, or cannot be read."""
    try:
        status = file.stat()
        if special(file, status):
            return b""
        with open(file, "rb") as opened:
            opened.seek(max(0, status.st_size - most))
            return opened.read()
    except OSError:
        return b""


def sync(folder: Path) -> None:
    """Wait until the disk has the names of a folder; some file systems of networks and in user space cannot be asked for that."""
    with without(errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EBADF, errno.EACCES, errno.EISDIR):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def now(folder: Path) -> float:
    """Return the time by the clock of a folder's file system; by that of this machine where nothing can be written."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as file:
            return os.stat(file.name).st_mtime
    except FileNotFoundError:
        raise
    except OSError:  # of another user, or mounted to be read
        return time.time()


def place(beside: Path, at: Path, content: bytes) -> bool:
    """Place what is written beside a file, if there is none, and return whether that was so: by a hard link, or by creating it."""
    try:
        with naming(at, beside=beside):
            os.link(beside, at)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            file = os.open(at, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with open(file, "wb") as note:
            note.write(content)
    return True


def silence(file: Path, by: str, beside: Path) -> tuple[float, float]:
    """Return for how many seconds a file was not touched: by the clock of its file system, and as this process has seen it.

    `by` tells it from others of its name; `beside` is a file of this process in the same folder. (0, 0) for one that is gone.
    """
    try:
        with suppress(OSError):  # where times cannot be set it is as young as it was written
            os.utime(beside)
        touched = file.stat().st_mtime
        silent = beside.stat().st_mtime - touched
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        return 0.0, 0.0
    before, since = _seen.get((file, by), (0.0, 0.0))
    if before != touched:
        since = time.monotonic()
        _seen[file, by] = touched, since
    return silent, time.monotonic() - since
