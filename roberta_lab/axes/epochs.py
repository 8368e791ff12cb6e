"""Give each epoch its plan of examples: one plan for all epochs; for formats of pairs, `nsp.copies` plans in turn.

BERT made ten copies of its data and drew splits, partners and masks anew in each (Devlin et al. 2019,
create_pretraining_data.py). Here a plan is a function of (seed, epoch mod copies), so nothing is stored. Static and dynamic
rows have the same pairs and differ in masking alone.
"""

from collections.abc import Callable

import numpy as np

from roberta_lab.axes import Ints, input_format
from roberta_lab.axes.examples import Plan
from roberta_lab.axes.rng import stream_key
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import Config

KEPT = 2  # plans in memory: a batch may lie in two epochs


class Epochs:
    """The plans of the epochs, each made when it is asked for; plan `epoch mod copies` is that of an epoch."""

    def __init__(self, make: Callable[[int], Plan], copies: int = 1) -> None:
        """`make` returns the plan of a copy, counted from 0, and always the same one."""
        self.copies, self._make = copies, make
        self._plans: dict[int, Plan] = {}  # the newest last
        self._sizes: dict[int, tuple[int, int]] = {}  # of each copy that was made

    def plan(self, epoch: int) -> Plan:
        """Return the examples of an epoch."""
        copy = epoch % self.copies
        made = self._plans.pop(copy, None) or self._make(copy)
        self._plans[copy] = made
        if len(self._plans) > KEPT:
            del self._plans[next(iter(self._plans))]
        return made

    def size(self, epoch: int) -> tuple[int, int]:
        """Return how many examples an epoch has, and how many tokens, special ones too."""
        copy = epoch % self.copies
        if copy not in self._sizes:
            made = self.plan(epoch)
            self._sizes[copy] = made.num_examples, int(made.lengths.sum(dtype=np.int64))
        return self._sizes[copy]

    def view(self, examples: Ints, epochs: Ints) -> tuple[Plan, Ints]:
        """Return one plan that holds these examples of these epochs, (B,) integers each, and their places in it, (B,)."""
        copies = epochs % self.copies
        if (copies == copies[:1]).all():
            return self.plan(int(copies[0]) if len(copies) else 0), examples
        places = np.empty_like(examples)
        parts, first = [], 0
        for copy in np.unique(copies):
            own = np.flatnonzero(copies == copy)
            parts.append(self.plan(int(copy)).take(examples[own]))
            places[own] = np.arange(first, first + len(own))
            first += len(own)
        return Plan.joined(parts), places


def epochs_of(store: SentenceStore, config: Config) -> Epochs:
    """Return the plans of a run's epochs over its training documents."""
    form, pairs = config.input_format, config.nsp.pairs

    def make(copy: int) -> Plan:
        key = stream_key(config.seed, "plan", *([copy] if copy else []))
        return input_format.plan(store, form, key, pairs)

    return Epochs(make, config.nsp.copies if input_format.format_of(form).pairs else 1)
