"""Entities of tagged words, as conlleval and seqeval count them (Tjong Kim Sang and De Meulder 2003).

Classes are numbered as in `ner`: 0 is O, 2t-1 begins an entity of type t, 2t continues it. A class that continues nothing
begins an entity, and a change of type ends one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Entity = tuple[int, int, int]  # first word, the word after the last, type


def entities(classes: Sequence[int]) -> set[Entity]:
    """Return the entities of a sentence."""
    found: set[Entity] = set()
    first, kind = 0, 0  # of the entity that is open; kind 0: none
    for i, number in enumerate([*classes, 0]):
        here = (number + 1) // 2
        if kind and (here != kind or number % 2):
            found.add((first, i, kind))
            kind = 0
        if here and not kind:
            first, kind = i, here
    return found


def entity_counts(predicted: Sequence[int], true: Sequence[int]) -> tuple[int, int, int, int, int]:
    """Return five counts: entities with both ends and type right, those found, those there; right words, and all words."""
    ours, theirs = entities(predicted), entities(true)
    right = sum(a == b for a, b in zip(predicted, true, strict=True))
    return len(ours & theirs), len(ours), len(theirs), right, len(true)


def entity_scores(table: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1 of all sentences' entities, and the accuracy of words; 0 to 100.

    Args:
        table: (N, 5), `entity_counts` of each sentence.
    """
    correct, found, true, right, words = (int(total) for total in table.sum(0))
    precision, recall = correct / max(1, found), correct / max(1, true)
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {
        "precision": 100 * precision,
        "recall": 100 * recall,
        "f1": 100 * f1,
        "accuracy": 100 * right / max(1, words),
    }
