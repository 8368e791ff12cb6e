"""Hub datasets, read from a hub on this machine (tests/support/hub_server.py).

The reader is a process of its own, since `huggingface_hub` reads HF_ENDPOINT when it is imported.
"""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hub_datasets import LINES, MOVED, PINNED, TWO, WIDE, repositories
from hub_reader import environment, reading_process
from hub_server import Hub

from roberta_lab.config import ConfigError
from roberta_lab.data.corpus.sources import hub, text

Call = Callable[..., Any]


def source(path: str = "owner/name", **keys: Any) -> Any:
    fields = {"text_field": "text", "id_field": None, "title_field": None}
    return SimpleNamespace(**{"path": path, "revision": PINNED, "subset": None, "split": "train", **fields, **keys})


# ---------------------------------------------------------------- without a network
@pytest.mark.parametrize(
    "path", ["", "wikipedia", "json", "a/b/c", "../b", "a/../b", "/a/b", "a b/c", "a/b ", "hf://a/b"]
)
def test_a_path_that_is_no_id(path: str) -> None:
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        hub.check(source(path))


@pytest.mark.parametrize("revision", [None, "", "main", "v1.0", PINNED[:12], PINNED + "0", PINNED[:-1] + "g"])
def test_a_revision_that_may_move(revision: str | None) -> None:
    with pytest.raises(ConfigError, match=r"a branch or tag moves.*datasets/owner/name .*History"):
        hub.check(source(revision=revision))


def test_the_fingerprint_changes_with_all_that_decides_the_rows_and_imports_nothing() -> None:
    plain = hub.fingerprint(source())
    assert plain == hub.fingerprint(source(licence="cc0"))
    changes = {"path": "o/n", "revision": MOVED, "subset": "en", "split": "test"}
    for key, value in {**changes, "text_field": "t", "id_field": "i", "title_field": "h"}.items():
        assert hub.fingerprint(source(**{key: value})) != plain, key
    json.dumps(plain)
    code = "import sys; from roberta_lab.data.corpus.sources import hub; assert not {'datasets', 'pyarrow', 'httpx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"owner/name .*needs the package datasets: pip install 'roberta_lab\[hub\]'"):
        hub.num_shards(source())


def test_a_package_that_could_run_scripts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(__version__="3.6.0"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"datasets 4 or newer.*3\.6\.0 is installed"):
        hub._library(source())


# ---------------------------------------------------------------- the reader
def read(source: Any) -> tuple[list[list[Any]], Counter[str]]:
    """All shards. Runs in the reader."""
    counts: Counter[str] = Counter()
    return [list(hub.rows(source, shard, counts)) for shard in range(hub.num_shards(source))], counts


@pytest.fixture(scope="module")
def there() -> Iterator[Hub]:
    pytest.importorskip("datasets")
    with Hub(repositories()) as found:
        yield found


@pytest.fixture(scope="module")
def call(there: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """call(function, arguments) in the reader, whose working directory is a folder of its own."""
    with reading_process(there.url, tmp_path_factory.mktemp("home")) as process:
        yield lambda function, *arguments: process.submit(function, *arguments).result(60)


def expected(rows: list[dict[str, Any]], *names: str) -> list[tuple[int, dict[str, Any]]]:
    return [(position, {name: row[name] for name in names}) for position, row in enumerate(rows)]


# ---------------------------------------------------------------- rows
def test_rows_of_two_files_in_order_with_the_wanted_columns(call: Call) -> None:
    asked = source("owner/two", id_field="id", title_field="title")
    shards, counts = call(read, asked)
    assert shards == [expected(rows, "text", "id", "title") for rows in TWO]
    assert call(read, asked) == (shards, counts)
    assert call(read, source("owner/two", split="test", text_field="id"))[0] == [expected(TWO[1], "id")]


def test_json_lines_compressed_and_plain(call: Call) -> None:
    shards, _ = call(read, source("owner/json", id_field="url"))
    assert shards == [expected(LINES, "text", "url"), expected(LINES[:5], "text", "url")]


def test_a_subset(call: Call) -> None:
    assert call(read, source("owner/subsets", subset="de", id_field="n"))[0] == [expected(TWO[1], "text", "n")]


def test_a_branch_moves_and_the_commit_stays(there: Hub, call: Call) -> None:
    there.calls.clear()
    assert [len(shard) for shard in call(read, source("owner/two", title_field="n"))[0]] == [150, 3]
    assert there.calls and not [one for one in there.calls if "main" in one or MOVED in one]
    assert call(read, source("owner/two", revision=MOVED))[0] == [[(0, {"text": "of today"})]] * 2


def test_bytes_that_are_not_utf_8_are_counted_as_in_files(call: Call) -> None:
    shards, counts = call(read, source("owner/invalid"))
    assert shards == [[(0, {"text": "caf\ufffd"}), (1, {"text": "ok"})]]
    assert counts[text.INVALID] == 1, counts


def test_only_the_wanted_columns_travel(there: Hub, call: Call) -> None:
    """The column `noise` makes nearly all of a file of 16 MB; the libraries read 5 MB ahead."""
    size = len(there.repositories["owner/wide"].commits[PINNED]["train.parquet"])
    there.calls.clear()
    assert call(read, source("owner/wide"))[0] == [expected(WIDE, "text")]
    assert 0 < asked_for(there, "train.parquet") < size // 2 and size > 15_000_000


def test_reading_the_first_rows_does_not_need_the_last(there: Hub, call: Call) -> None:
    assert call(first_of, source("owner/two")) == (0, {"text": TWO[0][0]["text"]})


def asked_for(there: Hub, name: str) -> int:
    """Bytes of the ranges that were fetched; a file without a range counts as too much."""
    ranges = [one.partition("bytes=")[2] for one in there.calls if one.startswith("GET") and name in one]
    return sum(int(end) + 1 - int(start) for start, _, end in (each.partition("-") for each in ranges))


def first_of(source: Any) -> Any:
    return next(hub.rows(source, 0, Counter()))


# ---------------------------------------------------------------- trouble
@pytest.mark.parametrize("path, files", [("owner/cut", 2), ("owner/cut_lines", 1)])
def test_a_connection_that_breaks_off_costs_no_row_and_doubles_none(
    there: Hub, call: Call, path: str, files: int
) -> None:
    there.cut.update({f"{path}/resolve/{PINNED}/{name}": 1 for name in there.repositories[path].commits[PINNED]})
    whole = [expected(LINES, "text")] if "lines" in path else [expected(TWO[0], "text")] * files
    assert call(read, source(path))[0] == whole
    assert not any(there.cut.values())


def test_a_hub_that_is_busy_is_asked_again(there: Hub, call: Call) -> None:
    there.fail["owner/busy/resolve/" + PINNED + "/README.md"] = [503] * 2
    there.fail["owner/busy/tree/" + PINNED] = [429]
    assert call(read, source("owner/busy"))[0] == [expected(TWO[1], "text")]


def test_a_hub_that_stays_down_in_the_midst_is_one_line(there: Hub, call: Call) -> None:
    assert call(hub.num_shards, source("owner/down")) == 1
    there.cut["owner/down/resolve/" + PINNED + "/train.parquet"] = 10**6
    with pytest.raises(ConfigError, match=f"owner/down at {PINNED}: the hub cannot be reached, or broke off") as caught:
        call(read, source("owner/down"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"path": "owner/none"}, "there is no such dataset, or it is private.*hf auth login"),
        ({"path": "owner/private"}, "there is no such dataset, or it is private.*HF_TOKEN"),
        ({"path": "owner/gated"}, "its authors grant access.*datasets/owner/gated"),
        ({"path": "owner/two", "revision": "0" * 40}, f"at {'0' * 40}: there is no such revision.*History"),
        ({"path": "owner/two", "subset": "en"}, "has no subset 'en'. Allowed: default"),
        ({"path": "owner/subsets"}, "needs a subset. Allowed: en, de"),
        ({"path": "owner/subsets", "subset": "fr"}, "has no subset 'fr'. Allowed: en, de"),
        ({"path": "owner/two", "split": "dev"}, "has no split 'dev'. It has: (train, test|test, train)"),
        ({"path": "owner/two", "split": "train[:1]"}, "has no split"),
        ({"path": "owner/two", "text_field": "body"}, "has no field 'body'. It has: id, text, title, n"),
        ({"path": "owner/two", "id_field": "url"}, "has no field 'url'"),
        ({"path": "owner/json", "title_field": "t"}, "has no field 't'. It has: text, url"),
        ({"path": "owner/broken"}, "cannot be read.*JSON"),
        ({"path": "owner/script"}, "a script .*such code is not run.*refs/convert/parquet"),
        ({"path": "owner/other_script"}, "no data files"),
        ({"path": "owner/empty"}, "no data files"),
        ({"path": "owner/elsewhere"}, "data_files|not from this commit"),
    ],
)
def test_mistakes_are_one_line(call: Call, keys: dict[str, Any], message: str) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        call(read, source(**keys))
    assert f"hub dataset {keys['path']}" in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - started < 10
    assert not call(os.path.exists, "the_script_was_run")


def test_a_refusal_is_not_asked_for_again(there: Hub, call: Call) -> None:
    there.calls.clear()
    with pytest.raises(ConfigError):
        call(read, source("owner/never"))
    assert 1 <= len(there.calls) <= 3, there.calls


def test_a_folder_of_that_name_is_not_read_in_its_place(call: Call) -> None:
    call(os.makedirs, "owner/local")
    with pytest.raises(ConfigError, match="owner/local would be read in its place"):
        call(read, source("owner/local"))


# ---------------------------------------------------------------- the process of the reader
def test_nothing_is_said_kept_or_counted_and_torch_stays_out(there: Hub, tmp_path: Path) -> None:
    code = """
        import logging, sys
        import datasets
        from test_hub import read, source
        logging.basicConfig(level=logging.INFO)
        shards, _ = read(source("owner/two"))
        print([len(shard) for shard in shards], "torch" in sys.modules, logging.root.manager.disable)
        """
    there.calls.clear()
    done = reader(there.url, tmp_path, textwrap.dedent(code))
    assert (done.stdout, done.returncode) == ("[150, 3] False 0\n", 0), done.stderr
    assert done.stderr == ""
    assert not [one for one in there.calls if "owner/two" not in one]
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in kept) < 5000, kept  # the card


def test_a_reader_that_stops_early_ends(there: Hub, tmp_path: Path) -> None:
    """Without the collection in `hub.rows` most such processes hang at their end; with it, one did once (Arrow)."""
    code = "from test_hub import Counter, hub, source; print(len(next(hub.rows(source('owner/two'), 0, Counter()))))"
    for attempt in range(3):
        try:
            done = reader(there.url, tmp_path, code)
            break
        except subprocess.TimeoutExpired:
            if attempt == 2:
                raise
    assert (done.stdout, done.returncode) == ("2\n", 0), done.stderr


def test_offline_and_unreachable_are_said(there: Hub, tmp_path: Path) -> None:
    code = "from hub_reader import impatient; from test_hub import hub, source; impatient(); hub.num_shards(source('owner/two'))"
    offline = reader(there.url, tmp_path, code, HF_HUB_OFFLINE="1").stderr.splitlines()[-1]
    assert "owner/two" in offline and "HF_HUB_OFFLINE=1 forbids" in offline
    nowhere = reader("http://127.0.0.1:9", tmp_path, code).stderr.splitlines()[-1]
    assert "owner/two" in nowhere and "the hub cannot be reached" in nowhere


def reader(url: str, home: Path, code: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environ = {**environment(url, home), **more}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, timeout=60)


# ---------------------------------------------------------------- as a source of a mix
def test_a_dataset_is_prepared_from_the_command_line(there: Hub, tmp_path: Path) -> None:
    """On two workers and on one: the same corpus, in the order of its files; the second time without the hub."""
    command = [sys.executable, "-m", "roberta_lab", "prepare", "data_mix=own", "data_mix.own.kind=hub"]
    command += [f"data_mix.own.hub={{path: owner/two, revision: '{PINNED}', id_field: id}}", "tokenizer.vocab_size=290"]
    command += ["data_mix.held_out_share=0.2", "trainer.progress=false"]
    said = []
    for workers in (1, 2, 1):
        cache = f"paths.cache={tmp_path}/{workers}"
        done = subprocess.run(
            [*command, cache, f"prepare.workers={workers}"],
            env=environment(there.url, tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        said.append(done.stdout.replace(f"{tmp_path}/{workers}", ""))
        there.calls.clear()
    assert said[0] == said[1] == said[2] and "153 documents kept" in said[0] and "2 files" in said[0]
    one, two = (sorted(tmp_path.glob(f"{workers}/corpus/*/parts/*.jsonl")) for workers in (1, 2))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    first = json.loads(one[0].read_text().splitlines()[0])
    assert first["id"].startswith("own:0-") and first["sentences"][0].startswith("Zeile")
