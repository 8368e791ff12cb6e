"""Call the libraries of object stores and web servers: in bounded time, without their logs, each error as one line."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from roberta_lab.config import ConfigError
from roberta_lab.config.secrets import masked

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_T = TypeVar("_T")
WEB = ("http", "https")  # which have files but no folders
PACKAGES = {  # by scheme; fsspec itself and aiohttp come with Lightning
    **{"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"},
    **dict.fromkeys(WEB, "aiohttp"),
    "memory": "fsspec",  # within a process: for tests and notebooks
}
SHOWN = "s3://, gs://, hf://, http://, https://"
_ACCESS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket FSSPEC_S3_ANON=true",
    "gs": "log in with `gcloud auth application-default login`; for a public bucket set FSSPEC_GS_TOKEN=anon",
    "hf": "log in with `hf auth login` or set HF_TOKEN",
}
WAITS = (1.0, 4.0)  # seconds before a call is made again
CONNECT, SILENT = 10.0, 30.0  # seconds until a connection is given up: while it is made; without a byte
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


def scheme_of(url: str) -> str:
    """Return what stands before `://`."""
    return url.partition("://")[0].lower()


def path_of(url: str) -> str:
    """Return what stands behind it; of a web server without the question."""
    rest = url.partition("://")[2]
    return re.split(r"[?#]", rest)[0] if scheme_of(url) in WEB else rest


def filesystem_of(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, one for each process and place, and the path there."""
    scheme = scheme_of(url)
    try:
        import fsspec

        options = _options(scheme)
        known: Mapping[str, Any] = fsspec.config.conf.get(scheme, {})
        chosen = {name: value for name, value in options.items() if name not in known}
        with quiet():
            filesystem, path = fsspec.core.url_to_fs(url, **chosen)
    except ImportError:
        package = PACKAGES[scheme]
        raise ConfigError(f"{masked(url)}: needs {package}; pip install 'roberta_lab[remote]'") from None
    except Exception as error:
        raise ConfigError(f"{masked(url)}: {_explained(scheme, error)}") from error
    return filesystem, path


def _options(scheme: str) -> dict[str, Any]:
    """Return what bounds the time of a call, in the words of each library."""
    if scheme in WEB:
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


def version_of(info: Mapping[str, Any]) -> str:
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


# ---------------------------------------------------------------- calls of the libraries, and their errors
def tried(url: str, call: Callable[[], _T]) -> _T:
    """Return what a call returns, after new tries if its error may pass; the last error becomes a ConfigError of one line."""
    for wait in (*(() if scheme_of(url) in _TRY_THEMSELVES else WAITS), None):
        try:
            with quiet():
                return call()
        except ConfigError:
            raise
        except Exception as error:
            status, may_pass = status_of(error)
            if wait is None or not (status in _BUSY or may_pass):
                raise ConfigError(f"{masked(url)}: {_explained(scheme_of(url), error)}") from error
            time.sleep(wait)
    raise AssertionError


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries from logging: what went wrong is said once, here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the one that it follows from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for one in chain(error) for kind in type(one).__mro__}


def status_of(error: BaseException) -> tuple[int | None, bool]:
    """Return the HTTP status of an answer, and whether there was none, or one that broke off."""
    if _names(error) & _PASSES:
        return None, True
    for one in chain(error):
        response = getattr(one, "response", None)
        said = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}  # botocore's
        status = said.get("HTTPStatusCode") or getattr(response, "status_code", None) or getattr(one, "status", None)
        status = status or getattr(one, "code", None)  # last: of some errors this warns
        if isinstance(status, int) and 400 <= status < 600:
            return status, False
    return None, False


def _explained(scheme: str, error: BaseException) -> str:
    (status, is_of_network), names = status_of(error), _names(error)
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
