"""Claims: who works on a folder, or makes a thing, as a note that only one process can place.

No lock of the file system is needed (`flock` does nothing on some network file systems). The note is placed by a hard link,
which fails where there is one. It goes with its process: one that ended on this machine, however it ended, holds nothing, and
one on another machine holds nothing once its note was not touched for STALE seconds. Times are compared as one file system
notes them. Some (Lustre, SFTP) note what the clock of each machine says, which may be behind: so a note that looks silent is
also watched for WATCH seconds, unless it is older than clocks of one cluster are apart.

A process that succeeds a dead one places a second note, named by the dead one's token, before it replaces the first: of several
that try, one succeeds. Whoever lost its claim without knowing (a machine that slept) sees another token in `check`.
"""

import hashlib
import json
import math
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from roberta_lab.config import Damaged, RunInUse, naming
from roberta_lab.config.processes import start_of, this_machine
from roberta_lab.data import network_files
from roberta_lab.data.foreign import NO_JSON

NOTE = "owner.json"  # in a folder that is claimed
BEAT, STALE = 10.0, 90.0  # seconds: how often a note is touched; when a silent one counts no more
WATCH = 25.0  # seconds in which a living process touches its note twice
AGREE = 600.0  # seconds by which clocks of one cluster differ at most
_TOKEN = re.compile(r"[\w-]{0,64}")
POLL, WAIT = 0.05, 0.5  # between two looks at what another process holds: the first ones, later ones


@dataclass(frozen=True)
class Owner:
    """A process as its note tells of it. Notes of older code have no machine and no token."""

    pid: int
    host: str
    since: str = "?"
    machine: str = ""
    start: str = ""  # of the process, by the machine's own count: a number may be given again
    token: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Return whether it is a process of this machine, which can be asked whether it lives."""
        return self.machine == this_machine() if self.machine else self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Return whether it surely ended: a process of this machine that is not there any more."""
        start = start_of(self.pid) if self.is_here else self.start
        return start is None or bool(self.start and start != self.start)


def owner(note: Path) -> Owner | None:
    """Return who placed a note; None where there is none. One that cannot be read is that of nobody known."""
    content = b""
    try:
        content = network_files.read(note)
        found = json.loads(content)
        known = {name: str(found[name]) for name in {*Owner.__dataclass_fields__} & {*found}}
        own = Owner(**{"host": socket.gethostname(), **known, "pid": int(found["pid"])})  # type: ignore[arg-type]
        if not _TOKEN.fullmatch(own.token):
            raise ValueError("it becomes a part of a name")
        return own
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (*NO_JSON, Damaged, TypeError, KeyError, OverflowError):
        return Owner(0, "an unknown machine", machine="?", token=f"cut-{hashlib.sha256(content).hexdigest()[:8]}")


def is_held(folder: Path, name: str = NOTE) -> bool:
    """Return whether another process holds a folder, or the note of this name: one here, or one elsewhere that was heard of lately."""
    found = owner(note := folder / name)
    if found is None or found.is_here:
        return found is not None and not found.is_gone and found.pid != os.getpid()
    with suppress(FileNotFoundError):
        return network_files.now(folder) - note.stat().st_mtime < STALE
    return False


def wait_until_free(folder: Path, say: Callable[[str], object], seconds: float = math.inf) -> bool:
    """Wait while another process holds a folder, after a line that says so. Return whether there was anything to wait for."""
    if not is_held(folder):
        return False
    say(f"waiting for {owner(folder / NOTE)}, which makes {folder} ...")
    deadline = time.monotonic() + seconds
    while is_held(folder) and time.monotonic() < deadline:
        time.sleep(WAIT)
    return True


# ---------------------------------------------------------------- placing a note
class _Held:
    """A note that this process has placed. A thread touches it until it is let go."""

    def __init__(self, note: Path, own: Owner) -> None:
        self.note, self.own, self._ended, self._closing = note, own, threading.Event(), threading.Lock()
        self._file = os.open(note, os.O_RDONLY)  # of this very note, whatever takes its place
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError), self._closing:
                if not self._ended.is_set():
                    self._touch()

    def _touch(self) -> None:
        try:
            os.utime(self._file)
        except OSError:  # a handle that the server has forgotten, or times that cannot be set
            if self.is_ours():
                with open(self.note, "r+b") as file:
                    file.write(_content(self.own))

    def is_ours(self) -> bool:
        """Return whether the note is still the one that was placed."""
        return owner(self.note) == self.own

    def let_go(self) -> None:
        """Take the note away, unless it is another's."""
        self._ended.set()
        with suppress(OSError):
            if self.is_ours():
                self.note.unlink()
        with self._closing:
            os.close(self._file)


def _own() -> Owner:
    since, pid = time.strftime("%Y-%m-%dT%H:%M:%S%z"), os.getpid()
    return Owner(pid, socket.gethostname(), since, this_machine(), start_of(pid) or "", secrets.token_hex(8))


def _content(own: Owner) -> bytes:
    return json.dumps(asdict(own)).encode()


def _place(note: Path, watch: float | None = None) -> _Held | tuple[Owner, float]:
    """Place a note of this process. Where there is one that counts, return whose it is, and for how many seconds it was silent.

    A silent one of another machine is first watched for `watch` seconds; None: WATCH.
    """
    own = _own()
    beside = note.with_name(f".{note.name.lstrip('.')}.{own.token}")
    content = _content(own)
    try:
        with naming(note, len(content), beside):
            beside.write_bytes(content)
        while True:
            at, first = note, None
            while not network_files.place(beside, at, content):
                there = owner(at)
                if there == own:  # it was placed, and only the answer was lost
                    break
                if there is None:  # let go meanwhile
                    at, first = note, None
                    continue
                silent, watched = network_files.silence(at, there.token, beside)
                is_silent = silent >= STALE and (watched >= (WATCH if watch is None else watch) or silent >= AGREE)
                if not there.is_gone and (there.is_here or not is_silent):
                    return there, silent
                first = first or there
                at = _succession(note, there)
            if first is None:
                break
            if owner(note) == first:
                with naming(note, beside=beside):
                    os.replace(beside, note)
                _forget(note, first)
                break
            at.unlink(missing_ok=True)  # another one succeeded it, and is done with the notes between
        return _Held(note, own)
    finally:
        beside.unlink(missing_ok=True)


def _succession(note: Path, gone: Owner) -> Path:
    """Return the note that only one process can place: the one that succeeds this owner."""
    return note.with_name(f".{note.name.lstrip('.')}.after-{gone.token or gone.pid}")


def _forget(note: Path, first: Owner) -> None:
    """Remove the notes by which dead processes were succeeded, from the first one on."""
    gone: Owner | None = first
    while gone is not None:
        file = _succession(note, gone)
        gone = owner(file)
        file.unlink(missing_ok=True)


# ---------------------------------------------------------------- holding
_held: dict[Path, _Held] = {}  # by folder, as it is called from everywhere


@contextmanager
def locked(note: Path, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a note while the block runs. Wait for another process that holds it, after a call of `on_wait`."""
    found, pause = _place(note), POLL
    while not isinstance(found, _Held):
        if pause == POLL:
            on_wait()
        time.sleep(pause)
        found, pause = _place(note), min(1.5 * pause, WAIT)  # a look of each of many is work for the file system
    try:
        yield
    finally:
        found.let_go()


@contextmanager
def locked_if_free(note: Path, watch: float | None = None) -> Iterator[bool]:
    """Hold a note while the block runs, if nobody else does. Yield whether it is held.

    `watch` is 0 for work that does no harm when two do it: then clocks that differ may let a living process look silent.
    """
    found = _place(note, watch)
    try:
        yield isinstance(found, _Held)
    finally:
        if isinstance(found, _Held):
            found.let_go()


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Hold a folder for this process by its `owner.json`; raise RunInUse with the process that holds it.

    A process of another machine that was silent for some time is waited for, until it is heard of or does not count any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, waits = _place(folder / NOTE), False
    while not isinstance(found, _Held):
        there, silent = found
        if there.is_here or silent < 2.5 * BEAT:
            raise RunInUse(f"{folder} is in use by {there}; wait for it or stop it, then type the same command again.")
        if not waits:
            print(f"{folder}: waiting for a sign of {there}, up to {max(STALE - silent, WATCH):.0f} s", flush=True)
            waits = True
        time.sleep(1.0)
        found = _place(folder / NOTE)
    for left in folder.glob(f".{NOTE}.*"):  # of processes that were killed while they placed a note
        with suppress(FileNotFoundError):
            is_old = network_files.now(folder) - left.lstat().st_mtime > AGREE  # they are there for seconds
            if is_old or ((by := owner(left)) is not None and by.is_gone):
                left.unlink()
    place = Path(os.path.abspath(folder))
    _held[place] = found
    try:
        yield
    finally:
        del _held[place]
        found.let_go()


def is_claimed(folder: Path) -> bool:
    """Return whether this process has claimed a folder; `check` says whether it is still its own."""
    held = _held.get(Path(os.path.abspath(folder)))
    return held is not None and held.own.pid == os.getpid()


def check(folder: Path) -> None:
    """Do nothing while a folder that this process has claimed is there and still its own, or where it has claimed none.

    Raises: RunInUse when another process has taken it; Damaged when it was removed. Nothing may be written there any more.
    """
    if not is_claimed(folder) or _held[Path(os.path.abspath(folder))].is_ours():
        return
    if not folder.is_dir():
        raise Damaged.at(folder, "was removed while this process worked on it", "the same command makes it again")
    other = owner(folder / NOTE)
    who = f"was taken by {other}" if other is not None else "lost its owner.json, so another process may take it"
    raise RunInUse(f"{folder} {who}; this process stops and writes nothing more there.")
