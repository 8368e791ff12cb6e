"""Scores as their official definitions have them, per item, 0 to 1. A task's score is their mean, 0 to 100."""

from __future__ import annotations

import re
import string
from collections import Counter

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> list[str]:
    """SQuAD's words of an answer: lower case, no punctuation, no articles (Rajpurkar et al. 2016, official script)."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(prediction: str, answer: str) -> float:
    """1 when both say the same words; empty stands for no answer."""
    return float(normalize_answer(prediction) == normalize_answer(answer))


def token_f1(prediction: str, answer: str) -> float:
    """F1 of the words in common; if either is empty, 1 exactly when both are (SQuAD 2.0, official script)."""
    predicted, true = normalize_answer(prediction), normalize_answer(answer)
    if not predicted or not true:
        return float(predicted == true)
    common = sum((Counter(predicted) & Counter(true)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(true)
    return 2 * precision * recall / (precision + recall)
