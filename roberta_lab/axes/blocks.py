"""Cut a large corpus into blocks of documents, and each epoch into windows of blocks, so that memory holds no more than a window.

A block is some whole documents in the order of the corpus, and has a plan of its own. A window is as many blocks as one
process keeps plans of: one from each of equal stretches of the corpus, so that it has every source's share. Its examples are
read in a random order, then the next window follows. What fits a single window is one permutation an epoch, as if uncut.

The three numbers are part of what a run is. Whoever changes one raises SCIENCE_VERSION.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from roberta_lab.axes import Ints
from roberta_lab.axes.rng import generator
from roberta_lab.axes.sentence_store import SentenceStore

WHOLE = 1 << 22  # sentences of a corpus that is one block: its plan takes 0.4 GB while it is made
BLOCK = 1 << 18  # sentences of a block of a larger one, about
WINDOW = 64  # blocks


def cut(store: SentenceStore) -> Ints:
    """Return the first document of each block, and the number of documents last, (blocks + 1,) int64.

    A block has two documents or more, since a random text B is drawn from another one of its block.
    """
    ends = store.document_ends
    number = int(ends[-1]) if len(ends) else 0
    edges = [0]
    if number > WHOLE:
        parts = -(-number // BLOCK)
        for edge in (np.searchsorted(ends, np.arange(1, parts) * number // parts) + 1).tolist():
            if edge >= edges[-1] + 2 and edge <= len(ends) - 2:
                edges.append(edge)
    return np.array([*edges, len(ends)], np.int64)


def stores(store: SentenceStore) -> Iterator[SentenceStore]:
    """Yield the blocks of a store, each as a store; of a small one itself."""
    edges = cut(store).tolist()
    if len(edges) == 2:
        yield store
        return
    for first, last in pairwise(edges):
        yield store.documents(first, last)


def windows(num_blocks: int, seed: int, epoch: int) -> list[Ints]:
    """Return the blocks of each window of an epoch, (W,) int64 each: every block once, by chance of seed and epoch."""
    number = -(-num_blocks // WINDOW)
    stretches = -(-num_blocks // number)
    places = np.arange(stretches * number).reshape(stretches, number)  # the last stretch may lack some blocks
    if number > 1:
        places = generator(seed, "windows", epoch).permuted(places, axis=1)
    return [blocks[blocks < num_blocks] for blocks in places.T]
