"""Keep a copy of a token store on a disk of the machine itself (`paths.local`), which all runs and ranks of the machine read.

A copy is named by the hashes of what it holds, so one of other tokens is never taken for it, and it is compared with them each time.
It changes no result: where none can be made, the store itself is read, after a line that says why.
"""

import errno
import hashlib
import os
import shutil
from functools import partial
from pathlib import Path

from roberta_lab.config import Damaged
from roberta_lab.config.console import say_once
from roberta_lab.config.formatting import in_bytes
from roberta_lab.config.machine import OF_THE_MACHINE
from roberta_lab.data import claims, file_hashes, network_files, verified
from roberta_lab.data.storage import REMOVED, make_once, remove_whole

FOLDER = "tokens"  # below `paths.local`
SPARE = 1 << 28  # bytes that stay free beside a copy
_PIECE = 1 << 23


def of(store: Path, local: str) -> Path:
    """Return the folder from which the tokens of a store are read: its copy below `local`, made if it is missing, or itself.

    Raises: Damaged for a store whose files are not those that were written.
    """
    if not local:
        return store
    try:
        content = network_files.read(store / verified.HASHES)
    except FileNotFoundError:
        say_once(f"{store} is of older code and has no hashes: it is read where it is, not from {local}")
        return store
    copy = Path(local) / FOLDER / hashlib.sha256(content).hexdigest()[:24]
    try:
        for _ in range(3):  # a damaged one is made again
            wait = partial(say_once, f"waiting for another process that copies {store} to {copy} ...")
            make_once(copy, partial(_fill, store=store, content=content), wait)
            if _is_whole(copy, content):
                os.utime(copy)
                return copy
            with claims.locked(copy.with_name(f".{copy.name}.check")):  # the one that another has just made stays
                file_hashes.forget()
                if copy.is_dir() and not _is_whole(copy, content):
                    _remove(copy)
        raise OSError(errno.EIO, "it does not keep what is written", str(copy))
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        say_once(f"paths.local={local}: {error.strerror}{where}; the tokens are read from {store}")
        return store


def copies_in(local: str) -> list[Path]:
    """Return the copies below `paths.local`, and what is left of some; none that is being made."""
    if not local:
        return []
    folder = Path(local) / FOLDER
    return sorted([*folder.glob("[!.]*"), *folder.glob(f".*{REMOVED}")])


def _fill(folder: Path, store: Path, content: bytes) -> None:
    """Copy the files of a store that have hashes, if there is room, and compare each with its own. Raises Damaged, OSError."""
    _sweep(folder)
    verified.check_sizes(store)  # of regular files: another would be copied for ever
    entries = verified.entries_of(store) or {}
    needed, free = sum(size for size, _ in entries.values()), shutil.disk_usage(folder.parent).free
    if free < needed + SPARE:
        room = f"{in_bytes(free)} are free, {in_bytes(needed)} are needed, and {in_bytes(SPARE)} to spare"
        raise OSError(errno.ENOSPC, f"{room}; `roberta-lab prune` removes other copies")
    try:
        for name, (_, sha256) in entries.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if _copied(store / name, folder / name) != sha256:
                what = f"is damaged: its SHA-256 is not the one in {store / verified.HASHES}"
                raise Damaged.at(store / name, what, verified.way_out(store / name))
        (folder / verified.HASHES).write_bytes(content)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _copied(file: Path, to: Path) -> str:
    """Copy a file, with its time of change, and return the SHA-256 of what was read."""
    digest = hashlib.sha256()
    with open(file, "rb") as source, open(to, "wb") as target:
        while piece := source.read(_PIECE):
            digest.update(piece)
            target.write(piece)
    stat = file.stat()
    os.utime(to, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return digest.hexdigest()


def _is_whole(copy: Path, content: bytes) -> bool:
    try:
        if network_files.read(copy / verified.HASHES) != content:
            raise Damaged(f"{copy} has other hashes than its name says")
        verified.check_folder(copy)
    except (Damaged, FileNotFoundError) as damage:
        say_once(f"{str(damage).partition(';')[0]}; it is copied again")
        return False
    return True


def _remove(copy: Path) -> None:
    file_hashes.forget()  # a new file may have the number, the size and the time of one that is removed
    remove_whole(copy)


def _sweep(own: Path) -> None:
    """Remove what killed processes have left of copies, this one too."""
    shutil.rmtree(own, ignore_errors=True)
    for making in own.parent.glob(".*.making"):
        if making != own:
            with claims.locked_if_free(making.with_suffix(".lock")) as is_ours:
                if is_ours:
                    shutil.rmtree(making, ignore_errors=True)
