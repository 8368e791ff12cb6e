"""Processes that prepare the same data at once share its units, and leave what one process alone would have made."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_claimed_folders import ELSEWHERE
from test_preparation import BPE, articles, content_of, mix_of, write_lines
from test_verified import flip

from roberta_lab.config import Config, PathsConfig, PrepareConfig, SourceConfig, TrainerConfig
from roberta_lab.data import claims, token_store
from roberta_lab.data.corpus import folders, hashing, parts, preparation, tokens, workers
from roberta_lab.data.corpus.preparation import prepare, prepare_stage
from roberta_lab.data.corpus.sources import scanning

NAMES = "abcdef"  # a source each, which is a unit


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A folder with six sources of forty documents, some of them twice."""
    for seed, name in enumerate(NAMES):
        write_lines(tmp_path / f"{name}.jsonl", [*articles(40, seed), *articles(5)])
    return tmp_path


def alone(text: Path) -> dict[str, bytes]:
    """What one process makes of it."""
    prepare(mix_of(text, *NAMES), BPE, text / "alone", progress=False, num_workers=1)
    return content_of(text / "alone")


def config(text: Path, stage: str) -> Config:
    paths, asked = PathsConfig(cache=str(text / "shared")), PrepareConfig(1, stage=stage)
    trainer = TrainerConfig(progress=False)
    return Config(data_mix=mix_of(text, *NAMES), tokenizer=BPE, paths=paths, prepare=asked, trainer=trainer)


def marks(text: Path, kind: str = "corpus/.*.making/units") -> set[str]:
    return {path.name for path in (text / "shared").glob(f"{kind}/[!.]*")}


def take(text: Path, number: int, stage: str = "corpus") -> Path:
    """Let a process of another machine hold a unit."""
    folder = preparation._corpus(mix_of(text, *NAMES), text / "shared", False, 1)
    making = folder.path.with_name(f".{folder.path.name}.making")
    making.mkdir(parents=True, exist_ok=True)
    parts.make_folders(making)
    note = making / "units" / f".{number:06d}.json.taken"
    note.write_text(json.dumps(ELSEWHERE))
    return note


# ---------------------------------------------------------------- processes
CODE = """import sys, time; from pathlib import Path
from roberta_lab.config import *
from roberta_lab.data.corpus import parts
from roberta_lab.data.corpus.preparation import prepare
text, hangs = Path(sys.argv[1]), sys.argv[2] == "hangs"
write_part = parts._write_part
def and_hang(*arguments):
    write_part(*arguments)
    print("in a unit", flush=True)
    time.sleep(60)
if hangs: parts._write_part = and_hang
mix = DataMixConfig({n: SourceConfig('jsonl', str(text / f'{n}.jsonl')) for n in 'abcdef'}, held_out_share=0.2)
prepare(mix, TokenizerConfig('bytelevel_bpe', 300), text / 'shared', True, 1)
"""


def start(text: Path, how: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", CODE, str(text), how]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_three_share_and_the_unit_of_one_that_was_killed_is_taken_over(text: Path) -> None:
    """The first is killed when it has written a part of its first unit; the others do not wait for a lock of it."""
    first = start(text, "hangs")
    assert first.stdout is not None and first.stdout.readline() == "in a unit\n"
    others = [start(text, "works") for _ in range(2)]
    deadline = time.monotonic() + 60
    while len(marks(text)) < len(NAMES) - 1:  # the others make the rest while it lives
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    said = [process.communicate(timeout=60)[1] for process in others]
    assert [process.returncode for process in others] == [0, 0], said
    assert first.wait() == -signal.SIGKILL
    first.communicate()
    made = [int(line.split()[1]) for one in said for line in one.splitlines() if re.match("corpus: .* here", line)]
    assert sum(made) == len(NAMES)
    assert content_of(text / "shared") == alone(text)
    assert not [*(text / "shared").rglob("*.making")] and not [*(text / "shared").glob("*/*/**/.*")]


# ---------------------------------------------------------------- stages
def test_stages_leave_what_others_have_and_end_with_the_same_bytes(text: Path) -> None:
    note = take(text, 3)
    assert prepare_stage(config(text, "corpus")) == [] and note.exists(), "it does not wait"
    assert marks(text) == {f"{number:06d}.json" for number in range(6) if number != 3}
    os.utime(note, (time.time() - claims.STALE - 1,) * 2)  # its machine is gone
    prepare_stage(config(text, "corpus"))
    assert len(marks(text)) == 6 and not (text / "shared" / "tokenizer").exists()
    made = prepare_stage(config(text, "tokenizer"))
    assert [path.parent.name for path in made] == ["corpus", "tokenizer"] and not (text / "shared" / "tokens").exists()
    assert prepare_stage(config(text, "tokens")) == made
    assert len(marks(text, "tokens/.*.making/parts")) == 2 * 6
    prepared = prepare(mix_of(text, *NAMES), BPE, text / "shared", progress=False, num_workers=1)
    assert content_of(text / "shared") == alone(text)
    assert prepare_stage(config(text, "tokens")) == [*prepared] and prepare_stage(config(text, "corpus")) == made[:1]


def test_who_finds_nothing_to_take_waits_and_takes_what_a_lost_machine_had(
    text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note, sleeps = take(text, 2), Counter[float]()
    monkeypatch.setattr(workers, "LONG_SECONDS", 0.0)

    def sleep(seconds: float) -> None:
        sleeps[seconds] += 1
        if seconds == claims.WAIT and sleeps[seconds] == 3:
            os.utime(note, (time.time() - claims.STALE - 1,) * 2)

    monkeypatch.setattr(workers.time, "sleep", sleep)
    prepare(mix_of(text, *NAMES), BPE, text / "shared", progress=False, num_workers=1)
    assert sleeps[claims.WAIT] == 3
    said = capsys.readouterr().err
    assert "corpus: waiting for 1 of 6 units, which other processes make ...\n" in said
    assert "corpus: 6 of 6 units here, 0.0 MB; " in said and " MB/s a core\n" in said and " tokens/s a core\n" in said
    monkeypatch.undo()
    assert content_of(text / "shared") == alone(text)


def test_a_unit_of_another_process_is_not_made_here(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note, written = take(text, 2), list[int]()
    write = parts.write_unit

    def noting(folder: Path, unit: parts.Unit, data_mix: object) -> None:
        written.append(unit.number)
        write(folder, unit, data_mix)  # type: ignore[arg-type]

    def sleep(seconds: float) -> None:
        """The other one ends its unit."""
        if note.exists():
            [unit] = [unit for unit in preparation.units.units(mix, found) if unit.number == 2]
            write(note.parents[1], unit, mix)
            note.unlink()

    mix = mix_of(text, *NAMES)
    found = {name: preparation.units.scan(source, text / "shared", False) for name, source in mix.sources.items()}
    monkeypatch.setattr(parts, "write_unit", noting)
    monkeypatch.setattr(workers.time, "sleep", sleep)
    prepare(mix, BPE, text / "shared", progress=False, num_workers=1)
    assert sorted(written) == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("name", ["000002-000000.train.jsonl", "000002-000000.records.npy"])
def test_a_damaged_unit_is_noticed_before_the_merge_and_made_again(
    text: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "LONG_SECONDS", 0.0)
    prepare_stage(config(text, "corpus"))
    [file] = (text / "shared").glob(f"corpus/.*.making/parts/{name}")
    flip(file, 40)
    prepare_stage(config(text, "tokenizer"))
    said = capsys.readouterr().err
    assert f"{name} is damaged or missing; it is made again\n" in said and "corpus: 1 of 6 units here" in said
    prepare_stage(config(text, "tokens"))
    [file] = (text / "shared").glob("tokens/.*.making/parts/000004-000000.train.npz")
    flip(file, 90)
    prepare_stage(config(text, "all"))
    prepare(mix_of(text, *NAMES), BPE, text / "shared", progress=False, num_workers=1)
    assert "000004-000000.train.npz is damaged: " in capsys.readouterr().err
    assert content_of(text / "shared") == alone(text)


def test_who_comes_late_writes_nothing(text: Path) -> None:
    """Another process makes a whole of the folder while this one is about to take a piece; or has just done so."""
    path = text / "shared" / "made"

    calls = []

    def share(making: Path, leaves: bool) -> bool:
        calls.append(making)
        making.rename(folder.path)  # by the other one
        tokens.Encoder(text, text, [], False, 1).share(making, leaves)
        return True

    folder = folders.Folder(path, {}, share, lambda _: pytest.fail("made twice"), False)
    assert folder.help_out() and [*path.iterdir()] == [folder.path]
    folder.path.rename(path / "away")
    (path / f".{folder.path.name}.lock").write_text(json.dumps(ELSEWHERE))  # it is at work
    assert folder.help_out() and not [*path.glob("*.making")] and len(calls) == 1


def test_a_store_of_many_shards_holds_the_same_tokens(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mix = mix_of(text, *NAMES)
    whole = token_store.open_store(prepare(mix, BPE, text / "one", False, 1).store / "train")
    monkeypatch.setattr(token_store, "shards_of", partial(token_store.shards_of, shard_tokens=500))
    apart = token_store.open_store(prepare(mix, BPE, text / "many", False, 1).store / "train")
    assert len(whole.shards) == 1 < 5 < len(apart.shards)
    assert np.concatenate(apart.shards).tolist() == whole.shards[0].tolist()
    assert apart.document_tokens.tolist() == whole.document_tokens.tolist()


def test_where_processes_begin_differs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pieces = workers.Pieces("x", "part", dict.fromkeys(range(300), 1), lambda n: tmp_path / str(n), lambda _: None)
    assert workers._in_order(pieces, leaves=False) == [*range(300)], "alone it begins with the first"
    first = set()
    for pid in range(20):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        order = workers._in_order(pieces, leaves=True)
        first.add(order[0])
        assert sorted(order) == [*range(300)]
    assert len(first) > 14


# ---------------------------------------------------------------- hashing
def test_files_of_a_large_source_are_hashed_once_by_all(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, cache = SourceConfig("jsonl", str(text)), text / "cache"
    for path in text.glob("*.jsonl"):
        os.utime(path, (1e9, 1e9))
    plain = scanning.scan(source, text / "plain")
    monkeypatch.setattr(hashing, "GROUP_BYTES", 15_000)
    read, scan_file = Counter[str](), scanning._scan_file
    monkeypatch.setattr(scanning, "_scan_file", lambda path, count: read.update([path.name]) or scan_file(path, count))
    number = len([*hashing._grouped(source)])
    assert 1 < number < 6
    hashing.share(source, cache, 1, False)
    assert scanning.scan(source, cache) == plain and set(read.values()) == {1} and len(read) == 6
    assert [path.name for path in cache.iterdir()] == [scanning.MEMORY], "nothing is left"
    before = cache.stat().st_mtime_ns
    hashing.share(source, cache, 1, False)
    assert cache.stat().st_mtime_ns == before, "it may be read only"
    (text / "a.jsonl").write_text('{"text": "Other. Text."}\n' * 800)
    os.utime(text / "a.jsonl", (1e9, 1e9))
    hashing.share(source, cache, 1, False)
    assert read["a.jsonl"] == 2 and scanning.scan(source, cache) != plain


def test_as_many_processes_as_slurm_gave_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the system would let them have all of a node's."""
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: {*range(64)}, raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert workers.cores() == 64
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert workers.cores() == 4
    monkeypatch.setenv("SLURM_TASKS_PER_NODE", "2(x3)")
    assert workers.cores() == 8, "a job of several tasks that started none of them"
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert workers.cores() == 4, "one of its tasks"
