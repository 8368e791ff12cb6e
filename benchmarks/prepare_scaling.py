"""Preparation of a large corpus: rates of each stage, strong scaling on 1 and 2 processes, and what 160 GB would take.

    python benchmarks/prepare_scaling.py [CORPUS.jsonl ...] [--megabytes 60 240] [--goal 160] [--write]

Prints Markdown, with `--write` also into benchmarks/results/prepare_scaling_cpu.md. Text comes from the files in turn; without
files, from the documentation that Python holds. Where it does not suffice it is repeated with other words in it, so that no
document is a duplicate and the memory of words does not help. Each process is one `prepare` of one worker, as on machines of
their own: they share by the cache alone. A core's seconds are those of the processor (`CPU`), since other work may share it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, zip_longest
from pathlib import Path
from typing import Any

from side_by_side import one_thread, setting, short, table

from roberta_lab.config import DataMixConfig, SourceConfig, TokenizerConfig
from roberta_lab.data import file_hashes, verified
from roberta_lab.data.corpus import hashing, parts, preparation, tokens, workers
from roberta_lab.data.corpus.sources import pydoc, scanning

FILE_BYTES = 29_000_000  # a unit each, which is at most 34 MB
TRAIN_CHARACTERS, VOCABULARY = 100_000_000, 50_264
GROUP, UNIT, PART = hashing.GROUP_BYTES, scanning.RANGE_BYTES, parts.PART_CHARACTERS
STAGES = ("corpus", "tokens")  # that processes share, which is measured in some turns
CORES = (1, 32, 1024)
SHARD = 1 << 30


# ---------------------------------------------------------------- text
def documents(files: list[Path]) -> Iterator[str]:
    """Texts without end: those of all files in turn, then again with every ninth long word spelled in another way."""
    for turn in count():
        readers = [map(json.loads, open(file, encoding="utf-8")) for file in files]  # noqa: SIM115
        embedded = ({"text": record.text} for record in pydoc.docstrings(0, 1)) if not files else ()
        for row in zip_longest(*readers, embedded):
            for found in filter(None, row):
                yield changed(found["text"], turn) if turn else found["text"]


def changed(text: str, turn: int) -> str:
    """A text with about a ninth of its long words turned round."""

    def other(found: re.Match[str]) -> str:
        word, by = found[0], turn % 5
        return word[by:] + word[:by] if (len(word) * 7 + ord(word[-1]) + turn) % 9 == 0 else word

    return f"{re.sub(r'[^ ]{6,}', other, text)} {turn}"


def write(folder: Path, files: list[Path], megabytes: float) -> None:
    folder.mkdir()
    found, size, number, out = documents(files), 0, 0, None
    while size < megabytes * 1e6:
        if out is None or out.tell() > FILE_BYTES:
            out = open(folder / f"{number:05d}.jsonl", "wb")  # noqa: SIM115
            number += 1
        size += out.write(json.dumps({"text": next(found)}).encode() + b"\n")


# ---------------------------------------------------------------- one process
class Lap:
    """Seconds of functions that are called inside others, by their names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, place: Any, name: str, called: str) -> None:
        plain = getattr(place, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return plain(*arguments, **options)
            finally:
                self.seconds[called] = self.seconds.get(called, 0.0) + time.process_time() - start

        setattr(place, name, timed)


def one(stage: str, text: Path, cache: Path, vocabulary: int) -> dict[str, float]:
    """Do one stage and return what it took."""
    mix, encoding = (
        DataMixConfig({"own": SourceConfig("jsonl", str(text))}),
        TokenizerConfig("bytelevel_bpe", vocabulary),
    )
    encoding.train_characters = TRAIN_CHARACTERS
    lap, shared, take = Lap(), dict[str, float](), workers._take
    lap.around(preparation, "_verify_units", "verify")
    lap.around(parts, "mark_duplicates", "duplicates")
    lap.around(parts, "finish", "manifest")
    lap.around(verified, "seal", "seal")
    lap.around(tokens.Encoder, "_verified", "verify")
    lap.around(tokens.Encoder, "_join", "join")

    def timed(*arguments: Any) -> workers.Made:
        start = time.process_time()
        made = take(*arguments)
        if made.seconds:
            shared["shared"] = shared.get("shared", 0.0) + time.process_time() - start
        return made

    workers._take = timed
    start = time.process_time(), time.perf_counter()
    corpus = preparation._corpus(mix, cache, False, 1)
    if stage == "corpus":
        corpus.help_out()
    elif stage == "merge":
        time.sleep(2 * file_hashes.YOUNG_SECONDS)  # files of this minute are hashed again, which those of hours are not
        corpus.made()
        begin = time.process_time()
        counts = preparation.counts_of(corpus.path)
        few = preparation._Sample(corpus.path, 1000, counts["characters kept"], False)
        assert sum(map(len, few)) < 1e6
        drawn = min(TRAIN_CHARACTERS, counts["characters kept"])
        lap.seconds |= {"read": time.process_time() - begin, "drawn": drawn}
        begin = time.process_time()
        preparation._tokenizer(encoding, corpus.path, cache, False).made()
        lap.seconds["train"] = time.process_time() - begin - lap.seconds["read"]
    elif stage in ("tokens", "join"):
        tokenizer = preparation._tokenizer(encoding, corpus.path, cache, False).path
        store = preparation._store(["own"], corpus.path, tokenizer, cache, False, 1)
        store.help_out() if stage == "tokens" else store.made()
    found = {"start": start[0], "cpu": time.process_time() - start[0], "wall": time.perf_counter() - start[1]}
    status = Path("/proc/self/status")
    peak = (
        int(status.read_text().partition("VmHWM:")[2].split()[0])
        if status.exists()
        else resource.getrusage(0).ru_maxrss
    )
    return found | shared | lap.seconds | {"peak": peak * 1024}


def processes(number: int, stage: str, text: Path, cache: Path, vocabulary: int) -> list[dict[str, float]]:
    line = [sys.executable, __file__, "--one", stage, str(text), str(cache), str(vocabulary)]
    running = [
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(number)
    ]
    found = [json.loads(process.communicate()[0]) for process in running]
    assert not any(process.returncode for process in running), line
    return found


# ---------------------------------------------------------------- one size
def measured(text: Path, number: int, vocabulary: int, turns: int) -> dict[str, float]:
    """Prepare a text by so many processes, stage by stage, in an empty cache; return seconds, bytes and counts."""
    found: dict[str, float] = {"bytes": sum(file.stat().st_size for file in text.iterdir())}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        for stage, many in (
            ("hashing", 1),
            ("corpus", number),
            ("merge", 1),
            ("tokens", number),
            ("join", 1),
        ):
            tries = []
            for _ in range(turns if stage in STAGES else 1):
                shutil.rmtree(cache / stage, ignore_errors=True)
                tries.append(processes(many, stage, text, cache, vocabulary))
            each = min(tries, key=lambda found: max(one["wall"] for one in found))
            for key in {key for one in each for key in one}:
                add: Callable[[list[float]], float] = max if key in ("wall", "peak") else sum
                found[f"{stage} {key}"] = add([one.get(key, 0.0) for one in each])
            if stage == "tokens":
                found["disk of parts"] = disk(cache / "tokens")
        [corpus], [store] = ([*(cache / kind).glob("[!.]*")] for kind in ("corpus", "tokens"))
        counts = preparation.counts_of(corpus)
        manifest = json.loads((store / "train" / "manifest.json").read_text())
        share = counts["documents kept"] / manifest["documents"]  # held-out documents too
        found |= {
            "documents": counts["documents kept"],
            "sentences": counts["sentences"],
            "tokens": manifest["tokens"] * share,
        }
        found |= {"disk of the corpus": disk(corpus), "disk of the store": disk(store)}
    return found


def disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


# ---------------------------------------------------------------- what another size would take
def predicted(known: dict[str, float], size: float, cores: int) -> dict[str, float]:
    """Seconds by the clock of each stage for so many bytes, from what one process took for the known size.

    Shared stages end with the last unit of the busiest core. What one process does is in proportion to bytes, documents or
    tokens; what its workers do is divided by them, up to 32.
    """
    times, inside = size / known["bytes"], min(cores, 32)
    part = PART * known["bytes"] / known["disk of the corpus"]  # of the text that was given

    def shared(stage: str, piece: float) -> float:
        pieces = max(1.0, size / piece)
        return known[stage] * times * math.ceil(pieces / cores) / pieces

    documents = known["documents"] * times
    passes = max(1, math.ceil(documents / parts.DUPLICATES_AT_ONCE))
    drawn = min(1.0, TRAIN_CHARACTERS / (known["merge drawn"] * times))
    shards = math.ceil(known["tokens"] * times / SHARD)
    return {
        "starts of programs": known["hashing start"] * (1 if cores == 1 else 4),
        "hashing": shared("hashing cpu", GROUP),
        "corpus units": shared("corpus shared", UNIT),
        "corpus, verified": known["merge verify"] * times / inside,
        "duplicates": known["merge duplicates"] * times * passes,
        "manifest, hashes": (known["merge manifest"] + known["merge seal"]) * times,
        "tokenizer, sample read": known["merge read"] * times,
        "tokenizer, trained": known["merge train"] * times * drawn,
        "token units": shared("tokens shared", part),
        "tokens, verified": known["join verify"] * times / inside,
        "tokens, joined": known["join join"] * times / min(inside, shards),
        "store, hashes": known["join seal"] * times,
    }


def scaling(found: dict[int, dict[int, dict[str, float]]]) -> str:
    rows = []
    for megabytes, runs in found.items():
        for stage in ("corpus", "tokens"):
            for number, run in runs.items():
                size, cpu, wall = run["bytes"] / 1e6, run[f"{stage} shared"], run[f"{stage} wall"]
                rate = f"{size / cpu:.2f}"
                count = short(run["tokens"] / cpu) if stage == "tokens" else ""
                faster = runs[1][f"{stage} wall"] / wall
                cells = [f"{stage}, {megabytes} MB", number, f"{cpu:.1f}", rate, count, f"{wall:.1f}", f"{faster:.2f}"]
                rows.append([*cells, f"{run[f'{stage} peak'] / 1e6:.0f}"])
    header = ("stage", "processes", "CPU s", "MB/s a core", "tokens/s a core", "s by the clock", "times one")
    return table([*header, "peak MB of a process"], rows)


def checked(small: dict[str, float], large: dict[str, float]) -> str:
    guess, truth, rows = predicted(small, large["bytes"], 1), predicted(large, large["bytes"], 1), []
    for stage, seconds in guess.items():
        rows.append([stage, f"{seconds:.1f}", f"{truth[stage]:.1f}", f"{100 * (seconds / truth[stage] - 1):+.0f}%"])
    total = sum(guess.values()), sum(truth.values())
    rows.append(["all", f"{total[0]:.1f}", f"{total[1]:.1f}", f"{100 * (total[0] / total[1] - 1):+.1f}%"])
    return table(("stage", "predicted CPU s", "measured", "error"), rows)


def simulated(known: dict[str, float], goal: float) -> str:
    every = {cores: predicted(known, goal, cores) for cores in CORES}
    rows = [[stage, *(f"{every[cores][stage]:,.0f}" for cores in CORES)] for stage in every[1]]
    totals = {cores: sum(stages.values()) for cores, stages in every.items()}
    many = {cores: sum(every[cores][stage] for stage in ("hashing", "corpus units", "token units")) for cores in CORES}
    rows.append(["all, s", *(f"{totals[cores]:,.0f}" for cores in CORES)])
    rows.append(["all, hours", *(f"{totals[cores] / 3600:.2f}" for cores in CORES)])
    rows.append(["in stages of one job", *(f"{1 - many[cores] / totals[cores]:.0%}" for cores in CORES)])
    rows.append(["times one core", *(f"{totals[1] / totals[cores]:,.0f}" for cores in CORES)])
    rows.append(
        [
            "MB/s that files move in the corpus stage",
            *(f"{2 * goal / every[c]['corpus units'] / 1e6:,.0f}" for c in CORES),
        ]
    )
    return table(("seconds by the clock", *(f"{cores:,} core{'s' * (cores > 1)}" for cores in CORES)), rows)


def sizes(known: dict[str, float], goal: float) -> str:
    times = goal / known["bytes"]
    number = {name: known[name] * times for name in ("documents", "sentences", "tokens")}
    corpus, parts_, store = (known[f"disk of {name}"] * times for name in ("the corpus", "parts", "the store"))
    most = max(known["corpus peak"], known["tokens peak"])
    merge = known["join peak"] + number["documents"] * 43
    return "\n".join(
        (
            f"- {goal / 1e9:.0f} GB: {short(number['documents'])} documents, {short(number['sentences'])} sentences, {short(number['tokens'])} tokens;",
            f"  {goal / UNIT:,.0f} units, {corpus / PART:,.0f} parts, four files each.",
            f"- Disk: the corpus {corpus / 1e9:.0f} GB, the store {store / 1e9:.0f} GB; tokens of parts, until they are joined, {parts_ / 1e9:.0f} GB.",
            f"- Memory: {most / 1e6:.0f} MB a worker, whatever the size of the corpus. The job that merges takes a byte a document and 200 MB for",
            f"  duplicates, {known['merge peak'] / 1e6:.0f} MB to train the tokenizer; the last one 42 bytes a document, as it opens the store: {merge / 1e9:.1f} GB.",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, nargs="*")
    parser.add_argument("--megabytes", type=int, nargs=2, default=[60, 240])
    parser.add_argument("--goal", type=float, default=160.0, help="GB of text")
    parser.add_argument("--turns", type=int, default=3, help="of the shared stages; the quickest counts")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help="ids of the byte-level BPE that is trained")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    if options.one:
        print(json.dumps(one(options.one[0], Path(options.one[1]), Path(options.one[2]), int(options.one[3]))))
        return
    found: dict[int, dict[int, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in options.megabytes:
            text = Path(folder) / str(megabytes)
            write(text, options.corpus, megabytes)
            found[megabytes] = {number: measured(text, number, options.vocabulary, options.turns) for number in (1, 2)}
            print(json.dumps({"megabytes": megabytes, **found[megabytes]}), file=sys.stderr, flush=True)
    what = " ".join(file.name for file in options.corpus) or "Python's documentation"
    said = page(found, options.goal * 1e9, what)
    print(said)
    if options.write:
        (Path(__file__).parent / "results" / "prepare_scaling_cpu.md").write_text(said)


def page(found: dict[int, dict[int, dict[str, float]]], goal: float, what: str) -> str:
    small, large = (runs[1] for runs in found.values())
    megabytes = " ".join(map(str, found))
    return "\n\n".join(
        (
            "# Preparation over many machines: rates, scaling, 160 GB",
            f"`python benchmarks/prepare_scaling.py CORPUS.jsonl ... --megabytes {megabytes}`, of {what}. A process is one `prepare`\n"
            "with one worker; two share by the cache alone. CPU seconds are those of the processor; by the clock other work counts too, so of some turns the\n"
            "quickest is shown.",
            f"## Strong scaling\n\n{scaling(found)}",
            f"## The larger size, predicted from the smaller one\n\n{checked(small, large)}",
            f"## {goal / 1e9:.0f} GB, simulated from the larger size\n\n{simulated(large, goal)}\n\n{sizes(large, goal)}",
            f"Inputs: the rates of the larger size, one process; units of {UNIT / 1e6:.0f} MB, parts of {PART / 1e6:.0f} million characters, "
            f"groups of {GROUP / 1e6:.0f} MB for hashing;\nfiles that can be cut so; up to 32 workers in the jobs that merge; a vocabulary of "
            f"{VOCABULARY:,} trained on {TRAIN_CHARACTERS:,} characters by one thread.\nNot reckoned in: waiting in a queue, and a file system "
            "that is slower than its share of the last row.",
            setting("tokenizers", "numpy", "sentencex") + "\n",
        )
    )


if __name__ == "__main__":
    main()
