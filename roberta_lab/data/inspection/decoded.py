"""Decode examples for people: each token as the model sees it, with its kind, for the console and for a page."""

import os
import sys
from typing import NamedTuple

import numpy as np

from roberta_lab.axes.examples import IGNORED, Rows
from roberta_lab.axes.pairs import PAIRINGS
from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config.formatting import visible

STYLES = {"special": "2", "masked": "1;31", "random": "1;33", "kept": "1;32", "text": "", "segment B": "36"}


class Token(NamedTuple):
    """A token that the model sees; `original` is the token that it must predict, where that is another one."""

    kind: str  # a key of STYLES
    text: str
    original: str = ""


class Decoded(NamedTuple):
    """An example with a line that describes it."""

    title: str
    tokens: tuple[Token, ...]


def decoded(
    encoding: Encoding, rows: Rows, examples: np.ndarray, seen: np.ndarray, labels: np.ndarray, pairs: str = "random"
) -> list[Decoded]:
    """Return the given examples, (B,) integers, decoded from their rows, what the model sees, and the labels, (B, T) each."""
    found, pairing = [], PAIRINGS[pairs]
    for i, number in enumerate(examples):
        label = (
            ""
            if rows.next_sentence_label is None
            else f", {pairing.task.upper()} label {pairing.labels[int(rows.next_sentence_label[i])]}"
        )
        predicted = int((labels[i] != IGNORED).sum())
        title = f"example {number}: {rows.lengths[i]} tokens, {predicted} predicted{label}"
        places = np.stack([seen[i], labels[i], rows.special_mask[i], rows.token_type_ids[i]])[:, : rows.lengths[i]].T
        found.append(Decoded(title, tuple(_token(encoding, *place) for place in places.tolist())))
    return found


def _token(encoding: Encoding, seen: int, label: int, is_special: int, segment: int) -> Token:
    text = visible(encoding.spelled(seen))
    if label == IGNORED:
        return Token("special" if is_special else "segment B" if segment else "text", text)
    if seen == label and seen != encoding.mask_id:
        return Token("kept", text)
    return Token("masked" if seen == encoding.mask_id else "random", text, visible(encoding.spelled(label)))


# ---------------------------------------------------------------- on the console
def legend() -> str:
    """Return the kinds, each in its colour."""
    return "  ".join(_paint(kind, kind) for kind in STYLES)


def painted(example: Decoded) -> str:
    """Return the line about an example and its tokens below it. A replaced token has the original behind it in brackets."""
    texts = (_paint(t.kind, f"{t.text}[{t.original}]" if t.original else t.text) for t in example.tokens)
    return f"{example.title}\n{''.join(texts)}"


def _paint(kind: str, text: str) -> str:
    """Return a text in colour on a terminal; elsewhere, with the name of its kind if the token is predicted."""
    if (sys.stdout.isatty() and "NO_COLOR" not in os.environ) or "FORCE_COLOR" in os.environ:
        return f"\x1b[{STYLES[kind]}m{text}\x1b[0m" if STYLES[kind] else text
    return f"⟨{kind}:{text}⟩" if kind in ("random", "kept") and text != kind else text
