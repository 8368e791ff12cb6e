"""Sources by URL: the same corpus as from a disk, and one line for every way in which a server can fail."""

import gzip
import io
import json
import os
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from hub_server import Hub, Repository
from local_server import LocalServer

from roberta_lab.config import ConfigError, SourceConfig
from roberta_lab.data.corpus.sources import files, kinds, remote, scanning, stores
from roberta_lab.data.corpus.sources.text import Document

LINES = b"".join(json.dumps({"text": f"document number {i}"}).encode() + b"\n" for i in range(500))


class Web(BaseHTTPRequestHandler):
    """A web server: what it holds, and how it fails."""

    files: ClassVar[dict[str, bytes]] = {}
    ranges: ClassVar[bool] = True
    tells_lengths: ClassVar[bool] = True  # of what it sends; where not, what is cut off looks whole
    headers_too: ClassVar[dict[str, str]] = {}
    cuts: ClassVar[list[int]] = []  # after so many bytes of the next answers the connection ends
    statuses: ClassVar[list[int]] = []  # of the next answers
    asked: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}")
        data = self.files.get(self.path.partition("?")[0])
        status = self.statuses.pop(0) if self.statuses else 200 if data is not None else 404
        data = data if data is not None and status == 200 else b""
        start = 0
        if self.ranges and status == 200 and (asked := self.headers.get("Range", "")):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or len(data)), len(data) - 1)
            whole, data, status = len(data), data[start : end + 1], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{whole}")
        for name, value in self.headers_too.items():
            self.send_header(name, value)
        if self.tells_lengths or self.command == "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            cut = self.cuts.pop(0) if self.cuts else len(data)
            self.wfile.write(data[:cut])


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))
    for name, value in {
        "files": {},
        "cuts": [],
        "statuses": [],
        "asked": [],
        "headers_too": {},
        "ranges": True,
        "tells_lengths": True,
    }.items():
        monkeypatch.setattr(Web, name, value)
    with LocalServer(Web) as server:
        yield server.url
        fsspec.filesystem("http").clear_instance_cache()


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """A store within this process, with folders."""
    found = fsspec.filesystem("memory")
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]


def read(path: str, cache: Path, kind: str = "jsonl") -> tuple[object, list[Document]]:
    """Return the identity of a source's files, and their documents."""
    source = SourceConfig(kind=kind, path=path)
    found = scanning.scan(source, cache)
    units = [file for group, _ in found.groups for file in group]
    return found.fingerprint, list(kinds.documents(source, Counter(), "name", units))


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(
        pa.table({"text": [f"row {i} " * 90 for i in range(300)]}), out, 100, compression="none", use_dictionary=False
    )
    return out.getvalue()


@pytest.mark.parametrize("place", ["", "/*.jsonl*", "/**/*.jsonl*", "/s*", "/a.jsonl", "/[b-z]*/b.jsonl.gz"])
def test_a_folder_a_glob_and_a_file_are_the_same_in_a_store_as_on_a_disk(
    place: str, tmp_path: Path, store: fsspec.AbstractFileSystem
) -> None:
    held = {
        "a.jsonl": LINES,
        "sub/b.jsonl.gz": gzip.compress(LINES, mtime=0),
        "sub/.hidden.jsonl": b"no",
        "c.txt": b"no",
    }
    for name, content in held.items():
        store.pipe(f"/bucket/{name}", content)
        (tmp_path / "bucket" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bucket" / name).write_bytes(content)
    local = read(f"{tmp_path}/bucket{place}", tmp_path)
    assert read(f"memory://bucket{place}", tmp_path) == local and len(local[1]) in (500, 1000)


def test_parquet_and_text_are_read_by_url_too(
    tmp_path: Path, store: fsspec.AbstractFileSystem, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Web.files.update({"/t.parquet": parquet(), "/t.txt": b"A text.\n\nAnother one."})
    for name, kind in (("t.parquet", "parquet"), ("t.txt", "text")):
        (tmp_path / name).write_bytes(Web.files[f"/{name}"])
        store.pipe(f"/b/{name}", Web.files[f"/{name}"])
        local = read(str(tmp_path / name), tmp_path, kind)
        assert local == read(f"memory://b/{name}", tmp_path, kind) == read(f"{web}/{name}", tmp_path, kind)
    Web.ranges = False
    monkeypatch.setattr(remote, "_BLOCK", 100)
    with pytest.raises(ConfigError, match=r"t\.parquet: .*only from its beginning.*Download it"):
        read(f"{web}/t.parquet", tmp_path / "new", "parquet")


def test_a_large_file_is_cut_where_the_store_tells_versions(
    tmp_path: Path, store: fsspec.AbstractFileSystem, web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "RANGE_BYTES", 4096)
    monkeypatch.setattr(remote, "_BLOCK", 1000)
    Web.headers_too = {"ETag": '"1"'}
    (tmp_path / "a.jsonl").write_bytes(LINES)
    Web.files["/a.jsonl"] = LINES
    store.pipe("/b/a.jsonl", LINES)
    local = read(str(tmp_path / "a.jsonl"), tmp_path)
    assert read("memory://b/a.jsonl", tmp_path) == local == read(f"{web}/a.jsonl", tmp_path)
    groups = {
        url: scanning.scan(SourceConfig("jsonl", url), tmp_path).groups
        for url in ("memory://b/a.jsonl", f"{web}/a.jsonl")
    }
    assert [len(found) > 3 for found in groups.values()] == [True, False]


def test_files_whose_store_tells_versions_are_hashed_once(tmp_path: Path, web: str) -> None:
    Web.files["/a.jsonl"], Web.headers_too = LINES, {"ETag": '"1"'}
    first = scanning.scan(SourceConfig("jsonl", f"{web}/a.jsonl?key=secretsecret"), tmp_path)
    Web.asked.clear()
    assert (
        scanning.scan(SourceConfig("jsonl", f"{web}/a.jsonl?key=secretsecret"), tmp_path).fingerprint
        == first.fingerprint
    )
    assert not [one for one in Web.asked if one.startswith("GET")]
    assert "secret" not in (tmp_path / "file_scans.json").read_text()
    Web.files["/a.jsonl"], Web.headers_too = LINES.replace(b"number", b"NUMBER"), {"ETag": '"2"'}
    assert (
        scanning.scan(SourceConfig("jsonl", f"{web}/a.jsonl?key=secretsecret"), tmp_path).fingerprint
        != first.fingerprint
    )


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}, {"Last-Modified": "now"}])
def test_a_change_that_the_server_does_not_tell_is_seen(tmp_path: Path, web: str, headers: dict[str, str]) -> None:
    from email.utils import formatdate

    Web.headers_too = {name: formatdate(usegmt=True) if value == "now" else value for name, value in headers.items()}
    Web.files["/a.jsonl"] = LINES
    first = scanning.scan(SourceConfig("jsonl", f"{web}/a.jsonl"), tmp_path)
    Web.files["/a.jsonl"] = LINES.replace(b"number", b"NUMBER")
    assert scanning.scan(SourceConfig("jsonl", f"{web}/a.jsonl"), tmp_path).fingerprint != first.fingerprint


@pytest.mark.parametrize("etag", ['"1"', ""])
def test_a_file_that_changes_between_hash_and_reading_gives_no_corpus(tmp_path: Path, web: str, etag: str) -> None:
    Web.files["/a.jsonl"], Web.headers_too = LINES, {"ETag": etag} if etag else {}
    source = SourceConfig("jsonl", f"{web}/a.jsonl")
    found = scanning.scan(source, tmp_path)
    Web.files["/a.jsonl"], Web.headers_too = LINES.replace(b"number", b"NUMBER"), {"ETag": '"2"'} if etag else {}
    with pytest.raises(ConfigError, match="changed while it was read"):
        list(kinds.documents(source, Counter(), "name", found.groups[0][0]))


def test_other_bytes_of_the_same_version_give_no_corpus(tmp_path: Path, web: str) -> None:
    Web.files["/a.jsonl"], Web.headers_too = LINES, {"ETag": '"1"'}
    source = SourceConfig("jsonl", f"{web}/a.jsonl")
    found = scanning.scan(source, tmp_path)
    Web.files["/a.jsonl"] = LINES.replace(b"number", b"NUMBER")
    with pytest.raises(ConfigError, match="changed while it was read"):
        list(kinds.documents(source, Counter(), "name", found.groups[0][0]))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["/a.jsonl", "/a.jsonl.gz"])
def test_a_read_that_breaks_off_goes_on_where_it_was(tmp_path: Path, web: str, ranges: bool, name: str) -> None:
    Web.files["/a.jsonl"], Web.ranges = LINES, ranges
    Web.files["/a.jsonl.gz"] = gzip.compress(LINES, mtime=0)
    whole = read(f"{web}{name}", tmp_path / "1")
    Web.cuts += [700, 900, 10**9, 0, 300]
    assert read(f"{web}{name}", tmp_path / "2") == whole and len(whole[1]) == 500 and not Web.cuts


@pytest.mark.parametrize("tells_lengths", [True, False])
def test_a_large_file_that_breaks_off_goes_on_where_it_was(tmp_path: Path, web: str, tells_lengths: bool) -> None:
    Web.files["/a.jsonl"], Web.headers_too, Web.tells_lengths = LINES * 100, {"ETag": '"1"'}, tells_lengths
    Web.cuts += [1_200_000, 900_000, 10**9, 1_400_000]
    assert len(read(f"{web}/a.jsonl", tmp_path)[1]) == 50_000 and not Web.cuts


def test_one_that_breaks_off_always_is_said(tmp_path: Path, web: str) -> None:
    Web.files["/a.jsonl"], Web.cuts = LINES, [5000] * 9
    with pytest.raises(ConfigError, match=r"a\.jsonl: the server cannot be reached, or broke off, also after several"):
        read(f"{web}/a.jsonl", tmp_path)
    assert len(Web.cuts) >= 4, "a bounded number of tries, counted anew after some progress"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "nothing is there"),
        (403, "access is refused"),
        (401, "access is refused"),
        (503, r"\(HTTP 503\), also after"),
    ],
)
def test_an_answer_that_is_none_is_one_line(tmp_path: Path, web: str, status: int, said: str) -> None:
    Web.statuses = [status] * 20
    with pytest.raises(ConfigError, match=rf"a\.jsonl\?sig=\*\*\*: .*{said}") as error:
        read(f"{web}/a.jsonl?sig=abcdefgh", tmp_path)
    assert "\n" not in str(error.value) and "abcdefgh" not in str(error.value)


def test_a_server_that_is_busy_once_is_asked_again(tmp_path: Path, web: str) -> None:
    Web.files["/a.jsonl"], Web.statuses = LINES, [503, 503, 200, 503]
    assert len(read(f"{web}/a.jsonl", tmp_path)[1]) == 500


def test_nobody_there_is_said_after_some_tries(tmp_path: Path, web: str) -> None:
    with LocalServer(Web) as gone:
        url = gone.url
    with pytest.raises(ConfigError, match=r"cannot be reached.*also after several tries"):
        read(f"{url}/a.jsonl", tmp_path)


def test_one_that_is_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Web):
        def do_GET(self) -> None:
            time.sleep(0.4)

    monkeypatch.setattr(stores, "WAITS", ())
    monkeypatch.setattr(stores, "SILENT", 0.05)
    with LocalServer(Silent) as server, pytest.raises(ConfigError, match="cannot be reached"):
        read(f"{server.url}/a.jsonl", tmp_path)


def test_a_size_that_is_not_said_is_refused(
    tmp_path: Path, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pipe("/b/a.jsonl", LINES)
    monkeypatch.setattr(type(store), "info", lambda self, path, **_: {"name": path, "size": None, "type": "file"})
    with pytest.raises(ConfigError, match="does not say how large it is"):
        read("memory://b/a.jsonl", tmp_path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///data/x.txt", "a file of this machine. Allowed: its path, /data/x.txt"),
        ("github://a:b@main/x.txt", "github:// is not read. Allowed: s3://"),
        ("reference://x", "reference:// is not read"),
        ("zip://a.txt::s3://b/x.zip", "chained URLs are not read"),
        ("simplecache::http://x/a.txt", "chained URLs|does not exist"),
        ("s3://", "it names no file"),
        ("http:///", "it names no file"),
    ],
)
def test_what_is_no_place_of_text_is_refused_without_network(url: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        files.find(SourceConfig("text", url))


@pytest.mark.parametrize(
    ("url", "package"), [("s3://b/x", "s3fs"), ("gs://b/x", "gcsfs"), ("hf://datasets/a/b/x", "huggingface_hub")]
)
def test_a_package_that_is_missing_is_named(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec.core, "get_filesystem_class", lambda _: __import__("a_package_that_is_not_there"))
    with pytest.raises(ConfigError, match=rf"^{url}: needs {package}; pip install 'roberta_lab\[remote\]'$"):
        files.find(SourceConfig("text", url))


def test_nothing_in_a_store_is_said(store: fsspec.AbstractFileSystem) -> None:
    store.pipe("/b/notes.md", b"x")
    for place, said in (
        ("none.txt", "nothing is there"),
        ("", r"no \.txt file .*There is: notes\.md"),
        ("*.jsonl", "no .txt file"),
    ):
        with pytest.raises(ConfigError, match=said):
            files.find(SourceConfig("text", f"memory://b/{place}"))


def test_a_bomb_in_a_store_is_refused(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    store.pipe("/b/x.jsonl.gz", gzip.compress(b"\0" * (1 << 27), compresslevel=9))
    with pytest.raises(ConfigError, match=r"memory:///b/x\.jsonl\.gz: it unpacks to more than 200 times its size"):
        read("memory://b/x.jsonl.gz", tmp_path)


def test_memory_does_not_grow_with_a_file(tmp_path: Path, web: str) -> None:
    line = json.dumps({"text": "word " * 2000}).encode() + b"\n"
    Web.files["/a.jsonl"] = line * 3000  # 30 MB
    source = SourceConfig("jsonl", f"{web}/a.jsonl")
    units = files.find(source)
    tracemalloc.start()
    assert sum(1 for _ in kinds.documents(source, Counter(), "name", units)) == 3000
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_the_file_systems_of_urls_are_loaded_only_for_one() -> None:
    import subprocess

    code = "import sys; from roberta_lab.data.corpus.sources import files; print('fsspec' in sys.modules or 'aiohttp' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert found.stdout == "False\n"


def test_a_dataset_of_the_hub_is_read_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"data/a.jsonl": LINES, "data/b.jsonl.gz": gzip.compress(LINES, mtime=0), "README.md": b"no"}
    for name, content in held.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    commit = "a" * 40
    repositories = {"own/er": Repository({commit: held}, {"main": commit}), "own/hidden": Repository({}, {}, "private")}
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))
    with Hub(repositories) as hub:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.url, "token": False})
        local = read(str(tmp_path / "data"), tmp_path)
        assert len(local[1]) == 1000
        for place in (f"own/er@{commit}/data", "own/er/data/*.jsonl*"):
            assert read(f"hf://datasets/{place}", tmp_path) == local
        for place, said in (
            ("er/none.jsonl", "nothing is there"),
            ("hidden/a.jsonl", "access is refused.*hf auth login"),
        ):
            with pytest.raises(ConfigError, match=said):
                read(f"hf://datasets/own/{place}", tmp_path)
