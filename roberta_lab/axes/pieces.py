"""Cut a corpus into pieces that fit into inputs, and make plans of runs of them: what all input formats have in common."""

from dataclasses import dataclass

import numpy as np

from roberta_lab.axes import Bools, Ints
from roberta_lab.axes.examples import Plan
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import ConfigError, InputFormatConfig


@dataclass(frozen=True)
class Pieces:
    """The corpus as P pieces in D documents: a sentence, or a part of one that is longer than an input holds."""

    starts: Ints  # (P,) int64
    cumulative: Ints  # (P + 1,) int64, tokens before each piece
    document_ends: Ints  # (D,) int64, cumulative, in pieces
    document_of: Ints  # (P,) int64
    counts: dict[str, int]

    def spans(self, first: Ints, last: Ints) -> tuple[Ints, Ints]:
        """Return start and length of the runs of pieces first to last - 1, each in one document."""
        return self.starts[first], self.cumulative[last] - self.cumulative[first]


def pieces_of(store: SentenceStore, capacity: int, config: InputFormatConfig) -> Pieces:
    """Split the sentences that are longer than an input holds, and count them. (fairseq drops them silently.)"""
    lengths = np.asarray(store.sentence_lengths, dtype=np.int64)
    sentence_starts = np.asarray(store.sentence_starts, dtype=np.int64)
    if not lengths.any():
        raise ConfigError(f"the corpus has no sentence to make {config.name} inputs of; check data_mix")
    num_pieces = -(-lengths // capacity)  # 0 for an empty sentence
    ends = np.cumsum(num_pieces)
    sentence_of = np.repeat(np.arange(len(lengths)), num_pieces)
    offset = (np.arange(ends[-1]) - (ends - num_pieces)[sentence_of]) * capacity
    starts = sentence_starts[sentence_of] + offset
    piece_lengths = np.minimum(lengths[sentence_of] - offset, capacity)
    document_ends = np.concatenate([[0], ends])[store.document_ends]
    sizes = np.diff(document_ends, prepend=0)
    document_ends, sizes = document_ends[sizes > 0], sizes[sizes > 0]
    document_of = np.repeat(np.arange(len(sizes)), sizes)
    joined = (starts[:-1] + piece_lengths[:-1] == starts[1:]) | (document_of[:-1] != document_of[1:])
    assert joined.all(), "sentences of a document must lie side by side in the token store"
    counts = {
        "sentences": len(lengths),
        "sentences_empty": int((lengths == 0).sum()),
        "sentences_split": int((num_pieces > 1).sum()),
        "documents": len(store.document_ends),
        "documents_dropped": len(store.document_ends) - len(sizes),
    }
    return Pieces(starts, np.concatenate([[0], np.cumsum(piece_lengths)]), document_ends, document_of, counts)


def chain(following: Ints) -> Ints:
    """Return 0, following[0], following[following[0]], ... before the end: where each example starts."""
    steps, position, visited = np.ascontiguousarray(following, dtype=np.int64).data, 0, []
    while position < len(steps):
        visited.append(position)
        position = steps[position]
    return np.asarray(visited, dtype=np.int64)


def capacity_of(config: InputFormatConfig, specials: int, least: int) -> int:
    """Return how many text tokens an input holds beside its special tokens. Raise ConfigError for fewer than `least`."""
    if config.max_length < specials + least:
        shortest = f"allowed for {config.name}: {specials + least} and more"
        raise ConfigError(f"input_format.max_length={config.max_length} holds no text; {shortest}")
    return config.max_length - specials


def plan_of(
    starts: Ints, lengths: Ints, example_ends: Ints, counts: dict[str, int], label: Bools | None = None
) -> Plan:
    """Return the plan of these spans. With a label, (N,) bool, they are A and B in turn, and it tells what B is to A."""
    return Plan(
        num_examples=len(example_ends),
        spans_start=starts,
        spans_length=lengths.astype(np.int32),
        spans_kind=(np.arange(len(starts)) % 2 if label is not None else np.zeros(len(starts))).astype(np.uint8),
        example_ends=example_ends.astype(np.int64),
        lengths=(1 + np.add.reduceat(lengths + 1, np.append(0, example_ends[:-1]))).astype(np.int32),
        next_sentence_label=None if label is None else label.astype(np.int8),
        counts=counts | {"text_tokens": int(lengths.sum())},
    )
