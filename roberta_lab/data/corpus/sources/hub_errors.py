"""Call the libraries of the Hugging Face hub: without output, with new tries, and with one line for every error."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from roberta_lab.config import ConfigError, HubConfig

_T = TypeVar("_T")
_WAITS = (1.0, 4.0)  # seconds before the files are looked up again
_BUSY = (408, 429, 500, 502, 503, 504)


def describe(source: HubConfig) -> str:
    """Return how errors call a dataset."""
    subset = f" ({source.subset})" if source.subset else ""
    return f"hub dataset {source.path}{subset} at {source.revision}"


def iterate(source: HubConfig, iterator: Iterator[_T]) -> Iterator[_T]:
    """Yield the items of a library's iterator, each taken within `hub_calls`."""
    while True:
        with hub_calls(source):
            item = next(iterator, None)
        if item is None:
            return
        yield item


def with_retries(look_up: Callable[[], _T]) -> _T:
    """Return what a call returns, after new tries if its error may pass. While files are read, the libraries try again."""
    for wait in _WAITS:
        try:
            return look_up()
        except ConfigError:
            raise
        except Exception as error:
            if not (_status(error) in _BUSY or _is_of_network(error)):
                raise
            time.sleep(wait)
    return look_up()


@contextmanager
def hub_calls(source: HubConfig) -> Iterator[None]:
    """Turn errors of the libraries, which are of many kinds, into a ConfigError of one line; keep the libraries from logging."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{describe(source)}: {_explained(source, error)}") from error
    finally:
        logging.disable(before)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of the hub's answer, if it gave one."""
    from huggingface_hub.errors import HTTPError

    answers = (getattr(each, "response", None) for each in _chain(error) if isinstance(each, HTTPError))
    return next((int(answer.status_code) for answer in answers if answer is not None), None)


def _is_of_network(error: BaseException) -> bool:
    """Return whether the hub gave no answer, or one that broke off."""
    from huggingface_hub.errors import HTTPError

    kinds = (ConnectionError, TimeoutError, HTTPError)
    return _status(error) is None and any(isinstance(each, kinds) for each in _chain(error))


def _explained(source: HubConfig, error: Exception) -> str:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in _chain(error))

    status, page = _status(error), f"https://huggingface.co/datasets/{source.path}"
    token = "log in with `hf auth login` or set HF_TOKEN"
    text = " ".join(str(error).split())
    if caused_by(GatedRepoError) or "gated dataset" in text:  # `datasets` drops the cause
        return f"its authors grant access to each reader. Ask for it on {page}, then {token}."
    if caused_by(RevisionNotFoundError):
        return f"there is no such revision. Its commits are on {page} under Files and versions, History."
    if caused_by(RepositoryNotFoundError, DatasetNotFoundError) or status in (401, 403):
        return f"there is no such dataset, or it is private. Look at {page}; for a private one, {token}."
    if "scripts are no longer supported" in text:  # a RuntimeError, which has no class of its own
        what = "it is a script that builds the data, and such code is not run"
        return f"{what}. Take a commit of its branch refs/convert/parquet, or another dataset; see {page}."
    if caused_by(EmptyDatasetError, DataFilesNotFoundError):
        return f"it holds no data files that can be read (Parquet, JSON lines, CSV, text ...). Look at {page}."
    if status in _BUSY:
        return f"the hub has too much to do (HTTP {status}), also after several tries. Wait some minutes, or {token}."
    if _is_of_network(error):
        return f"the hub cannot be reached, or broke off, also after several tries. Look at the network. ({text[:200]})"
    return f"it cannot be read. {type(error).__name__}: {text[:300]}"
