"""Make pairs of texts A and B, half of which belong together, with the label that tells (RoBERTa, Section 4.2).

A rule of pairs is one function and one line in `PAIRINGS`; `nsp.pairs` names it. What A and B are made of is the format's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from roberta_lab.axes import Bools, Ints
from roberta_lab.axes.examples import Plan
from roberta_lab.axes.pieces import Pieces, capacity_of, chain, pieces_of, plan_of
from roberta_lab.axes.rng import generator, hashed, stream_key, uniform
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import ConfigError, InputFormatConfig

# the chunk that would start at each piece: where A ends, where it ends, tokens wanted of a random B; (P,) int64 each
Chunks: TypeAlias = tuple[Ints, Ints, Ints]
Below: TypeAlias = Callable[[str, Ints], Ints]  # a stream and bounds (P,) -> integers below the bounds
ChunkRule: TypeAlias = Callable[[Pieces, int, Below], Chunks]


@dataclass(frozen=True)
class _Spans:
    """Where A and B of N pairs lie, before they are trimmed to the capacity, and their label."""

    a_start: Ints  # (N,) int64, places in the token store
    a_length: Ints
    b_start: Ints
    b_length: Ints
    label: Bools  # (N,) 0: B follows A in its document; 1: it does not
    counts: dict[str, int]


def pair_plan(
    store: SentenceStore, config: InputFormatConfig, key: int, chunk_rule: ChunkRule, pairing: "Pairing"
) -> Plan:
    """Return the plan of `<s> A </s> B </s>`: chunks of the format, made to pairs by the rule, trimmed to what an input holds."""
    capacity = capacity_of(config, specials=3, least=2)
    pieces = pieces_of(store, capacity, config)
    here = np.arange(len(pieces.starts))

    def below(stream: str, bounds: Ints) -> Ints:
        return _below(bounds, key, f"{config.name}/{stream}", here)

    spans = pairing.make(pieces, chunk_rule(pieces, capacity, below), below, key, config)
    a_cut, b_cut = _num_trimmed(spans.a_length, spans.b_length, capacity)
    draw = generator(key, f"{config.name}/trim")
    starts = np.stack([spans.a_start + draw.binomial(a_cut, 0.5), spans.b_start + draw.binomial(b_cut, 0.5)], axis=1)
    lengths = np.stack([spans.a_length - a_cut, spans.b_length - b_cut], axis=1)
    counts = pieces.counts | {"trimmed_tokens": int(a_cut.sum() + b_cut.sum())} | spans.counts
    return plan_of(starts.ravel(), lengths.ravel(), 2 * np.arange(1, len(starts) + 1), counts, spans.label)


# ---------------------------------------------------------------- rules of pairs
def random_pairs(pieces: Pieces, chunks: Chunks, below: Below, key: int, config: InputFormatConfig) -> _Spans:
    """Make BERT's pairs: B is what follows A or, for half of the chunks and those of one sentence, a text of another document.

    A random B puts the unused sentences back (Devlin et al. 2019, create_pretraining_data.py).
    """
    if len(np.unique(pieces.starts[np.concatenate([[0], pieces.document_ends[:-1]])])) < 2:
        raise ConfigError(
            f"input_format={config.name} takes a random B from another document: the training text, or the held-out one, has 1. "
            "Allowed: 2 and more (data_mix.held_out_share; of text files, document_separator=blank_line or line makes more)."
        )
    split, ends, wanted = chunks
    here = np.arange(len(pieces.starts))
    random = (ends - here == 1) | (below("coin", np.full_like(here, 2)) == 1)
    firsts = chain(np.where(random, split, ends))
    random = random[firsts]
    a_start, a_length = pieces.spans(firsts, split[firsts])
    b_first, b_last = split[firsts], ends[firsts]
    b_first[random], b_last[random] = _random_b(pieces, firsts[random], wanted[firsts][random], key, config.name)
    b_start, b_length = pieces.spans(b_first, b_last)
    return _Spans(a_start, a_length, b_start, b_length, random, {"pairs_random": int(random.sum())})


def swapped_pairs(pieces: Pieces, chunks: Chunks, below: Below, key: int, config: InputFormatConfig) -> _Spans:
    """Make ALBERT's pairs: two texts that follow one another, for half of the chunks in the wrong order (label 1).

    (Lan et al. 2020, Section 3.1.) A chunk of one sentence is cut between two of its tokens, so that each label is as
    likely there; ALBERT's code takes a random B, always of label 1. One of a single token makes no pair and is counted.
    """
    split, ends, _ = chunks
    firsts = chain(ends)
    start, length = pieces.spans(firsts, ends[firsts])
    first_length = pieces.spans(firsts, split[firsts])[1]
    inside = 1 + below("cut", pieces.spans(np.arange(len(ends)), ends)[1] - 1)[firsts]
    first_length = np.where(ends[firsts] - firsts == 1, inside, first_length)
    swapped = (below("coin", np.full_like(ends, 2)) == 1)[firsts]
    is_pair = length >= 2
    if not is_pair.any():
        raise ConfigError("nsp.pairs=swapped finds no text of two tokens in the corpus; check data_mix")
    start, length, first_length = (array[is_pair] for array in (start, length, first_length))
    swapped = swapped[is_pair]
    second_start, second_length = start + first_length, length - first_length
    return _Spans(
        a_start=np.where(swapped, second_start, start),
        a_length=np.where(swapped, second_length, first_length),
        b_start=np.where(swapped, start, second_start),
        b_length=np.where(swapped, first_length, second_length),
        label=swapped,
        counts={"pairs_swapped": int(swapped.sum()), "pairs_too_short": int((~is_pair).sum())},
    )


@dataclass(frozen=True)
class Pairing:
    """A rule of pairs, the usual name of predicting its label, and what the labels 0 and 1 mean."""

    make: Callable[[Pieces, Chunks, Below, int, InputFormatConfig], _Spans]
    task: str
    labels: tuple[str, str]


PAIRINGS = {
    "random": Pairing(random_pairs, "nsp", ("B is next", "B is random")),
    "swapped": Pairing(swapped_pairs, "sop", ("B is next", "B comes before A")),
}


# ---------------------------------------------------------------- chunks
def segments(pieces: Pieces, capacity: int, below: Below) -> Chunks:
    """Return chunks of sentences up to the capacity or the document's end, split anywhere; B fills what A leaves."""
    here = np.arange(len(pieces.starts))
    full = np.searchsorted(pieces.cumulative, pieces.cumulative[:-1] + capacity)
    ends = np.minimum(full, pieces.document_ends[pieces.document_of])
    split = here + 1 + below("split", ends - here - 1)
    return split, ends, capacity - (pieces.cumulative[split] - pieces.cumulative[here])


def two_sentences(pieces: Pieces, capacity: int, below: Below) -> Chunks:
    """Return chunks of a sentence and the next one of its document; a random B is one sentence too."""
    here = np.arange(len(pieces.starts))
    return here + 1, np.minimum(here + 2, pieces.document_ends[pieces.document_of]), np.zeros_like(here)


def _random_b(pieces: Pieces, firsts: Ints, wanted: Ints, key: int, name: str) -> tuple[Ints, Ints]:
    """Return the runs of each random B: from a uniform sentence of another document up to `wanted` tokens or its end.

    A run has at least one sentence. The document is uniform over all others; BERT tries ten times and may then take the
    same document, under a wrong label.
    """
    document_starts = np.concatenate([[0], pieces.document_ends[:-1]])
    # copies of a document, which a mix that repeats it holds, are that document: they stand together in this order
    order = np.argsort(pieces.starts[document_starts], kind="stable")
    _, first_copy, copy_of, copies = np.unique(
        pieces.starts[document_starts[order]], return_index=True, return_inverse=True, return_counts=True
    )
    own = np.empty_like(copy_of)
    own[order] = copy_of
    own = own[pieces.document_of[firsts]]
    drawn = _below(len(order) - copies[own], key, f"{name}/document", firsts)
    document = order[drawn + np.where(drawn >= first_copy[own], copies[own], 0)]
    sizes = pieces.document_ends - document_starts
    first = document_starts[document] + _below(sizes[document], key, f"{name}/start", firsts)
    enough = np.searchsorted(pieces.cumulative, pieces.cumulative[first] + wanted)
    return first, np.clip(enough, first + 1, pieces.document_ends[document])


def _num_trimmed(a_length: Ints, b_length: Ints, capacity: int) -> tuple[Ints, Ints]:
    """Return how many tokens A and B lose when the longer one (at a tie, B) loses one at a time."""
    excess = np.maximum(a_length + b_length - capacity, 0)
    a_level = np.clip(a_length - b_length, 0, excess)
    b_level = np.clip(b_length - a_length, 0, excess)
    rest = excess - a_level - b_level
    return a_level + rest // 2, b_level + rest - rest // 2


def _below(bounds: Ints, key: int, stream: str, counters: Ints) -> Ints:
    """Return uniform integers in [0, bound), keyed by the counters; 0 where the bound is 0. int64."""
    return (uniform(hashed(stream_key(key, stream), counters)) * bounds).astype(np.int64)
