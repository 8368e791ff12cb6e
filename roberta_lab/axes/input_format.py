"""Make model inputs of sentences in one of four formats (RoBERTa, Section 4.2).

A format is one function from the token store to a `Plan`, and one line in `FORMATS`. Every example reads `<s> span </s>
span </s> ...`, where a span is a run of sentences of one document; formats differ in where spans begin and end.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from roberta_lab.axes.examples import Plan
from roberta_lab.axes.pairs import PAIRINGS, Pairing, pair_plan, segments, two_sentences
from roberta_lab.axes.pieces import capacity_of, chain, pieces_of, plan_of
from roberta_lab.axes.sentence_store import SentenceStore
from roberta_lab.config import ConfigError, InputFormatConfig


# ---------------------------------------------------------------- formats
def full_sentences(store: SentenceStore, config: InputFormatConfig, key: int) -> Plan:
    """Plan `<s> s1 s2 ... </s>`: whole sentences in order until the next would pass max_length, also across documents.

    Documents have one extra `</s>` between them (RoBERTa, Section 4.2). Nothing is random, so the key is not read.
    """
    capacity = capacity_of(config, specials=2, least=1)
    pieces = pieces_of(store, capacity, config)
    opens = np.diff(pieces.document_of, prepend=-1) > 0  # (P,) first of its document
    cost = pieces.cumulative + np.concatenate([[0], np.cumsum(opens)])  # tokens and separators before each piece
    room = cost[:-1] + opens + capacity  # an input's first document needs no separator before it
    firsts = chain(np.searchsorted(cost, room, side="right") - 1)
    cuts = opens.copy()
    cuts[firsts] = True
    span_firsts = np.flatnonzero(cuts)
    starts, lengths = pieces.spans(span_firsts, np.append(span_firsts[1:], len(cuts)))
    example_ends = np.append(np.searchsorted(span_firsts, firsts[1:]), len(span_firsts))
    return plan_of(starts, lengths, example_ends, pieces.counts | {"documents_crossed": len(starts) - len(firsts)})


def doc_sentences(store: SentenceStore, config: InputFormatConfig, key: int) -> Plan:
    """Plan `<s> s1 s2 ... </s>`: as full_sentences, but never across documents (RoBERTa, Section 4.2). No key is read."""
    capacity = capacity_of(config, specials=2, least=1)
    pieces = pieces_of(store, capacity, config)
    full = np.searchsorted(pieces.cumulative, pieces.cumulative[:-1] + capacity, side="right") - 1
    firsts = chain(np.minimum(full, pieces.document_ends[pieces.document_of]))
    starts, lengths = pieces.spans(firsts, np.append(firsts[1:], len(full)))
    return plan_of(starts, lengths, np.arange(1, len(firsts) + 1), pieces.counts)


def segment_pair(store: SentenceStore, config: InputFormatConfig, key: int, pairing: Pairing) -> Plan:
    """Plan `<s> A </s> B </s>` by BERT's algorithm (Devlin et al. 2019, create_pretraining_data.py; RoBERTa, Section 4.2).

    All draws of a chunk are keyed by the sentence at which it starts. So all possible chunks are computed at once as
    arrays, and only the walk from one chunk to the next is a loop.
    """
    return pair_plan(store, config, key, segments, pairing)


def sentence_pair(store: SentenceStore, config: InputFormatConfig, key: int, pairing: Pairing) -> Plan:
    """Plan `<s> A </s> B </s>` with one sentence each: neighbours, or of two documents (RoBERTa, Section 4.2)."""
    return pair_plan(store, config, key, two_sentences, pairing)


@dataclass(frozen=True, kw_only=True)
class Format:
    """An input format, and what follows from it in batches and in the model."""

    plan: Callable[..., Plan]  # of store, config and key; of pairs also of a rule of pairs
    pairs: bool  # inputs are A and B: two token types, next-sentence labels, and nsp=auto is on
    # inputs are short: a batch has as many tokens as one of this format; None: batch_size.sequences inputs
    matched_to: str | None


FORMATS: dict[str, Format] = {
    "segment_pair": Format(plan=segment_pair, pairs=True, matched_to=None),
    "sentence_pair": Format(plan=sentence_pair, pairs=True, matched_to="segment_pair"),
    "full_sentences": Format(plan=full_sentences, pairs=False, matched_to=None),
    "doc_sentences": Format(plan=doc_sentences, pairs=False, matched_to="full_sentences"),
}


def format_of(config: InputFormatConfig) -> Format:
    """Return the format of a config. Raise ConfigError for a name that is not in `FORMATS`."""
    if config.name not in FORMATS:
        raise ConfigError(f"input_format.name={config.name!r} is unknown; allowed: {', '.join(FORMATS)}")
    return FORMATS[config.name]


def fewest_documents(config: InputFormatConfig) -> int:
    """Return of how many documents a text must have so that the format can make inputs: pairs take a random B from another."""
    return 2 if format_of(config).pairs else 1


def plan(store: SentenceStore, config: InputFormatConfig, key: int, pairs: str = "random") -> Plan:
    """Return the plan of the configured format: a pure function of the corpus, the config, the key and `nsp.pairs`."""
    form = format_of(config)
    made = form.plan(store, config, key, PAIRINGS[pairs]) if form.pairs else form.plan(store, config, key)
    assert (made.next_sentence_label is not None) == form.pairs, f"FORMATS says pairs={form.pairs} of {config.name}"
    return made
