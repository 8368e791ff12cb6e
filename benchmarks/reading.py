"""Reading 512-token examples of full_sentences in random order from a memory-mapped token store: examples per second.

    python benchmarks/reading.py [--seconds 2] [--megabytes 240] [--folder FOLDER]

Against Hugging Face datasets, where it is installed: the same examples as a memory-mapped Arrow file of int32 lists, as
`map` leaves them, read with format numpy. The files are read once before, so that this measures memory and not the disk.
"Tokens" are the runs of an example joined, without specials; "rows" are the padded int64 arrays that a batch is made of.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
from side_by_side import Work, alternate, compared, one_thread, setting

from roberta_lab.axes import input_format
from roberta_lab.axes.examples import Plan, Vocabulary, gather
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import InputFormatConfig
from roberta_lab.data import token_store
from roberta_lab.data.token_store import Part

VOCABULARY = Vocabulary(50_265, 50_264, (0, 1, 2, 3, 50_264))
BATCH = 256
PART_MEGABYTES = 10
NUM_BATCHES = 400  # in turn, so that no example is still in the processor's cache


def store_in(folder: Path, megabytes: int) -> TokenStore:
    """A store of random tokens; sentences of 26 tokens and documents of 33 sentences on average, both log-normal."""
    parts = (part(number) for number in range(-(-megabytes // PART_MEGABYTES)))
    token_store.write(folder / "store", parts, VOCABULARY.size, {})
    return token_store.open_store(folder / "store")


def part(number: int) -> Part:
    draw, num_sentences = np.random.default_rng(number), PART_MEGABYTES * 500_000 // 26
    lengths = np.clip(draw.lognormal(3.1, 0.6, num_sentences), 1, 400).astype(np.int32)
    ends = np.cumsum(np.maximum(draw.lognormal(3.0, 1.0, num_sentences // 16).astype(np.int64), 1))
    sizes = np.diff(np.append(ends[ends < num_sentences], num_sentences), prepend=0)
    tokens = draw.integers(4, 50_264, lengths.sum(), dtype=np.uint16)
    return Part(tokens, lengths, sizes, np.arange(len(sizes), dtype=np.uint64), np.zeros_like(sizes))


def batches_of(plan: Plan) -> list[np.ndarray]:
    """Batches of examples in random order."""
    order = np.random.default_rng(1).permutation(plan.num_examples)
    return list(order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)[:NUM_BATCHES])


def in_turn(name: str, call: Callable[..., object], arguments: list, amount: int) -> Work:
    line: Iterator = cycle(arguments)
    return Work(name, lambda: call(*next(line)), amount)


def spans(plan: Plan, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and lengths of the runs of these examples, in order."""
    firsts = np.append(0, plan.example_ends)
    ids = np.concatenate([np.arange(firsts[i], firsts[i + 1]) for i in examples])
    return plan.spans_start[ids], plan.spans_length[ids]


def ours(store: TokenStore, plan: Plan) -> dict[str, list[Work]]:
    """Work by the number of examples of a call."""
    batches = batches_of(plan)
    items = [np.array([i]) for i in np.concatenate(batches[:40])]

    def rows(examples: np.ndarray) -> object:
        return gather(store, plan, examples, VOCABULARY)

    return {
        kind: [
            in_turn(f"roberta_lab, tokens, {kind}", store.gather_tokens, [spans(plan, x) for x in calls], size),
            in_turn(f"roberta_lab, rows, {kind}", rows, [(x,) for x in calls], size),
        ]
        for kind, calls, size in ((f"batches of {BATCH}", batches, BATCH), ("one by one", items, 1))
    }


def theirs(store: TokenStore, plan: Plan, folder: Path) -> dict[str, list[Work]]:
    """The same examples in an Arrow file, in record batches of 1,000 rows, as `datasets` writes them."""
    import pyarrow
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    schema = pyarrow.schema({"input_ids": pyarrow.list_(pyarrow.int32())})
    with pyarrow.OSFile(str(folder / "examples.arrow"), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
        for start in range(0, plan.num_examples, 1000):
            examples = np.arange(start, min(start + 1000, plan.num_examples))
            rows = gather(store, plan, examples, VOCABULARY)
            ids = rows.input_ids[np.arange(rows.input_ids.shape[1]) < rows.lengths[:, None]].astype(np.int32)
            offsets = np.append(0, np.cumsum(rows.lengths)).astype(np.int32)
            writer.write(pyarrow.record_batch([pyarrow.ListArray.from_arrays(offsets, ids)], schema=schema))
    dataset = Dataset.from_file(str(folder / "examples.arrow")).with_format("numpy")
    assert len(dataset) == plan.num_examples
    batches = [batch.tolist() for batch in batches_of(plan)]
    for batch in batches:
        dataset[batch]
    return {
        kind: [in_turn(f"datasets, format numpy, {kind}", dataset.__getitem__, [(x,) for x in calls], size)]
        for kind, calls, size in (
            (f"batches of {BATCH}", batches, BATCH),
            ("one by one", [i for batch in batches[:40] for i in batch], 1),
        )
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line of a table")
    parser.add_argument("--megabytes", type=int, default=240, help="size of the token store")
    parser.add_argument("--folder", help="where to put it for the time being")
    options = parser.parse_args()
    has_datasets = importlib.util.find_spec("datasets") is not None
    one_thread()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        store = store_in(folder, options.megabytes)
        plan = input_format.plan(store, InputFormatConfig("full_sentences", 512), 1)
        store.gather_tokens(store.sentence_starts, store.sentence_lengths)  # every page is read once
        lengths, runs = plan.lengths.mean(), len(plan.spans_start) / plan.num_examples
        print(f"{plan.num_examples} examples of {lengths:.0f} tokens and {runs:.2f} runs on average\n")
        peers, works = theirs(store, plan, folder) if has_datasets else {}, ours(store, plan)
        for kind, work in works.items():
            print(compared("examples", alternate([*peers.get(kind, []), *work], options.seconds)), end="\n\n")
    print(setting("numpy", "datasets", "pyarrow"))


if __name__ == "__main__":
    main()
