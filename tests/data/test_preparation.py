"""Preparation by units of work: the same bytes for any number of workers, after any kill, and for four at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed

from roberta_lab.config import ConfigError, DataMixConfig, SourceConfig, TokenizerConfig
from roberta_lab.data import token_store
from roberta_lab.data.corpus import parts, units
from roberta_lab.data.corpus.preparation import prepare
from roberta_lab.data.corpus.sources import files, kinds, scanning, text

BPE = TokenizerConfig("bytelevel_bpe", 300)
WORDS = [f"w{i}" for i in range(400)]


def articles(number: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [
        "\n".join(
            " ".join(draw.choices(WORDS, k=draw.randint(3, 9))).capitalize() + "." for _ in range(draw.randint(1, 5))
        )
        for _ in range(number)
    ]


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file below, by its relative path; locks and the memory of scans aside."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "file_scans"))]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "RANGE_BYTES", 3000)
    monkeypatch.setattr(parts, "PART_CHARACTERS", 1000)


# ---------------------------------------------------------------- units
@pytest.mark.usefixtures("small_units")
def test_a_file_cut_into_ranges_reads_like_the_whole(tmp_path: Path) -> None:
    texts = [*articles(120), "", "x" * 9000, *articles(40, 1)]
    path = write_lines(tmp_path / "a.jsonl", texts)
    path.write_text("\ufeff" + path.read_text().replace("\n", "\n\n", 5).removesuffix("\n"))
    source = SourceConfig("jsonl", str(path))
    found = scanning.scan(source, tmp_path / "cache")
    num_bytes = [size for _, size in found.groups]
    assert len(found.groups) > 5 and sum(num_bytes) == path.stat().st_size
    assert max(num_bytes) > 9000, "a line is never cut"
    whole, apart = Counter[str](), Counter[str]()
    expected = list(kinds.documents(source, whole, "a", files.find(source)))
    ranges = [document for group, _ in found.groups for document in kinds.documents(source, apart, "a", group)]
    assert ranges == expected and apart == whole and len({document.id for document in ranges}) == len(ranges)


@pytest.mark.usefixtures("small_units")
def test_small_files_go_together_and_the_second_scan_reads_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        (tmp_path / f"{i:02d}.txt").write_text("x" * 1000)
    source = SourceConfig("text", str(tmp_path))
    found = scanning.scan(source, tmp_path / "cache")
    assert [len(group) for group, _ in found.groups] == [3] * 6 + [2]
    for path in tmp_path.glob("*.txt"):
        os.utime(path, (1e9, 1e9))
    found = scanning.scan(source, tmp_path / "cache")
    monkeypatch.setattr(scanning, "_scan_file", lambda path, count: pytest.fail(f"{path} is known"))
    assert scanning.scan(source, tmp_path / "cache") == found


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_a_file_that_changes_after_it_was_hashed_is_not_read_under_its_old_name(name: str, tmp_path: Path) -> None:
    """As one that is still being copied: the folder of the corpus bears the hash of what was there before."""
    path = write_lines(tmp_path / name, articles(20))
    source = SourceConfig("jsonl" if name == "a.jsonl" else "text", str(path))
    [(group, _)] = scanning.scan(source, tmp_path / "cache").groups
    assert [*kinds.documents(source, Counter(), "a", group)]
    reading = kinds.documents(source, Counter(), "a", group)
    next(reading)
    os.utime(path, (1e9, 1e9))  # by which alone nothing has changed
    list(reading)
    reading = kinds.documents(source, Counter(), "a", group)
    next(reading)
    write_lines(path, articles(21))
    with pytest.raises(ConfigError, match=rf"{name}: it was changed while it was read\. Run the same command again"):
        list(reading)


# ---------------------------------------------------------------- the same result
@pytest.mark.usefixtures("small_units")
def test_workers_and_interruptions_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "a.jsonl", articles(200))
    write_lines(tmp_path / "b.jsonl", articles(150, 1) + articles(50))
    mix = DataMixConfig({n: SourceConfig("jsonl", str(tmp_path / f"{n}.jsonl")) for n in "ab"}, held_out_share=0.2)
    one = prepare(mix, BPE, tmp_path / "one", progress=False, num_workers=1)
    manifest = json.loads((one.corpus / "manifest.json").read_text())
    assert manifest["counts"]["documents duplicate"] == 50 and len(parts.names(one.corpus)) > 20

    write, calls = parts.write_unit, [0]

    def dies_at_the_fifth(*arguments: object, **options: object) -> None:
        calls[0] += 1
        if calls[0] % 5 == 0:
            raise KeyboardInterrupt
        write(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(parts, "write_unit", dies_at_the_fifth)
    attempts = 1
    while attempts < 50:
        try:
            prepare(mix, BPE, tmp_path / "two", progress=False, num_workers=1)
            break
        except KeyboardInterrupt:
            attempts += 1
    number = len(list((one.corpus / "units").iterdir()))
    assert attempts > 3 and calls[0] == number + attempts - 1, "no unit was written twice"
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


def test_unfinished_files_of_a_killed_process_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "a.jsonl", articles(60))
    mix = DataMixConfig({"a": SourceConfig("jsonl", str(tmp_path / "a.jsonl"))}, held_out_share=0.2)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "finish", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(mix, BPE, tmp_path / "one", progress=False, num_workers=1)
    [making] = (tmp_path / "one" / "corpus").glob(".*.making")
    for name in ("units/.000000.json.1", "parts/.000000-000000.records.npy.1", "docstrings/.000000.jsonl.1"):
        (making / name).write_bytes(b"torn {")
    one = prepare(mix, BPE, tmp_path / "one", progress=False, num_workers=1)
    prepare(mix, BPE, tmp_path / "two", progress=False, num_workers=1)
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two") and not list(one.corpus.glob("*/.*"))


def start(tmp_path: Path, cache: Path, workers: int) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path\n"
        "from roberta_lab.config import *\n"
        "from roberta_lab.data.corpus import parts\n"
        "from roberta_lab.data.corpus.sources import scanning\n"
        "from roberta_lab.data.corpus.preparation import prepare\n"
        "scanning.RANGE_BYTES = 60_000\n"
        "source, cache, workers = sys.argv[1:]\n"
        "mix = DataMixConfig({'a': SourceConfig('jsonl', source)}, held_out_share=0.2)\n"
        "print(prepare(mix, TokenizerConfig('bytelevel_bpe', 300), Path(cache), False, int(workers)).store)\n"
    )  # no main guard: scripts that have none must work
    script = tmp_path / "script.py"
    if not script.exists():  # four read it
        script.write_text(code)
    command = [sys.executable, str(script), str(tmp_path / "a.jsonl"), str(cache), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_four_at_once_of_which_one_is_killed_make_one_valid_result(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", articles(6_000))
    alone = start(tmp_path, tmp_path / "alone", 1)
    said_alone = alone.communicate(timeout=60)
    assert alone.returncode == 0, said_alone
    cache = tmp_path / "shared"
    four = [start(tmp_path, cache, 2) for _ in range(4)]
    deadline = time.monotonic() + 60
    while not list(cache.glob("corpus/.*.making/units/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    four[0].send_signal(signal.SIGKILL)
    said = [process.communicate(timeout=60) for process in four]
    ends = [process.returncode for process in four]
    assert ends.count(0) == 3 and ends.count(-signal.SIGKILL) == 1, said
    assert len({out for (out, _), end in zip(said, ends, strict=True) if end == 0}) == 1, said
    assert content_of(cache) == content_of(tmp_path / "alone")
    assert not list(cache.rglob("*.making"))


def test_within_a_worker_of_a_sweep_it_works_too(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):  # a unit of work each
        write_lines(tmp_path / f"{name}.jsonl", articles(200, seed))
    mix = DataMixConfig({n: SourceConfig("jsonl", str(tmp_path / f"{n}.jsonl")) for n in "abc"}, held_out_share=0.2)
    one, two = Parallel(n_jobs=2)(delayed(prepare)(mix, BPE, tmp_path / "cache", False, 2) for _ in range(2))
    assert one == two == prepare(mix, BPE, tmp_path / "cache", progress=False)


def test_a_users_mistake_leaves_nothing_and_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Fine."}\n' + "no json\n" * 20)
    mix = DataMixConfig({"a": SourceConfig("jsonl", str(tmp_path / "a.jsonl"))})
    with pytest.raises(ConfigError, match=r"a\.jsonl: 11 of the first 12 records are malformed"):
        prepare(mix, BPE, tmp_path / "cache", progress=False)
    assert not list((tmp_path / "cache" / "corpus").glob(".*.making"))


# ---------------------------------------------------------------- duplicates
@pytest.mark.parametrize("at_once", [7, 64, 1 << 20])
@pytest.mark.usefixtures("small_units")
def test_the_first_of_equal_texts_stays_whatever_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(parts, "DUPLICATES_AT_ONCE", at_once)
    texts = random.Random(3).choices(articles(150), k=400)
    write_lines(tmp_path / "a.jsonl", texts)
    mix = DataMixConfig({"a": SourceConfig("jsonl", str(tmp_path / "a.jsonl"))}, held_out_share=0.2)
    prepared = prepare(mix, BPE, tmp_path / "cache", progress=False, num_workers=1)
    first = {text: f"a:a.jsonl:{i}" for i, text in reversed(list(enumerate(texts)))}  # a slow reference
    found = {split: [d["id"] for d in parts.read_documents(prepared.corpus, split)] for split in parts.SPLITS}
    assert sorted(found["train"] + found["validation"]) == sorted(first.values())
    assert all(units.is_held_out(name, 0.2) == (split == "validation") for split in found for name in found[split])


def test_the_content_does_not_tell_how_the_corpus_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "a.jsonl", articles(200))
    mix = DataMixConfig({"a": SourceConfig("jsonl", str(tmp_path / "a.jsonl"))}, held_out_share=0.2)
    whole = prepare(mix, BPE, tmp_path / "one", progress=False, num_workers=1)
    monkeypatch.setattr(scanning, "RANGE_BYTES", 2000)
    monkeypatch.setattr(parts, "PART_CHARACTERS", 500)
    apart = prepare(mix, BPE, tmp_path / "two", progress=False, num_workers=1)
    assert len(parts.names(apart.corpus)) > 1 == len(parts.names(whole.corpus))
    assert whole.fingerprints() == apart.fingerprints()
    for name in ("tokens-00000.npy", "document_ends.npy"):
        assert (whole.store / "train" / name).read_bytes() == (apart.store / "train" / name).read_bytes()


# ---------------------------------------------------------------- the tokenizer's sample
def test_a_tokenizer_is_trained_on_a_sample_of_documents(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", articles(400))
    mix = DataMixConfig({"a": SourceConfig("jsonl", str(tmp_path / "a.jsonl"))}, held_out_share=0.2)
    config = TokenizerConfig("bytelevel_bpe", 300, train_characters=1000)
    sampled, whole = (prepare(mix, c, tmp_path / "c", progress=False, num_workers=1) for c in (config, BPE))
    assert sampled.corpus == whole.corpus and sampled.tokenizer != whole.tokenizer
    assert sampled.fingerprints()["tokenizer"] != whole.fingerprints()["tokenizer"]


def test_records_are_as_many_as_documents(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", articles(50))
    mix = DataMixConfig({"a": SourceConfig("jsonl", str(tmp_path / "a.jsonl"))}, held_out_share=0.2)
    corpus = prepare(mix, BPE, tmp_path / "c", progress=False, num_workers=1).corpus
    [stem] = parts.names(corpus)
    found = parts.records(corpus, stem)
    documents = [d for split in parts.SPLITS for d in parts.read_documents(corpus, split)]
    assert len(found) == len(documents) == 50
    assert sorted(found["sentences"]) == sorted(len(d["sentences"]) for d in documents)
    assert sorted(found["name"].tolist()) == sorted(parts.document_hash(d["id"]) for d in documents)
    assert np.array_equal(np.unique(found["held_out"]), [False, True])


# ---------------------------------------------------------------- what a stranger found
def mix_of(folder: Path, *names: str, **options: object) -> DataMixConfig:
    found = {name: SourceConfig("jsonl", str(folder / f"{name}.jsonl")) for name in names}
    return DataMixConfig(found, **{"held_out_share": 0.2, **options})  # type: ignore[arg-type]


def test_records_number_the_sources_of_their_own_mix(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_lines(tmp_path / f"{name}.jsonl", articles(60 + 20 * seed, seed))
    write_lines(tmp_path / "e.jsonl", articles(60))  # a again: all of it duplicates
    for names in (("a", "b"), ("b", "a"), ("a", "e"), ("a",)):
        prepared = prepare(mix_of(tmp_path, *names), BPE, tmp_path / "c", progress=False, num_workers=1)
        store = token_store.open_store(prepared.store / "train")
        assert store.manifest["sources"] == list(names)
        found = [d["id"].partition(":")[0] for d in parts.read_documents(prepared.corpus, "train")]
        assert [names[i] for i in store.document_sources] == found


def test_after_a_kill_among_the_encoded_parts_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "a.jsonl", articles(60))
    mix = mix_of(tmp_path, "a")
    with monkeypatch.context() as patch:
        patch.setattr(token_store, "write_columns", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(mix, BPE, tmp_path / "c", progress=False, num_workers=1)
    [one] = (tmp_path / "c").glob("tokens/.*.making/parts/*.train.npz")
    one.unlink()
    whole = prepare(mix, BPE, tmp_path / "c", progress=False, num_workers=1)
    assert content_of(whole.store) == content_of(prepare(mix, BPE, tmp_path / "d", progress=False, num_workers=1).store)


def test_a_mistake_late_in_a_mix_keeps_what_was_finished(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", articles(60))
    (tmp_path / "b.jsonl").write_text('{"text": "good"}\n' + "no json\n" * 20)  # the first record is read before all
    with pytest.raises(ConfigError, match="malformed"):
        prepare(mix_of(tmp_path, "a", "b"), BPE, tmp_path / "c", progress=False, num_workers=1)
    assert len(list((tmp_path / "c").glob("corpus/.*.making/units/*"))) == 1


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], r"a: no document with text \(1 files\)"),
        ([" ", "\n"], r"no document with text \(2 documents empty, 1 files\)"),
        (["One. Two."], r"held_out_share=0\.2 holds \d of 1 documents out: both training and validation need some"),
    ],
)
def test_a_corpus_that_cannot_be_trained_on_is_one_line(tmp_path: Path, texts: list[str], said: str) -> None:
    write_lines(tmp_path / "a.jsonl", texts)
    with pytest.raises(ConfigError, match=said):
        prepare(mix_of(tmp_path, "a"), BPE, tmp_path / "c", progress=False, num_workers=1)


def test_the_parts_of_a_long_document_are_in_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_DOCUMENT", 60)
    write_lines(tmp_path / "a.jsonl", ["\n".join(articles(12, seed)) for seed in range(30)])
    corpus = prepare(mix_of(tmp_path, "a"), BPE, tmp_path / "c", progress=False, num_workers=1).corpus
    found = {split: {d["id"].partition("#")[0] for d in parts.read_documents(corpus, split)} for split in parts.SPLITS}
    assert len(found["train"] | found["validation"]) == 30 and not found["train"] & found["validation"]
    assert len(list(parts.read_documents(corpus, "train"))) > 100


@pytest.mark.usefixtures("small_units")
def test_bad_lines_that_a_range_begins_with_are_counted_as_in_a_whole_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [*articles(40), "x"])
    with open(tmp_path / "a.jsonl", "a") as file:
        file.write("no json " * 500 + "\n")
    corpus = prepare(mix_of(tmp_path, "a"), BPE, tmp_path / "c", progress=False, num_workers=1).corpus
    assert json.loads((corpus / "manifest.json").read_text())["counts"]["records malformed"] == 1
