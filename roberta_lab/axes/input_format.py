"""Make model inputs of sentences in one of four formats (RoBERTa, Section 4.2).

A format is one function from the token store to a `Plan`, and one line in `FORMATS`. Every example reads `<s> span </s>
span </s> ...`, where a span is a run of sentences of one document; formats differ in where spans begin and end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from roberta_lab.axes import Bools, Ints
from roberta_lab.axes.examples import Plan
from roberta_lab.axes.rng import generator, hashed, stream_key, uniform
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import ConfigError, InputFormatConfig


# ---------------------------------------------------------------- sentences that fit
@dataclass(frozen=True)
class _Pieces:
    """The corpus as P pieces in D documents: a sentence, or a part of one that is longer than an input holds."""

    starts: Ints  # (P,) int64
    cumulative: Ints  # (P + 1,) int64, tokens before each piece
    document_ends: Ints  # (D,) int64, cumulative, in pieces
    document_of: Ints  # (P,) int64
    counts: dict[str, int]

    def spans(self, first: Ints, last: Ints) -> tuple[Ints, Ints]:
        """Return start and length of the runs of pieces first to last - 1, each in one document."""
        return self.starts[first], self.cumulative[last] - self.cumulative[first]


def _pieces(store: SentenceStore, capacity: int, config: InputFormatConfig) -> _Pieces:
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
    return _Pieces(starts, np.concatenate([[0], np.cumsum(piece_lengths)]), document_ends, document_of, counts)


def _chain(following: Ints) -> Ints:
    """Return 0, following[0], following[following[0]], ... before the end: where each example starts."""
    steps, position, visited = np.ascontiguousarray(following, dtype=np.int64).data, 0, []
    while position < len(steps):
        visited.append(position)
        position = steps[position]
    return np.asarray(visited, dtype=np.int64)


def _capacity(config: InputFormatConfig, specials: int, least: int) -> int:
    """Return how many text tokens an input holds beside its special tokens. Raise ConfigError for fewer than `least`."""
    if config.max_length < specials + least:
        shortest = f"allowed for {config.name}: {specials + least} and more"
        raise ConfigError(f"input_format.max_length={config.max_length} holds no text; {shortest}")
    return config.max_length - specials


def _plan(starts: Ints, lengths: Ints, example_ends: Ints, counts: dict[str, int], random: Bools | None = None) -> Plan:
    """Return the plan of these spans. With `random`, (N,) bool, they are A and B in turn, and it tells where B is random."""
    return Plan(
        num_examples=len(example_ends),
        spans_start=starts,
        spans_length=lengths.astype(np.int32),
        spans_kind=(np.arange(len(starts)) % 2 if random is not None else np.zeros(len(starts))).astype(np.uint8),
        example_ends=example_ends.astype(np.int64),
        lengths=(1 + np.add.reduceat(lengths + 1, np.append(0, example_ends[:-1]))).astype(np.int32),
        next_sentence_label=None if random is None else random.astype(np.int8),
        counts=counts | {"text_tokens": int(lengths.sum())},
    )


# ---------------------------------------------------------------- formats
def full_sentences(store: SentenceStore, config: InputFormatConfig, key: int) -> Plan:
    """Plan `<s> s1 s2 ... </s>`: whole sentences in order until the next would pass max_length, also across documents.

    Documents have one extra `</s>` between them (RoBERTa, Section 4.2). Nothing is random, so the key is not read.
    """
    capacity = _capacity(config, specials=2, least=1)
    pieces = _pieces(store, capacity, config)
    opens = np.diff(pieces.document_of, prepend=-1) > 0  # (P,) first of its document
    cost = pieces.cumulative + np.concatenate([[0], np.cumsum(opens)])  # tokens and separators before each piece
    room = cost[:-1] + opens + capacity  # an input's first document needs no separator before it
    firsts = _chain(np.searchsorted(cost, room, side="right") - 1)
    cuts = opens.copy()
    cuts[firsts] = True
    span_firsts = np.flatnonzero(cuts)
    starts, lengths = pieces.spans(span_firsts, np.append(span_firsts[1:], len(cuts)))
    example_ends = np.append(np.searchsorted(span_firsts, firsts[1:]), len(span_firsts))
    return _plan(starts, lengths, example_ends, pieces.counts | {"documents_crossed": len(starts) - len(firsts)})


def doc_sentences(store: SentenceStore, config: InputFormatConfig, key: int) -> Plan:
    """Plan `<s> s1 s2 ... </s>`: as full_sentences, but never across documents (RoBERTa, Section 4.2). No key is read."""
    capacity = _capacity(config, specials=2, least=1)
    pieces = _pieces(store, capacity, config)
    full = np.searchsorted(pieces.cumulative, pieces.cumulative[:-1] + capacity, side="right") - 1
    firsts = _chain(np.minimum(full, pieces.document_ends[pieces.document_of]))
    starts, lengths = pieces.spans(firsts, np.append(firsts[1:], len(full)))
    return _plan(starts, lengths, np.arange(1, len(firsts) + 1), pieces.counts)


def segment_pair(store: SentenceStore, config: InputFormatConfig, key: int) -> Plan:
    """Plan `<s> A </s> B </s>` by BERT's algorithm (Devlin et al. 2019, create_pretraining_data.py; RoBERTa, Section 4.2).

    All draws of a chunk are keyed by the sentence at which it starts. So all possible chunks are computed at once as
    arrays, and only the walk from one chunk to the next is a loop.
    """
    return _pairs(store, config, key, _segments)


def sentence_pair(store: SentenceStore, config: InputFormatConfig, key: int) -> Plan:
    """Plan `<s> A </s> B </s>` with one sentence each: neighbours, or of two documents (RoBERTa, Section 4.2)."""
    return _pairs(store, config, key, _two_sentences)


# the chunk that would start at each piece: where A ends, where it ends, tokens wanted of a random B; (P,) int64 each
_Chunks: TypeAlias = tuple[Ints, Ints, Ints]
_Below: TypeAlias = Callable[[str, Ints], Ints]  # a stream and bounds (P,) -> integers below the bounds


def _pairs(
    store: SentenceStore, config: InputFormatConfig, key: int, chunks_of: Callable[[_Pieces, int, _Below], _Chunks]
) -> Plan:
    capacity = _capacity(config, specials=3, least=2)
    pieces = _pieces(store, capacity, config)
    if len(np.unique(pieces.starts[np.concatenate([[0], pieces.document_ends[:-1]])])) < 2:
        raise ConfigError(
            f"input_format={config.name} takes a random B from another document: the corpus has 1, allowed: 2 and more"
        )
    here = np.arange(len(pieces.starts))

    def below(stream: str, bounds: Ints) -> Ints:
        return _below(bounds, key, f"{config.name}/{stream}", here)

    split, ends, wanted = chunks_of(pieces, capacity, below)
    random = (ends - here == 1) | (below("coin", np.full_like(here, 2)) == 1)
    firsts = _chain(np.where(random, split, ends))  # a random B puts the unused sentences back
    random = random[firsts]
    a_start, a_length = pieces.spans(firsts, split[firsts])
    b_first, b_last = split[firsts], ends[firsts]
    b_first[random], b_last[random] = _random_b(pieces, firsts[random], wanted[firsts][random], key, config.name)
    b_start, b_length = pieces.spans(b_first, b_last)
    a_cut, b_cut = _num_trimmed(a_length, b_length, capacity)
    draw = generator(key, f"{config.name}/trim")
    starts = np.stack([a_start + draw.binomial(a_cut, 0.5), b_start + draw.binomial(b_cut, 0.5)], axis=1)
    lengths = np.stack([a_length - a_cut, b_length - b_cut], axis=1)
    trimmed = {"trimmed_tokens": int(a_cut.sum() + b_cut.sum()), "pairs_random": int(random.sum())}
    ends = 2 * np.arange(1, len(firsts) + 1)
    return _plan(starts.ravel(), lengths.ravel(), ends, pieces.counts | trimmed, random)


def _segments(pieces: _Pieces, capacity: int, below: _Below) -> _Chunks:
    """Return chunks of sentences up to the capacity or the document's end, split anywhere; B fills what A leaves."""
    here = np.arange(len(pieces.starts))
    full = np.searchsorted(pieces.cumulative, pieces.cumulative[:-1] + capacity)
    ends = np.minimum(full, pieces.document_ends[pieces.document_of])
    split = here + 1 + below("split", ends - here - 1)
    return split, ends, capacity - (pieces.cumulative[split] - pieces.cumulative[here])


def _two_sentences(pieces: _Pieces, capacity: int, below: _Below) -> _Chunks:
    """Return chunks of a sentence and the next one of its document; a random B is one sentence too."""
    here = np.arange(len(pieces.starts))
    return here + 1, np.minimum(here + 2, pieces.document_ends[pieces.document_of]), np.zeros_like(here)


def _random_b(pieces: _Pieces, firsts: Ints, wanted: Ints, key: int, name: str) -> tuple[Ints, Ints]:
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


@dataclass(frozen=True, kw_only=True)
class Format:
    """An input format, and what follows from it in batches and in the model."""

    plan: Callable[[SentenceStore, InputFormatConfig, int], Plan]
    pairs: bool  # inputs are A and B: two token types, next-sentence labels, and nsp=auto is on
    matched: bool  # inputs are short: a batch has as many tokens as batch_size.sequences full inputs


FORMATS: dict[str, Format] = {
    "segment_pair": Format(plan=segment_pair, pairs=True, matched=False),
    "sentence_pair": Format(plan=sentence_pair, pairs=True, matched=True),
    "full_sentences": Format(plan=full_sentences, pairs=False, matched=False),
    "doc_sentences": Format(plan=doc_sentences, pairs=False, matched=True),
}


def format_of(config: InputFormatConfig) -> Format:
    """Return the format of a config. Raise ConfigError for a name that is not in `FORMATS`."""
    if config.name not in FORMATS:
        raise ConfigError(f"input_format.name={config.name!r} is unknown; allowed: {', '.join(FORMATS)}")
    return FORMATS[config.name]


def plan(store: SentenceStore, config: InputFormatConfig, key: int) -> Plan:
    """Return the plan of the configured format: a pure function of the corpus, the config and the key."""
    form = format_of(config)
    made = form.plan(store, config, key)
    assert (made.next_sentence_label is not None) == form.pairs, f"FORMATS says pairs={form.pairs} of {config.name}"
    return made
