"""The hub's libraries as this project calls them: quiet, patient, and with one line for whatever goes wrong."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from roberta_lab.config import ConfigError, HubConfig

_T = TypeVar("_T")
_WAITS = (1.0, 4.0)  # seconds before the files are looked up again
_BUSY = (408, 429, 500, 502, 503, 504)
_HTTP = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp"}


def called(source: HubConfig) -> str:
    """A dataset in errors."""
    subset = f" ({source.subset})" if source.subset else ""
    return f"hub dataset {source.path}{subset} at {source.revision}"


def steps(source: HubConfig, iterator: Iterator[_T]) -> Iterator[_T]:
    """What an iterator of the library gives; its noise and its errors stay within its steps."""
    while True:
        with trouble(source):
            item = next(iterator, None)
        if item is None:
            return
        yield item


def patiently(look_up: Callable[[], _T]) -> _T:
    """Calls again after an error that may pass. While files are read, the libraries do this themselves."""
    for wait in _WAITS:
        try:
            return look_up()
        except Exception as error:  # whichever of four HTTP libraries raised
            if isinstance(error, ConfigError) or not (_status(error) in _BUSY or _is_of_network(error)):
                raise
            time.sleep(wait)
    return look_up()


@contextmanager
def trouble(source: HubConfig) -> Iterator[None]:
    """Errors of the libraries, which are of many kinds, become one line. Within, they neither log nor draw nor count calls."""
    try:
        with _quiet():
            yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{called(source)}: {_explained(source, error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries without logs and bars, calls that count their users, and torch, which they would import for nothing."""
    try:
        datasets, hub = importlib.import_module("datasets"), importlib.import_module("huggingface_hub")
    except ImportError:  # which `hub._library` reports
        yield
        return
    switches = (
        (datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False),
        (datasets.config, "TORCH_AVAILABLE", False),
        (hub.constants, "HF_HUB_DISABLE_TELEMETRY", True),
    )
    before = [getattr(owner, name) for owner, name, _ in switches]
    disabled = logging.root.manager.disable
    drawing = [library for library in (datasets.utils, hub.utils) if not library.are_progress_bars_disabled()]
    try:
        for owner, name, value in switches:
            setattr(owner, name, value)
        logging.disable(logging.CRITICAL)
        for library in drawing:
            library.disable_progress_bars()
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)
        logging.disable(disabled)
        for library in drawing:
            library.enable_progress_bars()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error, if any."""
    answers = (getattr(each, "response", None) for each in _chain(error))
    return next((int(answer.status_code) for answer in answers if hasattr(answer, "status_code")), None)


def _is_of_network(error: BaseException) -> bool:
    """No answer, or one that broke off."""
    return _status(error) is None and any(
        isinstance(each, (ConnectionError, TimeoutError)) or type(each).__module__.split(".")[0] in _HTTP
        for each in _chain(error)
    )


def _explained(source: HubConfig, error: BaseException) -> str:
    """What happened, and what to do about it."""
    kinds = {kind.__name__ for each in _chain(error) for kind in type(each).__mro__}
    status, page = _status(error), f"https://huggingface.co/datasets/{source.path}"
    token = "log in with `hf auth login` or set HF_TOKEN"
    text = " ".join(str(error).split())
    if "gated" in text:
        return f"its authors grant access to each reader. Ask for it on {page}, then {token}."
    if text.startswith("Revision"):
        return f"there is no such revision. Its commits are on {page} under Files and versions, History."
    if "DatasetNotFoundError" in kinds or status in (401, 403):
        return f"there is no such dataset, or it is private. Look at {page}; for a private one, {token}."
    if "scripts are no longer supported" in text:
        what = "it is a script that builds the data, and such code is not run"
        return f"{what}. Take a commit of its branch refs/convert/parquet, or another dataset; see {page}."
    if kinds & {"EmptyDatasetError", "DataFilesNotFoundError"}:
        return f"it holds no data files that can be read (Parquet, JSON lines, CSV, text ...). Look at {page}."
    if status in _BUSY:
        return f"the hub has too much to do (HTTP {status}), also after several tries. Wait some minutes, or {token}."
    if _is_of_network(error):
        return f"the hub cannot be reached, or broke off, also after several tries. Look at the network. ({text[:200]})"
    return f"it cannot be read. {type(error).__name__}: {text[:300]}"
