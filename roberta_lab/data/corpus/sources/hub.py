"""Read datasets of the Hugging Face hub: rows are streamed from a pinned commit, file by file.

A revision is a full commit, since branches and tags move. `datasets` must be 4 or newer, which runs no code of a dataset.
Every error becomes one line. One that may pass is tried again: by the libraries in a file, here while files are found.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from roberta_lab.config import ConfigError, HubConfig
from roberta_lab.data.corpus.sources import stores
from roberta_lab.data.corpus.sources.rows import Row, batch_rows

if TYPE_CHECKING:
    from datasets import DatasetBuilder, IterableDataset

_T = TypeVar("_T")
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WAITS = (1.0, 4.0)  # seconds before the files are looked up again
_BUSY = (408, 429, 500, 502, 503, 504)  # HTTP
READS_UNDER_WAY = 0.5  # seconds in which they end
_BATCH = 64  # rows in memory at a time; a book may have some megabytes


@dataclass
class HubTable(HubConfig):
    """A dataset from which these columns are read, in place of a document's fields."""

    columns: tuple[str, ...] = ()


def check(source: HubConfig) -> None:
    """Raise ConfigError unless `path` is an id and `revision` a full commit. Use no network."""
    if not _ID.fullmatch(source.path) or ".." in source.path or "--" in source.path:
        allowed = "Allowed: OWNER/NAME, as its page is headed."
        raise ConfigError(f"hub.path={source.path!r} is no id of a hub dataset. {allowed}")
    if source.revision is None or not _COMMIT.fullmatch(source.revision):
        raise ConfigError(
            f"hub.revision={source.revision!r} of {source.path}: a branch or tag moves, so the full commit is needed, 40 digits "
            f"0-9a-f. It is on https://huggingface.co/datasets/{source.path} under Files and versions, History."
        )


def fingerprint(source: HubConfig) -> dict[str, object]:
    """Return what decides the rows. Use neither network nor `datasets`: a commit does not change."""
    keys = ("path", "revision", "subset", "split", "text_field", "id_field", "title_field")
    return {key: getattr(source, key) for key in keys}


def num_shards(source: HubConfig) -> int:
    """Return how many files the split is streamed from. Ask the hub once per process."""
    return int(_open(source).num_shards)


def rows(source: HubConfig, shard: int, counts: Counter[str]) -> Iterator[Row]:
    """Yield the rows of a shard in order, with their positions in it and the wanted columns. A second call starts anew.

    Raise ConfigError for a missing field and for every error of the hub. Rows before the error are whole and come once.
    """
    stream = _open(source)
    assert 0 <= shard < stream.num_shards, (shard, stream.num_shards)
    start = 0
    with hub_calls(source):
        batches = iter(stream.shard(stream.num_shards, shard).with_format("arrow").iter(_BATCH))
    ended = False
    try:
        for table in iterate(source, batches):
            names = [name for name in _wanted(source) if name in table.column_names]
            if not start:
                _expect_fields(source, table.column_names)
            for batch in table.to_batches():
                yield from batch_rows(batch, names, start, counts)
                start += batch.num_rows
        ended = True
    finally:
        del batches
        gc.collect()  # Arrow's threads must end before the interpreter does: github.com/apache/arrow/issues/45214
        if not ended:  # it reads ahead: nothing else waits for the reads under way
            time.sleep(READS_UNDER_WAY)


def split_names(source: HubConfig) -> list[str]:
    """Return the names of the dataset's splits. Ask the hub at every call."""
    check(source)
    with hub_calls(source):
        return [str(name) for name in _splits(source)[1]]


def class_names(source: HubConfig, column: str) -> list[str] | None:
    """Return what the numbers of a column, or of its lists, stand for; None where the dataset does not tell."""
    feature = (_open(source).features or {}).get(column)
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return None if names is None else [str(name) for name in names]


def _wanted(source: HubConfig) -> list[str]:
    if isinstance(source, HubTable):
        return list(dict.fromkeys(source.columns))
    fields = (source.text_field, source.id_field, source.title_field)
    return list(dict.fromkeys(name for name in fields if name is not None))


def _expect_fields(source: HubConfig, columns: list[str]) -> None:
    for name in _wanted(source):
        if name not in columns:
            raise ConfigError(f"{describe(source)} has no field {name!r}. It has: {', '.join(columns) or 'none'}.")


# ---------------------------------------------------------------- opening
def _open(source: HubConfig) -> IterableDataset:
    """Return the split as an IterableDataset of the wanted columns. It is looked up once per process: a commit does not change."""
    check(source)
    key = (*fingerprint(source).values(), *_wanted(source))
    if key not in _OPEN:
        with hub_calls(source):
            builder, splits = _splits(source)
            _OPEN[key] = _open_split(source, builder, splits)
    return _OPEN[key]


def _splits(source: HubConfig) -> tuple[DatasetBuilder, Mapping[str, IterableDataset]]:
    builder = with_retries(lambda: _builder(source))
    _expect_pinned(source, builder)
    return builder, with_retries(builder.as_streaming_dataset)


def _open_split(source: HubConfig, builder: DatasetBuilder, splits: Mapping[str, IterableDataset]) -> IterableDataset:
    """Return one split. For Parquet, read only the wanted columns are read and decoded, a few rows at a time."""
    if source.split not in splits:
        raise ConfigError(f"{describe(source)} has no split {source.split!r}. It has: {', '.join(map(str, splits))}.")
    stream = splits[source.split]
    if stream.column_names is not None:
        _expect_fields(source, stream.column_names)
    if hasattr(builder.config, "columns") and hasattr(builder.config, "batch_size"):
        builder.config.columns, builder.config.batch_size = _wanted(source), _BATCH
        if hasattr(builder.config, "fragment_scan_options"):  # from 4.2 on; else Arrow reads far ahead and keeps it
            options = importlib.import_module("pyarrow.dataset").ParquetFragmentScanOptions(pre_buffer=False)
            builder.config.fragment_scan_options = options
        stream = with_retries(lambda: builder.as_streaming_dataset(source.split))
    return stream


def _builder(source: HubConfig) -> DatasetBuilder:
    """Return the library's plan of the dataset. Its cache is temporary, so that nothing stands in for the hub."""
    datasets = _library(source)
    with tempfile.TemporaryDirectory() as nowhere:
        keys = {"revision": source.revision, "cache_dir": nowhere}
        try:
            return datasets.load_dataset_builder(source.path, source.subset, **keys)
        except ValueError:
            names = datasets.get_dataset_config_names(source.path, **keys)
            if source.subset in names or (source.subset is None and len(names) == 1):
                raise
        what = "needs a subset" if source.subset is None else f"has no subset {source.subset!r}"
        raise ConfigError(f"{describe(source)} {what}. Allowed: {', '.join(names)}.")


def _expect_pinned(source: HubConfig, builder: DatasetBuilder) -> None:
    """Raise ConfigError for files outside the commit: the library also reads folders and links under the same id."""
    files = [name for names in (builder.config.data_files or {}).values() for name in names]
    outside = [name for name in files if f"hf://datasets/{source.path}@{source.revision}/" not in name]
    if outside or not files:
        place = outside[0] if outside else "a cache"
        raise ConfigError(f"{describe(source)}: its files would be read from {place}, not from this commit.")


def _library(source: HubConfig) -> ModuleType:
    """Return the package `datasets`. It and `huggingface_hub` then draw no bars, count no users, and import no torch."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise ConfigError(f"{describe(source)} needs the package datasets: pip install 'roberta_lab[hub]'") from None
    if int(datasets.__version__.split(".")[0]) < 4:
        what = f"datasets 4 or newer, which runs no code of a dataset; {datasets.__version__} is installed"
        raise ConfigError(f"{describe(source)} needs {what}: pip install 'roberta_lab[hub]'")
    if datasets.config.HF_HUB_OFFLINE:
        advice = "Unset it, or read files."
        raise ConfigError(f"{describe(source)} is on the network, which HF_HUB_OFFLINE=1 forbids. {advice}")
    if os.path.exists(source.path):
        folder = os.path.abspath(source.path)
        raise ConfigError(f"{describe(source)}: the folder {folder} would be read in its place. Run elsewhere.")
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = datasets.config.TORCH_AVAILABLE = False
    datasets.disable_progress_bars()
    hub = importlib.import_module("huggingface_hub")
    hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    hub.utils.disable_progress_bars()
    return datasets


_OPEN: dict[tuple[object, ...], IterableDataset] = {}  # the splits that this process has opened


# ---------------------------------------------------------------- calls of the libraries, and their errors
def describe(source: HubConfig) -> str:
    """Return how errors call a dataset."""
    subset = f" ({source.subset})" if source.subset else ""
    return f"hub dataset {source.path}{subset} at {source.revision}"


def iterate(source: HubConfig, iterator: Iterator[_T]) -> Iterator[_T]:
    """Yield the items of an iterator; each error of a hub library becomes a ConfigError."""
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
            status, is_of_network = _status(error)
            if not (status in _BUSY or is_of_network):
                raise
            time.sleep(wait)
    return look_up()


@contextmanager
def hub_calls(source: HubConfig) -> Iterator[None]:
    """Turn errors of the libraries, of many kinds, into a ConfigError of one line; keep the libraries from logging."""
    try:
        with stores.quiet():
            yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{describe(source)}: {_explained(source, error)}") from error


def _status(error: BaseException) -> tuple[int | None, bool]:
    """Return the HTTP status of the hub's answer, and whether it gave none, or one that broke off."""
    from huggingface_hub.errors import HTTPError

    answers = (getattr(each, "response", None) for each in stores.chain(error) if isinstance(each, HTTPError))
    status = next((int(answer.status_code) for answer in answers if answer is not None), None)
    kinds = (ConnectionError, TimeoutError, HTTPError)
    return status, status is None and any(isinstance(each, kinds) for each in stores.chain(error))


def _explained(source: HubConfig, error: Exception) -> str:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in stores.chain(error))

    (status, is_of_network), page = _status(error), f"https://huggingface.co/datasets/{source.path}"
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
    if is_of_network:
        return f"the hub cannot be reached, or broke off, also after several tries. Look at the network. ({text[:200]})"
    return f"it cannot be read. {type(error).__name__}: {text[:300]}"
