"""Give each epoch its plan of examples: one plan for all epochs; for formats of pairs, `nsp.copies` plans in turn.

BERT made ten copies of its data and drew splits, partners and masks anew in each (Devlin et al. 2019,
create_pretraining_data.py). Here a plan is a function of (seed, epoch mod copies), so nothing is stored. Static and dynamic
rows have the same pairs and differ in masking alone.

The plan of a large corpus is never whole: each of its blocks (`axes/blocks.py`) has one, made when it is asked for. Beforehand
they are counted, once for each copy. Examples are numbered through all blocks.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from roberta_lab.axes import Ints, blocks, input_format
from roberta_lab.axes.examples import Plan
from roberta_lab.axes.rng import stream_key
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import Config

KEPT = 2  # windows whose plans are in memory: a batch may lie in two, of two epochs

Counts: TypeAlias = dict[
    str, Ints
]  # (blocks,) int64 each: "examples", "tokens" with special ones, and what the format counts
# what the plans are made by, how many blocks there are, what counts one -> the counts of all
Counting: TypeAlias = Callable[[Mapping[str, object], int, Callable[[int], Mapping[str, int]]], Counts]


def count_all(about: Mapping[str, object], num_blocks: int, of_block: Callable[[int], Mapping[str, int]]) -> Counts:
    """Return the counts of all blocks, one after the other; nothing is kept for another process."""
    found = [of_block(block) for block in range(num_blocks)]
    return {name: np.array([counts[name] for counts in found], np.int64) for name in found[0]}


class Epochs:
    """The plans of the epochs, each made when it is asked for; plan `epoch mod copies` is that of an epoch."""

    def __init__(
        self,
        make: Callable[[int, int], Plan],
        copies: int = 1,
        num_blocks: int = 1,
        counting: Counting = count_all,
        about: Mapping[str, object] | None = None,
    ) -> None:
        """`make` returns the plan of a copy and a block, both counted from 0, and always the same one; `about` names it."""
        self.copies, self.num_blocks, self.counting = copies, num_blocks, counting
        self._make, self._about = make, about or {}
        self._plans: dict[tuple[int, int], Plan] = {}  # of copies and blocks, the newest last
        self._counts: dict[int, Counts] = {}  # of each copy that was counted

    def plan(self, epoch: int, block: int = 0) -> Plan:
        """Return the examples of an epoch; of a corpus of several blocks, those of one block."""
        copy = epoch % self.copies
        made = self._plans.pop((copy, block), None) or self._make(copy, block)
        if copy in self._counts:
            counted = self._counts[copy]["examples"][block]
            assert made.num_examples == counted, (
                f"{counted} examples were counted before, of other code: remove the count"
            )
        self._plans[copy, block] = made
        if len(self._plans) > KEPT * min(self.num_blocks, blocks.WINDOW):
            del self._plans[next(iter(self._plans))]
        return made

    def counts(self, epoch: int) -> Counts:
        """Return the counts of the blocks of an epoch."""
        copy = epoch % self.copies
        if copy not in self._counts:
            # of several blocks no plan is kept: they are needed again in another order
            make = self.plan if self.num_blocks == 1 else self._make

            def of_block(block: int) -> dict[str, int]:
                made = make(copy, block)
                return {"examples": made.num_examples, "tokens": int(made.lengths.sum(dtype=np.int64)), **made.counts}

            self._counts[copy] = self.counting({**self._about, "copy": copy}, self.num_blocks, of_block)
        return self._counts[copy]

    def totals(self, epoch: int) -> dict[str, int]:
        """Return what the format counts in an epoch, in all blocks together."""
        return {name: int(n.sum()) for name, n in self.counts(epoch).items() if name not in ("examples", "tokens")}

    def size(self, epoch: int) -> tuple[int, int]:
        """Return how many examples an epoch has, and how many tokens, special ones too."""
        counts = self.counts(epoch)
        return int(counts["examples"].sum()), int(counts["tokens"].sum())

    def numbers(self, epoch: int, of_blocks: Ints, places: Ints) -> Ints:
        """Return the numbers in their epoch of the examples at these places (B,) of some blocks joined, int64."""
        if self.num_blocks == 1:
            return places
        sizes = self.counts(epoch)["examples"]
        ends = np.cumsum(sizes[of_blocks])
        which = np.searchsorted(ends, places, side="right")
        shift = (np.cumsum(sizes) - sizes)[of_blocks] - (ends - sizes[of_blocks])
        numbers: Ints = places + shift[which]
        return numbers

    def view(self, examples: Ints, epochs: Ints) -> tuple[Plan, Ints]:
        """Return one plan that holds these examples of these epochs, (B,) integers each, and their places in it, (B,)."""
        copies = epochs % self.copies
        if self.num_blocks == 1 and (copies == copies[:1]).all():
            return self.plan(int(copies[0]) if len(copies) else 0), examples
        block, within = self._located(examples, copies)
        groups = copies * self.num_blocks + block
        places = np.empty_like(examples)
        parts, first = [], 0
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            parts.append(self.plan(*divmod(int(group), self.num_blocks)).take(within[own]))
            places[own] = np.arange(first, first + len(own))
            first += len(own)
        return (Plan.joined(parts) if parts else self.plan(0)), places

    def _located(self, examples: Ints, copies: Ints) -> tuple[Ints, Ints]:
        """Return the block of each example, and its place there; (B,) int64 each."""
        block, within = np.zeros_like(examples), examples.copy()
        if self.num_blocks > 1:
            for copy in np.unique(copies):
                sizes, own = self.counts(int(copy))["examples"], copies == copy
                ends = np.cumsum(sizes)
                block[own] = np.searchsorted(ends, examples[own], side="right")
                within[own] -= (ends - sizes)[block[own]]
        return block, within


def epochs_of(store: SentenceStore, config: Config, counting: Counting = count_all) -> Epochs:
    """Return the plans of a run's epochs over its training documents. `counting` may keep the counts of large corpora."""
    form, pairs, edges = config.input_format, config.nsp.pairs, blocks.cut(store)
    num_blocks = len(edges) - 1

    def make(copy: int, block: int) -> Plan:
        if num_blocks == 1:
            return input_format.plan(store, form, stream_key(config.seed, "plan", *([copy] if copy else [])), pairs)
        some = store.documents(*edges[block : block + 2].tolist())
        return input_format.plan(some, form, stream_key(config.seed, "plan of a block", copy, block), pairs)

    is_pairs = input_format.format_of(form).pairs
    by = {"seed": config.seed, "pairs": pairs} if is_pairs else {}
    about = {"format": form.name, "max_length": form.max_length, **by}
    return Epochs(make, config.nsp.copies if is_pairs else 1, num_blocks, counting, about)
