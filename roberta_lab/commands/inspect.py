"""`inspect`: a few examples as the model sees them, in colour. What to look at first when data are in doubt."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import numpy as np

from roberta_lab import input_format, token_store, tokenizer
from roberta_lab.config import Config
from roberta_lab.corpus.preparation import prepared_for
from roberta_lab.data_mix import training_documents
from roberta_lab.examples import Rows, gather
from roberta_lab.masking import IGNORED, masked_rows
from roberta_lab.rng import stream_key
from roberta_lab.tokenizer import Encoding

STYLES = {"special": "2", "masked": "1;31", "random": "1;33", "kept": "1;32", "text": "", "segment B": "36"}
NSP = {0: "B is next", 1: "B is random"}


def main(config: Config, overrides: list[str]) -> None:
    """Shows the first `inspect.examples` of epoch `inspect.epoch`, masked as pretraining of this config would."""
    prepared = prepared_for(config)
    encoding = tokenizer.load(prepared.tokenizer)
    store = training_documents(token_store.open_store(prepared.store / "train"), config.data_mix)
    plan = input_format.plan(store, config.input_format, stream_key(config.seed, "plan"))
    examples = np.arange(min(config.inspect.examples, plan.num_examples))
    rows = gather(store, plan, examples, encoding.vocabulary)
    epochs = np.full_like(examples, config.inspect.epoch)
    seen, labels = masked_rows(rows, examples, epochs, config.masking, config.seed, encoding.vocabulary)
    legend = "  ".join(_paint(kind, kind) for kind in STYLES)
    print(f"{config.input_format.name}, {config.masking.name} masking, epoch {config.inspect.epoch}: {legend}")
    print(f"{plan.num_examples:,} examples an epoch; " + ", ".join(f"{n:,} {name}" for name, n in plan.counts.items()))
    for i in examples:
        label = "" if rows.next_sentence_label is None else f", NSP label {NSP[int(rows.next_sentence_label[i])]}"
        predicted = int((labels[i] != IGNORED).sum())
        print(f"\nexample {i}: {rows.lengths[i]} tokens, {predicted} predicted{label}")
        print("".join(_tokens(encoding, rows, seen[i], labels[i], int(i))))


def _tokens(encoding: Encoding, rows: Rows, seen: np.ndarray, labels: np.ndarray, i: int) -> Iterator[str]:
    """Each token as the model sees it; a random one with the original behind it."""
    for j in range(int(rows.lengths[i])):
        kind = _kind(encoding, rows, seen, labels, i, j)
        text = encoding.spelled(int(seen[j]))
        original = encoding.spelled(int(labels[j])) if kind in ("masked", "random") else ""
        yield _paint(kind, f"{text}[{original}]" if original else text)


def _kind(encoding: Encoding, rows: Rows, seen: np.ndarray, labels: np.ndarray, i: int, j: int) -> str:
    if labels[j] == IGNORED:
        if rows.special_mask[i, j]:
            return "special"
        return "segment B" if rows.token_type_ids[i, j] else "text"
    if seen[j] == encoding.mask_id:
        return "masked"
    return "kept" if seen[j] == labels[j] else "random"


def _paint(kind: str, text: str) -> str:
    """In colour on a terminal; elsewhere predicted tokens carry the name of their kind."""
    colour = (sys.stdout.isatty() and "NO_COLOR" not in os.environ) or "FORCE_COLOR" in os.environ
    if not colour:
        return f"⟨{kind}:{text}⟩" if kind in ("random", "kept") and text != kind else text
    return f"\x1b[{STYLES[kind]}m{text}\x1b[0m" if STYLES[kind] else text
