"""Keep the counts of a large corpus's plans in the cache: how many examples and tokens each block has.

They are all that must be known of a plan beforehand. Counting plans every block once, which takes minutes for a billion
sentences; a count that was stopped goes on where it was. A corpus of one block is counted in memory, as it is planned anyway.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from roberta_lab.axes import blocks
from roberta_lab.axes.epochs import Counts, count_all
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import Damaged
from roberta_lab.config.console import say_once
from roberta_lab.data.seals import load_arrays, save_arrays
from roberta_lab.data.storage import digest, make_once

SAVED_EVERY = 20.0  # seconds
WAY_OUT = "it is counted again"


class KeptCounts:
    """Counts of the plans over one store, kept in files; a `Counting` of `axes/epochs.py`."""

    def __init__(self, store: TokenStore, cache: Path, progress: bool = False) -> None:
        """Keep the counts in `cache`/plans."""
        self._store, self._folder, self._progress = store, cache / "plans", progress

    def __call__(
        self, about: Mapping[str, object], num_blocks: int, of_block: Callable[[int], Mapping[str, int]]
    ) -> Counts:
        """Return the counts of all blocks, those of the file if there is one."""
        if num_blocks == 1:
            return count_all(about, num_blocks, of_block)
        sizes = [blocks.WHOLE, blocks.BLOCK, num_blocks]
        path = self._folder / f"{digest({**about, 'text': self._text, 'blocks': sizes})}.npz"
        label = f"counting the inputs of {about.get('format', 'a plan')}"
        make = partial(self._count, label=label, num_blocks=num_blocks, of_block=of_block)
        make_once(path, make, lambda: say_once(f"{label}: another process does it; waiting"))
        try:
            return load_arrays(path, WAY_OUT)
        except Damaged as damage:
            say_once(str(damage))
            path.unlink()
            make_once(path, make)
            return load_arrays(path, WAY_OUT)

    @cached_property
    def _text(self) -> str:
        """Return the identity of the documents: their tokens, and where they and their sentences begin."""
        store, found = self._store, hashlib.sha256(self._store.fingerprint.encode())
        for column in (store.document_starts, store.document_tokens, store.document_ends):
            found.update(np.ascontiguousarray(column).data)
        return found.hexdigest()

    def _count(self, file: Path, label: str, num_blocks: int, of_block: Callable[[int], Mapping[str, int]]) -> None:
        """Count the blocks that `file` does not have, and write it: now and then, when all are done, and when stopped."""
        try:
            earlier = load_arrays(file, WAY_OUT)
        except (FileNotFoundError, Damaged):
            earlier = {}
        columns = [column.tolist() for column in earlier.values()]
        found: list[Mapping[str, int]] = [dict(zip(earlier, row, strict=True)) for row in zip(*columns, strict=True)]

        def save() -> None:
            save_arrays(file, {name: np.array([row[name] for row in found], np.int64) for name in found[0]})

        first, saved = len(found), time.monotonic()
        hidden = not self._progress
        with tqdm(total=num_blocks, initial=first, desc=label, unit="block", mininterval=0.5, disable=hidden) as bar:
            try:
                for block in range(first, num_blocks):
                    found.append(of_block(block))
                    bar.update()
                    if time.monotonic() - saved > SAVED_EVERY:
                        save()
                        saved = time.monotonic()
            finally:
                if found:
                    save()
