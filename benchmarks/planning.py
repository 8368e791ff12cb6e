"""Time and memory of a plan, for each input format and for corpora of growing size.

    python benchmarks/planning.py [--sentences 100000 1000000 10000000] [--seconds 2]

The first table compares with loops over sentences in plain Python on the smallest corpus. In the second each line is a
process of its own, which makes one plan (a plan is made once a run) and times it, and then another one to trace its memory. Sentences have 26 tokens on average, documents 33 sentences; both lengths are log-normal.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from side_by_side import Work, alternate, compared, one_thread, setting, short, table

from roberta_lab.axes import input_format
from roberta_lab.axes.examples import Plan
from roberta_lab.config import InputFormatConfig

MAX_LENGTH = 512
Span = tuple[int, int]  # first and last sentence


@dataclass(frozen=True)
class Sentences:
    """A token store's addresses, without tokens."""

    sentence_starts: np.ndarray
    sentence_lengths: np.ndarray
    document_ends: np.ndarray

    def gather_tokens(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a plan reads no token")

    def documents(self, first: int, last: int) -> Sentences:
        ends = (
            np.concatenate([[0], self.document_ends[first:last]]) if not first else self.document_ends[first - 1 : last]
        )
        some = slice(ends[0], ends[-1])
        return Sentences(self.sentence_starts[some], self.sentence_lengths[some], ends[1:] - ends[0])


def corpus(num_sentences: int) -> Sentences:
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.lognormal(3.1, 0.6, num_sentences), 1, 400).astype(np.int32)
    ends = np.cumsum(np.maximum(draw.lognormal(3.0, 1.0, num_sentences // 16).astype(np.int64), 1))
    ends = np.append(ends[ends < num_sentences], num_sentences)
    return Sentences(np.cumsum(lengths, dtype=np.int64) - lengths, lengths, ends)


# ---------------------------------------------------------------- plain Python, one sentence at a time
def packed(lengths: list[int], document_ends: list[int], crossing: bool) -> list[list[Span]]:
    """full_sentences (crossing) and doc_sentences: each input as runs of sentences of one document."""
    inputs: list[list[Span]] = []
    current: list[Span] = []
    room, first = MAX_LENGTH - 2, 0
    for end in document_ends:
        for i in range(first, end):
            opens = i == first
            if current and ((opens and not crossing) or lengths[i] + opens > room):
                inputs.append(current)
                current, room = [], MAX_LENGTH - 2
            room -= lengths[i] + (opens and bool(current))
            if current and not opens:
                current[-1] = (current[-1][0], i + 1)
            else:
                current.append((i, i + 1))
        first = end
    return [*inputs, current]


def paired(lengths: list[int], document_ends: list[int], single: bool) -> list[tuple[Span, Span, int, int]]:
    """BERT's algorithm: runs of A and B, and the tokens that both keep; `single` takes one sentence for each."""
    draw, pairs, capacity = random.Random(0), [], MAX_LENGTH - 3
    starts = [0, *document_ends[:-1]]
    for number, (first, last) in enumerate(zip(starts, document_ends, strict=True)):
        cursor = first
        while cursor < last:
            end, total = cursor, 0
            while end < last and total < capacity and not (single and end - cursor == 2):
                total += lengths[end]
                end += 1
            split = cursor + (1 if single or end - cursor == 1 else draw.randint(1, end - cursor - 1))
            b = (split, end)
            if end - cursor == 1 or draw.random() < 0.5:
                other = draw.choice([d for d in (draw.randrange(len(starts)) for _ in range(10)) if d != number])
                b_first = b_last = draw.randrange(starts[other], document_ends[other])
                wanted, total = capacity - sum(lengths[cursor:split]), 0
                while b_last < document_ends[other] and total < wanted and not (single and b_last > b_first):
                    total += lengths[b_last]
                    b_last += 1
                b, end = (b_first, max(b_last, b_first + 1)), split
            sizes = [sum(lengths[cursor:split]), sum(lengths[slice(*b)])]
            while sum(sizes) > capacity:
                sizes[sizes[0] <= sizes[1]] -= 1
            pairs.append(((cursor, split), b, *sizes))
            cursor = end
    return pairs


LOOPS: dict[str, Callable[[list[int], list[int]], object]] = {
    "full_sentences": lambda lengths, ends: packed(lengths, ends, crossing=True),
    "doc_sentences": lambda lengths, ends: packed(lengths, ends, crossing=False),
    "segment_pair": lambda lengths, ends: paired(lengths, ends, single=False),
    "sentence_pair": lambda lengths, ends: paired(lengths, ends, single=True),
}


# ---------------------------------------------------------------- tables
def against_loops(name: str, num_sentences: int, seconds: float) -> str:
    store = corpus(num_sentences)
    lengths, ends, config = store.sentence_lengths.tolist(), store.document_ends.tolist(), config_of(name)
    works = [
        Work(f"plain Python, {name}", lambda: LOOPS[name](lengths, ends), num_sentences),
        Work(f"roberta_lab, {name}", lambda: input_format.plan(store, config, 1), num_sentences),
    ]
    return compared("sentences", alternate(works, seconds))


def config_of(name: str) -> InputFormatConfig:
    return InputFormatConfig(name, MAX_LENGTH)


def one_plan(name: str, num_sentences: int) -> dict[str, float]:
    """Seconds of one plan, and bytes that a second one holds at most, traced."""
    store = corpus(num_sentences)
    start = time.perf_counter()
    input_format.plan(store, config_of(name), 1)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    plan = input_format.plan(store, config_of(name), 1)
    peak = tracemalloc.get_traced_memory()[1]
    return {"seconds": seconds, "examples": plan.num_examples, "peak": peak, "plan": plan_bytes(plan)}


def plan_bytes(plan: Plan) -> int:
    return sum(value.nbytes for value in vars(plan).values() if isinstance(value, np.ndarray))


def growth(sizes: list[int]) -> str:
    rows = []
    for name in input_format.FORMATS:
        for num_sentences in sizes:
            command = [sys.executable, __file__, "--one-plan", name, str(num_sentences)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append(
                [
                    name,
                    short(num_sentences),
                    f"{found['seconds']:.2f}",
                    f"{found['seconds'] / num_sentences * 1e6:.2f}",
                    short(found["examples"] / found["seconds"]),
                    f"{found['peak'] / num_sentences:.0f}",
                    f"{found['plan'] / num_sentences:.0f}",
                ]
            )
    header = ["format", "sentences", "s", "s per million", "examples per s", "peak bytes a sentence", "of the plan"]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, nargs="+", default=[10**5, 10**6, 10**7])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line of the first table")
    parser.add_argument("--one-plan", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    one_thread()
    if options.one_plan:
        print(json.dumps(one_plan(options.one_plan[0], int(options.one_plan[1]))))
        return
    for name in input_format.FORMATS:
        print(against_loops(name, options.sentences[0], options.seconds), end="\n\n")
    print(growth(options.sentences), end="\n\n")
    print(setting("numpy"))


if __name__ == "__main__":
    main()
