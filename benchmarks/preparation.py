"""A corpus of JSON lines -> tokens on disk: seconds, megabytes per second and peak memory of all processes together.

    python benchmarks/preparation.py CORPUS.jsonl --tokenizer FOLDER [--megabytes 25 100] [--turns 3]

The peer is the preparation of `run_mlm`: `load_dataset("json")`, `map` with the fast tokenizer, `map` with `group_texts` to
blocks of 512, one process. Ours splits sentences, finds duplicates, splits off held-out documents and encodes, with one
process and with one a core. Every turn begins with an empty folder; the vocabulary is published, so nobody trains one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from statistics import median

from side_by_side import setting, table


def theirs(corpus: str, vocabulary: str, folder: str) -> None:
    """What `run_mlm` does with a text column (transformers, examples/pytorch/language-modeling)."""
    import datasets
    from tokenizing import load
    from transformers import PreTrainedTokenizerFast

    datasets.disable_progress_bars()
    fast = PreTrainedTokenizerFast(tokenizer_object=load(vocabulary))
    rows = datasets.load_dataset("json", data_files=corpus, split="train", cache_dir=folder)

    def encoded(some: dict) -> dict:
        return fast(some["text"], add_special_tokens=False, return_special_tokens_mask=True)

    def grouped(some: dict) -> dict:
        joined = {key: list(chain(*some[key])) for key in some}
        total = len(joined["input_ids"]) // 512 * 512
        return {key: [ids[i : i + 512] for i in range(0, total, 512)] for key, ids in joined.items()}

    rows.map(encoded, batched=True, remove_columns=rows.column_names).map(grouped, batched=True)


def ours(corpus: str, vocabulary: str, folder: str, workers: int | None) -> None:
    """The preparation of a run."""
    from roberta_lab.config import DataMixConfig, SourceConfig, TokenizerConfig
    from roberta_lab.data.corpus.preparation import prepare

    kind = "wordpiece" if (Path(vocabulary) / "vocab.txt").is_file() else "bytelevel_bpe"
    mix = DataMixConfig({"corpus": SourceConfig("jsonl", corpus)})
    prepare(mix, TokenizerConfig(kind, 0, vocabulary), Path(folder), False, workers)


WAYS = {"datasets.map": theirs, "roberta_lab, 1": ours, "roberta_lab, all": ours}
WORKERS = {"roberta_lab, 1": (1,), "roberta_lab, all": (None,)}


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [each for child in path.read_text().split() for each in family(int(child))]
        except OSError:
            continue
    return found


def memory(pid: int) -> int:
    """Bytes of a process, what it shares counted in proportion (Linux; elsewhere 0)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def measured(way: str, corpus: Path, vocabulary: str) -> tuple[float, int]:
    """Seconds, and the most bytes that all processes held at once."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, str(corpus), "--tokenizer", vocabulary, "--way", way, "--folder", folder]
        start, most = time.perf_counter(), 0
        process = subprocess.Popen(
            command, env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        )
        while process.poll() is None:
            most = max(most, sum(map(memory, family(process.pid))))
            time.sleep(0.05)
        assert process.returncode == 0, command
        return time.perf_counter() - start, most


def first_megabytes(corpus: Path, megabytes: float, folder: Path) -> Path:
    """A file with the first documents of a corpus."""
    path, size = folder / f"{megabytes:g}.jsonl", 0
    with open(corpus, "rb") as lines, open(path, "wb") as out:
        for line in lines:
            out.write(line)
            size += len(line)
            if size > megabytes * 1e6:
                break
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[25.0, 100.0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--without-peer", action="store_true", help="for sizes at which it takes too long")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        WAYS[options.way](str(options.corpus), options.tokenizer, options.folder, *WORKERS.get(options.way, ()))
        return
    ways = [way for way in WAYS if not (options.without_peer and way == "datasets.map")]
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for megabytes in options.megabytes:
            part = first_megabytes(options.corpus, megabytes, Path(folder))
            size = part.stat().st_size / 1e6
            turns = [{way: measured(way, part, options.tokenizer) for way in ways} for _ in range(options.turns)]
            for way in ways:
                seconds = [turn[way][0] for turn in turns]
                ratio = median(turn[ways[0]][0] / turn[way][0] for turn in turns)
                spread, most = f"{min(seconds):.1f} to {max(seconds):.1f}", max(turn[way][1] for turn in turns)
                line = [f"{way}, {size:.0f} MB", f"{median(seconds):.1f}", spread]
                rows.append([*line, f"{size / median(seconds):.1f}", f"{ratio:.2f}", f"{most / 1e6:.0f}"])
    print(table(("", "seconds, median", "spread", "MB/s", "times the first", "peak MB"), rows))
    print(f"\n{setting('tokenizers', 'transformers', 'datasets', 'joblib')}")


if __name__ == "__main__":
    main()
