"""Plan a corpus of any size in blocks: memory, seconds, and how well an epoch is mixed, beside one plan of the whole.

    python benchmarks/blocks.py [--sentences 1500000000] [--formats full_sentences ...] [--folder DIR]

Prints Markdown. The large corpus is lengths alone, in a file of 4 bytes a sentence below DIR: 26 tokens a sentence and 33
sentences a document on average, both log-normal, drawn from a pool of 16 million that is rotated. Each format is measured in a
process of its own, whose peak of resident memory (VmHWM, so on Linux) is what the tables give; seconds are those of the
processor, since other work may share it. Nothing is read of tokens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from planning import corpus
from side_by_side import one_thread, setting, short, table

from roberta_lab.axes import blocks
from roberta_lab.axes.batch_size import BatchPlan, batch_plan
from roberta_lab.axes.epochs import epochs_of
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import BatchSizeConfig, Config, InputFormatConfig, NspConfig
from roberta_lab.data import verified
from roberta_lab.data.plan_counts import KeptCounts
from roberta_lab.data.token_store import OnDisk

MAX_LENGTH, SEQUENCES, POOL = 512, 8192, 1 << 24
STEPS = 12  # of which batches are timed


def config_of(name: str, sequences: int = SEQUENCES) -> Config:
    form = InputFormatConfig(name, MAX_LENGTH)
    return Config(input_format=form, nsp=NspConfig("auto"), batch_size=BatchSizeConfig(sequences, 500_000, 1e-3))


# ---------------------------------------------------------------- a large corpus
def write(folder: Path, num_sentences: int) -> None:
    """Write the lengths of the sentences and the ends of the documents, with their hashes."""
    draw = np.random.default_rng(0)
    pool = np.clip(draw.lognormal(3.1, 0.6, POOL), 1, 400).astype(np.int32)
    lengths = np.lib.format.open_memmap(folder / "sentence_lengths.npy", "w+", np.int32, (num_sentences,))
    for number, first in enumerate(range(0, num_sentences, POOL)):
        part = lengths[first : first + POOL]
        part[:] = np.roll(pool, 7919 * number)[: len(part)]
    lengths.flush()
    sizes = np.maximum(draw.lognormal(3.0, 1.0, POOL).astype(np.int64), 1)
    ends, last = [], 0
    while last < num_sentences:
        ends.append(last + np.cumsum(np.roll(sizes, 104_729 * len(ends))))
        last = int(ends[-1][-1])
    joined = np.concatenate(ends)
    np.save(folder / "document_ends.npy", np.append(joined[joined < num_sentences], num_sentences))
    verified.seal(folder)


def opened(folder: Path) -> TokenStore:
    """Open what `write` has written as a store, whose documents have numbers as hashes; it has no tokens."""
    ends = verified.load_array(folder / "document_ends.npy")
    hashes, sources = np.arange(len(ends), dtype=np.uint64), np.zeros(len(ends), np.uint16)
    manifest = {"dtype": "uint16", "shards": [], "sources": ["synthetic"]}
    return TokenStore.whole((), OnDisk(folder / "sentence_lengths.npy"), ends, hashes, sources, manifest)


def peak() -> float:
    """Return the most memory that this process had resident so far, in GB; `ru_maxrss` would start at that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def planned(folder: Path, name: str) -> dict[str, float]:
    """Open, count, and make batches of steps all over the run; those of one window and those that begin another one."""
    found, clock = {}, (time.process_time(), time.perf_counter())

    def lap(what: str) -> None:
        nonlocal clock
        now = time.process_time(), time.perf_counter()
        found[f"{what} s"], found[f"{what} wall"], found[f"{what} GB"] = now[0] - clock[0], now[1] - clock[1], peak()
        clock = now
        print(what, found[f"{what} s"], peak(), file=sys.stderr, flush=True)

    store, config = opened(folder), config_of(name)
    lap("open")
    plans = epochs_of(store, config, KeptCounts(store, folder, progress=True))
    plans.size(0)
    lap("count")
    batches = batch_plan(plans, store, config)
    lap("partner")
    examples, tokens = plans.size(0)
    found |= {"examples": examples, "tokens": tokens, "documents": len(store.document_ends)}
    found |= {"blocks": plans.num_blocks, "windows": len(batches.windows(0).ends), "epoch": 1 / batches.epochs(1)}
    again = batch_plan(epochs_of(store, config, KeptCounts(store, folder)), store, config)
    again.epochs(1)
    lap("recall")
    first, next_ones = [], []
    for step in np.linspace(0, int(1.5 / batches.epochs(1)), STEPS).astype(int).tolist():
        for times, wanted in ((first, step), (next_ones, step), (next_ones, step + 1)):
            start = time.process_time()
            made(batches, wanted)
            times.append(time.process_time() - start)
    found |= {"first": float(np.median(first)), "first most": max(first)}
    same = next_ones[::2]  # the very step again: another rank's share, or the next micro-batch
    found |= {"again": float(np.median(same)), "again most": max(same), "next": float(np.median(next_ones[1::2]))}
    return found | {"peak": peak()}


def made(batches: BatchPlan, step: int) -> int:
    """Make all of a step that needs no token: its examples, their spans, the share of one of eight ranks."""
    plan, places = batches.plans.view(*batches.batch(step))
    share, _ = batches.micro_batch(step, 0, 32, 3, 8)
    return int(plan.lengths[places].sum()) + len(share)


def large(folder: Path, num_sentences: int, names: list[str]) -> str:
    start = time.perf_counter()
    if not (folder / verified.HASHES).exists():
        write(folder, num_sentences)
    print(f"written in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    rows = []
    for name in names:
        command = [sys.executable, __file__, "--planned", name, "--folder", str(folder)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(json.dumps({"format": name, **found}), file=sys.stderr, flush=True)
        rows.append(
            [
                name,
                short(found["examples"]),
                f"{found['blocks']:,.0f} / {found['windows']:.0f}",
                f"{found['open s']:.0f} ({found['open wall']:.0f})",
                f"{found['count s']:.0f} ({found['count wall']:.0f})",
                f"{found['recall s']:.2f}",
                f"{found['first']:.1f} ({found['first most']:.1f})",
                f"{found['again']:.3f} ({found['again most']:.3f})",
                f"{found['open GB']:.2f}",
                f"{found['count GB']:.2f}",
                f"{found['peak']:.2f}",
            ]
        )
    header = [
        "format",
        "inputs an epoch",
        "blocks / windows",
        "open, s (by the clock)",
        "count, s (by the clock)",
        "counts again, s",
    ]
    header += ["first batch of a window, s (most)", "any other, s (most)", "peak GB: open", "count", "all"]
    return table(header, rows)


# ---------------------------------------------------------------- one plan of the whole, as for small corpora
def uncut(name: str, num_sentences: int) -> dict[str, float]:
    """Plan a corpus as one block, its sentences in memory."""
    blocks.WHOLE = num_sentences
    store, before = corpus(num_sentences), peak()
    start = time.process_time()
    batches = batch_plan(epochs_of(store, config_of(name)), store, config_of(name))
    batches.batch(0)
    held = sum(column.nbytes for column in (store.sentence_starts, store.sentence_lengths, store.document_ends))
    return {"seconds": time.process_time() - start, "planning": (peak() - before) * 1e9, "store": held}


def wholes(sizes: list[int], names: list[str], goal: int) -> str:
    rows = []
    for name in names:
        for number in sizes:
            command = [sys.executable, __file__, "--uncut", name, str(number)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            each = (found["planning"] + found["store"]) / number
            cells = [name, short(number), f"{found['seconds']:.1f}", f"{each:.0f}"]
            rows.append([*cells, f"{each * goal / 1e9:.0f}", f"{found['seconds'] / number * goal:.0f}"])
    header = ["format", "sentences", "s", "peak bytes a sentence"]
    return table([*header, f"GB at {short(goal)}, extrapolated", "s, extrapolated"], rows)


# ---------------------------------------------------------------- mixing
def mixing(num_sentences: int, names: list[str], shrink: int) -> str:
    """Walk an epoch of a corpus in blocks that are `shrink` times smaller, and of the same corpus as one block.

    A corpus that is as much smaller has as many blocks and windows as the large one; its batches are smaller too.
    """
    store, rows = corpus(num_sentences), []
    sizes = {"blocks": (0, blocks.BLOCK // shrink), "one plan": (num_sentences, blocks.BLOCK)}
    for name in names:
        for label, (blocks.WHOLE, blocks.BLOCK) in sizes.items():
            config = config_of(name, SEQUENCES // shrink)
            plans = epochs_of(store, config)
            batches = batch_plan(plans, store, config)
            number = plans.size(0)[0]
            steps = int(1 / batches.epochs(1)) + 2
            found = [batches.batch(step) for step in range(steps)]
            step_of = np.repeat(np.arange(steps), [len(examples) for examples, _ in found])
            examples, epochs = (np.concatenate(column) for column in zip(*found, strict=True))
            examples, step_of = examples[epochs == 0], step_of[epochs == 0]
            place, step_at = np.empty(number, np.int64), np.empty(number, np.int64)
            place[examples], step_at[examples] = np.arange(len(examples)), step_of
            apart = np.abs(np.diff(place)) / number
            shares = np.bincount(10 * step_of + examples * 10 // number, minlength=10 * steps).reshape(-1, 10)
            shares = shares[: step_of[-1]] / shares[: step_of[-1]].sum(axis=1, keepdims=True)
            rows.append(
                [
                    name,
                    f"{label} ({plans.num_blocks:,} / {len(batches.windows(0).ends)})",
                    "yes" if (np.bincount(examples, minlength=number) == 1).all() else "NO",
                    *(f"{np.quantile(apart, q):.3%}" for q in (0.05, 0.5, 0.95)),
                    f"{(np.diff(step_at) == 0).mean():.3%}",
                    f"{1 / (steps - 2):.3%}",
                    f"{shares.std(axis=0).mean():.4f}",
                ]
            )
    header = [
        "format",
        "order (blocks / windows)",
        "each input once",
        "neighbours apart, share of an epoch: 5%",
        "median",
    ]
    header += ["95%", "in the same batch", "a batch's share of an epoch", "sd of a tenth's share of a batch"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1_500_000_000)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--folder", type=Path, help="of the large corpus, kept; else a temporary one")
    parser.add_argument("--whole", type=int, nargs="+", default=[1_000_000, 8_000_000], help="sentences of one plan")
    parser.add_argument("--mixing", type=int, default=11_720_000, help="sentences of the walked epoch")
    parser.add_argument("--shrink", type=int, default=128, help="how many times smaller its blocks are")
    parser.add_argument("--only", nargs="+", default=["mixing", "whole", "large"])
    parser.add_argument("--planned", help=argparse.SUPPRESS)
    parser.add_argument("--uncut", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    if options.planned:
        print(json.dumps(planned(options.folder, options.planned)))
        return
    if options.uncut:
        print(json.dumps(uncut(options.uncut[0], int(options.uncut[1]))))
        return
    if "mixing" in options.only:
        print(mixing(options.mixing, options.formats, options.shrink), end="\n\n", flush=True)
    if "whole" in options.only:
        print(wholes(options.whole, options.formats, options.sentences), end="\n\n", flush=True)
    if "large" in options.only:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            print(large(folder, options.sentences, options.formats), end="\n\n")
    print(setting("numpy"))


if __name__ == "__main__":
    main()
