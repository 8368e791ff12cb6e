"""Read files of object stores and web servers by their URLs, through fsspec: in ranges, in bounded memory, and whole or not at all.

A read that breaks off goes on where it was. A file that changes while it is read is refused. Every error becomes one line, in
which secrets of a URL are masked; those of the network are tried again, a bounded number of times.
"""

from __future__ import annotations

import glob
import hashlib
import io
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar, cast

from roberta_lab.config import ConfigError
from roberta_lab.config.paths import URL
from roberta_lab.config.secrets import masked

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem

_T = TypeVar("_T")
_WEB = ("http", "https")  # which have files but no folders
PACKAGES = {  # by scheme; fsspec itself and aiohttp come with Lightning
    **{"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"},
    **dict.fromkeys(_WEB, "aiohttp"),
    "memory": "fsspec",  # within a process: for tests and notebooks
}
_SHOWN = "s3://, gs://, hf://, http://, https://"
_ACCESS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket FSSPEC_S3_ANON=true",
    "gs": "log in with `gcloud auth application-default login`; for a public bucket set FSSPEC_GS_TOKEN=anon",
    "hf": "log in with `hf auth login` or set HF_TOKEN",
}
WAITS = (1.0, 4.0)  # seconds before a call is made again
CONNECT, SILENT = 10.0, 30.0  # seconds until a connection is given up: while it is made; without a byte
_BLOCK = 1 << 22  # bytes that are asked for at once
_READ = 1 << 17
_SETTLED = 3600.0  # seconds after which a time of change is taken for a version of the content
_MARKS = ("ETag", "etag", "md5Hash", "Content-MD5", "blob_id", "created")  # what stores say of the content itself
_TIMES = ("Last-Modified", "LastModified", "updated", "last_modified", "mtime")
_BUSY = (408, 429, 500, 502, 503, 504)  # HTTP
_TRY_THEMSELVES = ("gs", "gcs")  # whose library tries six times, for 40 s
_PASSES = {  # classes of errors, of the libraries of all schemes, that may pass; found by name, since few are installed
    *("ConnectionError", "TimeoutError", "IncompleteRead", "gaierror"),
    *("ClientConnectionError", "ClientPayloadError", "HTTPClientError", "TransportError"),
}
_NEEDS_LOGIN = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "GoogleAuthError"}


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
        return PurePosixPath(_path_of(self.url)).name

    @property
    def suffix(self) -> str:
        """Return the ending of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def can_be_cut(self) -> bool:
        """Return whether ranges of it can be read apart: all of them are known to be of one version."""
        return bool(self.version) and _scheme(self.url) not in _WEB

    def open(self, seekable: bool = False) -> BinaryIO:
        """Return its bytes as a stream; of a web server one that can seek asks for ranges. Reading raises ConfigError."""
        return cast(BinaryIO, io.BufferedReader(_Stream(self, seekable or _scheme(self.url) not in _WEB), _READ))

    def expect_unchanged(self) -> None:
        """Raise ConfigError if the store has another content now, after this one was read: the two may have been mixed."""
        if self.version:
            is_same = _described(self.url) == (self.size, self.version)
        else:
            is_same = not self.sha256 or sha256_of(self, lambda _: None) == self.sha256
        if not is_same:
            raise ConfigError(f"{self}: it was changed while it was read. Run the same command again.")


Place: TypeAlias = Path | RemoteFile


def opened(place: Place) -> BinaryIO:
    """Return the bytes of a file, on a disk or behind a URL."""
    return place.open() if isinstance(place, RemoteFile) else open(place, "rb")


def is_url(path: str) -> bool:
    """Return whether a path names a file of a store: it begins with a scheme."""
    return URL.match(path) is not None


def check(url: str) -> None:
    """Raise ConfigError for a URL that is not read. Use no network."""
    scheme, shown = _scheme(url), masked(url)
    if "::" in url:
        raise ConfigError(f"{shown}: chained URLs are not read. Allowed: one URL, {_SHOWN}.")
    if scheme in ("file", "local"):
        raise ConfigError(f"{shown}: a file of this machine. Allowed: its path, {_path_of(url)}.")
    if scheme not in PACKAGES:
        raise ConfigError(f"{shown}: {scheme}:// is not read. Allowed: {_SHOWN}, or a path.")
    if not _path_of(url).strip("/"):
        raise ConfigError(f"{shown}: it names no file. Allowed: {scheme}://PLACE/FILE, a folder or a glob of a store.")


def find(
    url: str, of_kind: Callable[[Iterable[PurePosixPath]], list[PurePosixPath]], looked_for: str
) -> dict[PurePosixPath, RemoteFile]:
    """Return the files that a URL names, by their paths below it.

    A glob gives the files that it matches, a folder those of its files that `of_kind` picks; none that is hidden.
    Raises ConfigError where there are none.
    """
    check(url)
    if _scheme(url) in _WEB:
        file = RemoteFile(url, *_described(url))
        return {PurePosixPath(file.name): file}
    filesystem, path = _opened(url)
    info = _tried(url, lambda: _info(filesystem, path))
    if info is not None and info["type"] != "directory":
        return {PurePosixPath(PurePosixPath(path).name): _file(url, filesystem, info)}
    if info is None and not glob.has_magic(path):
        raise ConfigError(f"{masked(url)}: nothing is there.")
    root = path if info is not None else _before_magic(path)
    folders, infos = [path], dict[str, Mapping[str, Any]]()
    if info is None:
        matched: dict[str, dict[str, Any]] = _tried(url, lambda: filesystem.glob(path, detail=True))
        infos = {name: one for name, one in matched.items() if one["type"] == "file"}
        folders = [name for name in matched if name not in infos] if "**" not in path else []
    found = _below(url, filesystem, root, infos)
    seen = [*found]
    for folder in folders:
        listed = _tried(url, partial(filesystem.find, folder, detail=True))
        below = _below(url, filesystem, root, listed)
        seen += below
        found |= {name: below[name] for name in of_kind(below)}
    if not found:
        names = ", ".join(masked(str(name)) for name in sorted(seen)[:8])
        raise ConfigError(f"{masked(url)}: no {looked_for}. There is: {names or 'nothing'}.")
    return found


def sha256_of(file: RemoteFile, each: Callable[[bytes], object]) -> str:
    """Return the SHA-256 of a file; `each` is called with its bytes, a piece at a time."""
    digest = hashlib.sha256()
    with file.open() as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            each(block)
    return digest.hexdigest()


# ---------------------------------------------------------------- finding
def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _path_of(url: str) -> str:
    rest = url.partition("://")[2]
    return re.split(r"[?#]", rest)[0] if _scheme(url) in _WEB else rest


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, one for each process and place, and the path there."""
    scheme = _scheme(url)
    try:
        import fsspec

        options = _options(scheme)
        known: Mapping[str, Any] = fsspec.config.conf.get(scheme, {})
        chosen = {name: value for name, value in options.items() if name not in known}
        with _quiet():
            filesystem, path = fsspec.core.url_to_fs(url, **chosen)
    except ImportError:
        package = PACKAGES[scheme]
        raise ConfigError(f"{masked(url)}: needs {package}; pip install 'roberta_lab[remote]'") from None
    except Exception as error:
        raise ConfigError(f"{masked(url)}: {_explained(scheme, error)}") from error
    return filesystem, path


def _options(scheme: str) -> dict[str, Any]:
    """Return what bounds the time of a call, in the words of each library."""
    if scheme in _WEB:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENT)
        # bytes as they lie there: a server that calls a .gz file a coding would have it unpacked on the way
        # fsspec leaves connections open whose answer is an error, unless the session itself raises it
        kept = {"timeout": limits, "auto_decompress": False, "raise_for_status": True}
        return {"client_kwargs": kept, "headers": {"Accept-Encoding": "identity"}}
    if scheme == "s3":
        tries = {"connect_timeout": CONNECT, "read_timeout": SILENT, "retries": {"max_attempts": 2}}
        return {"config_kwargs": tries}
    return {"requests_timeout": SILENT} if scheme in ("gs", "gcs") else {}


def _info(filesystem: AbstractFileSystem, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = filesystem.info(path)
    except FileNotFoundError as error:
        status, may_pass = _status(error)
        if may_pass or status not in (None, 404):
            raise  # it was not looked for
        return None
    return found


def _described(url: str) -> tuple[int, str]:
    """Return size and version of a file, as the store has it now."""

    def look() -> dict[str, Any]:
        filesystem, path = _opened(url)
        filesystem.invalidate_cache()
        found: dict[str, Any] = filesystem.info(path)
        return found

    info = _tried(url, look)
    return _size(url, info), _version(info)


def _file(url: str, filesystem: AbstractFileSystem, info: Mapping[str, Any]) -> RemoteFile:
    name = filesystem.unstrip_protocol(info["name"])
    return RemoteFile(name, _size(name, info), _version(info))


def _size(url: str, info: Mapping[str, Any]) -> int:
    if not isinstance(info.get("size"), int):
        raise ConfigError(f"{masked(url)}: the server does not say how large it is. Download it, and give its path.")
    return int(info["size"])


def _version(info: Mapping[str, Any]) -> str:
    """Return what changes with the content; a time only if it is old, since two changes may share a young one."""
    for key in _MARKS:
        if (value := info.get(key)) and not str(value).startswith("W/"):  # a weak ETag may stay the same
            return f"{key} {value.timestamp() if isinstance(value, datetime) else value}"
    for key in _TIMES:
        if (value := info.get(key)) and time.time() - _seconds(value) > _SETTLED:
            return f"{key} {value}"
    return ""


def _seconds(value: object) -> float:
    """Return a time of change in seconds, however a library gives it; infinity for what is none."""
    with suppress(ValueError, TypeError, OverflowError):
        if isinstance(value, str):
            value = datetime.fromisoformat(value) if value[:1].isdigit() else parsedate_to_datetime(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        return float(cast(float, value))
    return float("inf")


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
    """The bytes of a file. After a read that broke off it is opened again where it was."""

    def __init__(self, file: RemoteFile, seekable: bool) -> None:
        self._file, self._seekable, self._at, self._own = file, seekable, 0, cast("BinaryIO | None", None)

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
            return 0
        data = _tried(self._file.url, lambda: self._read(size))
        free[: len(data)] = data
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
        filesystem, path = _opened(self._file.url)
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


# ---------------------------------------------------------------- calls of the libraries, and their errors
def _tried(url: str, call: Callable[[], _T]) -> _T:
    """Return what a call returns, after new tries if its error may pass; the last error becomes a ConfigError of one line."""
    for wait in (*(() if _scheme(url) in _TRY_THEMSELVES else WAITS), None):
        try:
            with _quiet():
                return call()
        except ConfigError:
            raise
        except Exception as error:
            status, may_pass = _status(error)
            if wait is None or not (status in _BUSY or may_pass):
                raise ConfigError(f"{masked(url)}: {_explained(_scheme(url), error)}") from error
            time.sleep(wait)
    raise AssertionError


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries from logging: what went wrong is said once, here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}


def _status(error: BaseException) -> tuple[int | None, bool]:
    """Return the HTTP status of an answer, and whether there was none, or one that broke off."""
    if _names(error) & _PASSES:
        return None, True
    for one in _chain(error):
        response = getattr(one, "response", None)
        said = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}  # botocore's
        status = said.get("HTTPStatusCode") or getattr(response, "status_code", None) or getattr(one, "status", None)
        status = status or getattr(one, "code", None)  # last: of some errors this warns
        if isinstance(status, int) and 400 <= status < 600:
            return status, False
    return None, False


def _explained(scheme: str, error: BaseException) -> str:
    (status, is_of_network), names = _status(error), _names(error)
    text = masked(" ".join(str(error).split()))
    if status in (401, 403) or "PermissionError" in names or names & _NEEDS_LOGIN:
        way = _ACCESS.get("gs" if scheme == "gcs" else scheme, "look at the address, and at what it asks for")
        return f"access is refused, or there is no such place: {way}."
    if status in _BUSY:
        return f"the server has too much to do, or fails (HTTP {status}), also after several tries. Wait some minutes."
    if is_of_network:
        return (
            f"the server cannot be reached, or broke off, also after several tries. Look at the network. ({text[:200]})"
        )
    if status in (404, 410) or "FileNotFoundError" in names:
        return "nothing is there."
    if "range requests" in text:
        return "the server sends it only from its beginning, which this kind cannot be read by. Download it, and give its path."
    return f"it cannot be read. {type(error).__name__}: {text[:300]}"
