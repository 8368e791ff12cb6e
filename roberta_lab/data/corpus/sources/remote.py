"""Read files of object stores and web servers by their URLs, through fsspec: in ranges, in bounded memory, and whole or not at all.

A read that breaks off goes on where it was. A file that changes while it is read is refused. Every error becomes one line, in
which secrets of a URL are masked; those of the network are tried again, a bounded number of times.
"""

from __future__ import annotations

import glob
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from roberta_lab.config import ConfigError
from roberta_lab.config.paths import URL
from roberta_lab.config.secrets import masked
from roberta_lab.data.corpus.sources import stores

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem

_BLOCK = 1 << 22  # bytes that are asked for at once
_READ = 1 << 17


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL, as a store described it."""

    url: str
    size: int  # bytes
    version: str  # changes whenever the content does; empty where the store says nothing of the kind
    sha256: str = ""  # once it was read

    def __str__(self) -> str:
        return masked(self.url)

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return PurePosixPath(stores.path_of(self.url)).name

    @property
    def suffix(self) -> str:
        """Return the ending of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def can_be_cut(self) -> bool:
        """Return whether ranges of it can be read apart: all of them are known to be of one version."""
        return bool(self.version) and stores.scheme_of(self.url) not in stores.WEB

    def open(self, seekable: bool = False) -> BinaryIO:
        """Return its bytes as a stream; of a web server one that can seek asks for ranges. Reading raises ConfigError."""
        return cast(
            BinaryIO, io.BufferedReader(_Stream(self, seekable or stores.scheme_of(self.url) not in stores.WEB), _READ)
        )

    def expect_unchanged(self) -> None:
        """Raise ConfigError if the store has another content now, after this one was read: the two may have been mixed."""
        if self.version:
            is_same = _described(self.url) == (self.size, self.version)
        else:
            is_same = not self.sha256 or sha256_of(self) == self.sha256
        if not is_same:
            raise changed(self)


def changed(file: Place) -> ConfigError:
    """Return the error for a file that was changed while it was read."""
    return ConfigError(f"{file}: it was changed while it was read. Run the same command again.")


Place: TypeAlias = Path | RemoteFile


def opened(place: Place) -> BinaryIO:
    """Return the bytes of a file, on a disk or behind a URL."""
    return place.open() if isinstance(place, RemoteFile) else open(place, "rb")


def is_url(path: str) -> bool:
    """Return whether a path names a file of a store: it begins with a scheme."""
    return URL.match(path) is not None


def check(url: str) -> None:
    """Raise ConfigError for a URL that is not read. Use no network."""
    scheme, shown = stores.scheme_of(url), masked(url)
    if "::" in url:
        raise ConfigError(f"{shown}: chained URLs are not read. Allowed: one URL, {stores.SHOWN}.")
    if scheme in ("file", "local"):
        raise ConfigError(f"{shown}: a file of this machine. Allowed: its path, {stores.path_of(url)}.")
    if scheme not in stores.PACKAGES:
        raise ConfigError(f"{shown}: {scheme}:// is not read. Allowed: {stores.SHOWN}, or a path.")
    if not stores.path_of(url).strip("/"):
        raise ConfigError(f"{shown}: it names no file. Allowed: {scheme}://PLACE/FILE, a folder or a glob of a store.")


def find(
    url: str, of_kind: Callable[[Iterable[PurePosixPath]], list[PurePosixPath]], looked_for: str
) -> dict[PurePosixPath, RemoteFile]:
    """Return the files that a URL names, by their paths below it.

    A glob gives the files that it matches, a folder those of its files that `of_kind` picks; none that is hidden.
    Raises ConfigError where there are none.
    """
    check(url)
    if stores.scheme_of(url) in stores.WEB:
        file = RemoteFile(url, *_described(url))
        return {PurePosixPath(file.name): file}
    filesystem, path = stores.filesystem_of(url)
    info = stores.tried(url, lambda: _info(filesystem, path))
    if info is not None and info["type"] != "directory":
        return {PurePosixPath(PurePosixPath(path).name): _file(url, filesystem, info)}
    if info is None and not glob.has_magic(path):
        raise ConfigError(f"{masked(url)}: nothing is there.")
    root = path if info is not None else _before_magic(path)
    folders, infos = [path], dict[str, Mapping[str, Any]]()
    if info is None:
        matched: dict[str, dict[str, Any]] = stores.tried(url, lambda: filesystem.glob(path, detail=True))
        infos = {name: one for name, one in matched.items() if one["type"] == "file"}
        folders = [name for name in matched if name not in infos] if "**" not in path else []
    found = _below(url, filesystem, root, infos)
    seen = [*found]
    for folder in folders:
        listed = stores.tried(url, partial(filesystem.find, folder, detail=True))
        below = _below(url, filesystem, root, listed)
        seen += below
        found |= {name: below[name] for name in of_kind(below)}
    if not found:
        names = ", ".join(masked(str(name)) for name in sorted(seen)[:8])
        raise ConfigError(f"{masked(url)}: no {looked_for}. There is: {names or 'nothing'}.")
    return found


def sha256_of(file: RemoteFile) -> str:
    """Return the SHA-256 of a file, read a piece at a time."""
    digest = hashlib.sha256()
    with file.open() as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ---------------------------------------------------------------- finding
def _info(filesystem: AbstractFileSystem, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = filesystem.info(path)
    except FileNotFoundError as error:
        status, may_pass = stores.status_of(error)
        if may_pass or status not in (None, 404):
            raise  # it was not looked for
        return None
    return found


def _described(url: str) -> tuple[int, str]:
    """Return size and version of a file, as the store has it now."""

    def look() -> dict[str, Any]:
        filesystem, path = stores.filesystem_of(url)
        filesystem.invalidate_cache()
        found: dict[str, Any] = filesystem.info(path)
        return found

    info = stores.tried(url, look)
    return _size(url, info), stores.version_of(info)


def _file(url: str, filesystem: AbstractFileSystem, info: Mapping[str, Any]) -> RemoteFile:
    name = filesystem.unstrip_protocol(info["name"])
    return RemoteFile(name, _size(name, info), stores.version_of(info))


def _size(url: str, info: Mapping[str, Any]) -> int:
    if not isinstance(info.get("size"), int):
        raise ConfigError(f"{masked(url)}: the server does not say how large it is. Download it, and give its path.")
    return int(info["size"])


def _before_magic(path: str) -> str:
    parts = path.split("/")
    first = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first])


def _below(
    url: str, filesystem: AbstractFileSystem, root: str, infos: Mapping[str, Mapping[str, Any]]
) -> dict[PurePosixPath, RemoteFile]:
    """Return the files of a listing by their paths below a root. What stands for a folder is left out, as is what is hidden."""
    start, files = f"{root.rstrip('/')}/" if root else "", dict[PurePosixPath, RemoteFile]()
    for name, info in infos.items():
        relative = PurePosixPath(name.removeprefix(start))
        is_hidden = any(part.startswith(".") for part in relative.parts)
        if info["type"] == "file" and not name.endswith("/") and not is_hidden:
            files[relative] = _file(url, filesystem, info)
    return files


# ---------------------------------------------------------------- reading
class _Stream(io.RawIOBase):
    """The bytes of a file. After a read that broke off it is opened again where it was.

    One that is read from end to end is compared with its hash, if that is known.
    """

    def __init__(self, file: RemoteFile, seekable: bool) -> None:
        self._file, self._seekable, self._at, self._own = file, seekable, 0, cast("BinaryIO | None", None)
        self._digest, self._hashed = (
            hashlib.sha256(),
            0,
        )  # of the bytes from the first on, as far as they were read in order

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if not self._seekable:
            raise io.UnsupportedOperation("seek")
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def close(self) -> None:
        self._let_go()
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        free = memoryview(buffer)
        size = min(len(free), self._file.size - self._at)
        if size <= 0:
            if self._file.sha256 and self._hashed == self._file.size and self._digest.hexdigest() != self._file.sha256:
                raise changed(self._file)
            return 0
        data = stores.tried(self._file.url, lambda: self._read(size))
        free[: len(data)] = data
        if self._hashed == self._at and self._file.sha256:
            self._digest.update(data)
            self._hashed += len(data)
        self._at += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            own = self._own or self._open()
            if self._seekable and own.tell() != self._at:
                own.seek(self._at)
            if data := own.read(size):
                return data
        except Exception:
            self._let_go()
            raise
        self._let_go()
        raise ConnectionError(f"it ended after {self._at:,} of {self._file.size:,} bytes")

    def _open(self) -> BinaryIO:
        filesystem, path = stores.filesystem_of(self._file.url)
        if self._seekable:
            self._own = own = cast(BinaryIO, filesystem.open(path, "rb", block_size=_BLOCK, cache_type="readahead"))
            return own
        self._own = own = cast(BinaryIO, filesystem.open(path, "rb", block_size=0, size=self._file.size))
        left = self._at  # a web server need not know ranges
        while left and (data := own.read(min(left, 1 << 20))):
            left -= len(data)
        if left:
            raise ConnectionError(f"it ended before byte {self._at:,}")
        return own

    def _let_go(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            with suppress(Exception):  # whatever a connection that broke off says when it is closed
                own.close()
