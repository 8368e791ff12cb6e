"""The best span of several windows, and the answers that no window can give (SQuAD; RoBERTa, Section 5.2)."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.items import Predictions, Span

NOWHERE = -1e9  # the score of an answer where there is no text; finite, so that it can be written as JSON
# rows of the table, log-probabilities of first and last tokens float (B, T, 2), log-odds of an answer float (B,) if there are
Window = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def best_spans(ends: np.ndarray, context: np.ndarray, most_tokens: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the span with the largest sum in each window's context, last not before first, `most_tokens` at most.

    `ends`: float (B, T, 2), log-probabilities of first and last tokens; `context`: int (B, 2), the tokens that may be in one.

    Returns: score float64 (B,), first and last int64 (B,), counted from the input's start. Without any context: NOWHERE, 0, 0.
    """
    batch, length, _ = ends.shape
    column = np.arange(length)
    allowed = (column >= context[:, :1]) & (column < context[:, 1:])
    finite = np.nan_to_num(ends.astype(np.float64), nan=NOWHERE / 4, posinf=NOWHERE / 4, neginf=NOWHERE / 4)
    first, last = np.where(allowed[:, :, None], finite, NOWHERE).transpose(2, 0, 1)
    most_tokens = min(most_tokens, length)
    padded = np.pad(last, ((0, 0), (0, most_tokens - 1)), constant_values=NOWHERE)
    scores = first[:, :, None] + np.lib.stride_tricks.sliding_window_view(padded, most_tokens, axis=1)  # (B, T, most)
    place = scores.reshape(batch, -1).argmax(1)
    best = np.maximum(scores.reshape(batch, -1)[np.arange(batch), place], NOWHERE)
    return best, place // most_tokens, place // most_tokens + place % most_tokens


def best_answers(
    items: Sequence[Span], table: FeatureTable, most_tokens: int, windows: Iterable[Window]
) -> Predictions:
    """Return the prediction of each item: the best answer of its windows, which come in any order.

    A span's score is the log-probability of both ends, and with log-odds of an answer that of there being one in the window.
    Without these log-odds there always is an answer, and no `no_answer`.
    """
    best: list[tuple[float, str]] = [(-math.inf, "")] * len(items)
    odds = np.full(len(items), -math.inf)
    for rows, ends, answerable in windows:
        scores, first, last = best_spans(ends, table.context[rows], most_tokens)
        if answerable is not None:
            answerable = np.nan_to_num(answerable.astype(np.float64), nan=NOWHERE)
            scores = scores - np.logaddexp(0, -answerable)
            np.maximum.at(odds, table.item[rows], answerable)
        for i, (row, number) in enumerate(zip(rows.tolist(), table.item[rows].tolist(), strict=True)):
            if scores[i] > best[number][0]:
                best[number] = (float(scores[i]), text_of(items[number], table, row, int(first[i]), int(last[i])))
    found: Predictions = []
    for item, (score, text), answerable in zip(items, best, odds.tolist(), strict=True):
        found.append({"id": item.id, "prediction": text, "answer": text, "score": score})
        if answerable > -math.inf:
            found[-1] |= {"prediction": text if answerable > 0 else "", "no_answer": -answerable}
    return found


def text_of(item: Span, table: FeatureTable, row: int, first: int, last: int) -> str:
    """Return the characters of an input's tokens first to last, without the white space that pieces may have around them."""
    start, end = (int(i) for i in table.context[row])
    if start == end:
        return ""
    places = table.places_of(row)
    return item.context[places[first - start, 0] : places[last - start, 1]].strip()


# ---------------------------------------------------------------- what can be reached


def unreachable(items: Sequence[Span], table: FeatureTable, most_tokens: int) -> dict[str, str]:
    """Return the ids of items whose answer no prediction can be, each with the reason.

    `inside a token`: a token that the answer shares has other letters too, so the best text has more than the answer;
    `too many tokens`: more than an answer may have; `longer than a window`: no window has all of it; `of no token`: the
    tokenizer makes nothing of its characters.
    """
    held: dict[int, int] = {}
    covered = set()
    for row, number in enumerate(table.item.tolist()):
        if table.target[row, 2]:
            held.setdefault(number, row)
        if (answer := items[number].answer) is not None:
            starts, ends = table.places_of(row).T
            if ((starts < answer[1]) & (ends > answer[0])).any():
                covered.add(number)
    reasons: dict[str, str] = {}
    for number, item in enumerate(items):
        if item.answer is None:
            continue
        if number not in held:
            reasons[item.id] = "longer than a window" if number in covered else "of no token"
            continue
        first, last, _ = (int(i) for i in table.target[held[number]])
        if last - first + 1 > most_tokens:
            reasons[item.id] = "too many tokens"
        elif text_of(item, table, held[number], first, last) != item.answer_text.strip():
            reasons[item.id] = "inside a token"
    return reasons
