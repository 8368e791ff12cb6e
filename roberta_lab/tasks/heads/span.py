"""Spans: the answer to a question is a piece of a context, or in SQuAD 2.0 none (RoBERTa, Section 5.2).

The official scores are in `tasks/metrics.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from roberta_lab.axes.tokenizer import Encoding
from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.tasks.feature_table import FeatureTable
from roberta_lab.tasks.features import Feature, Features, PairFormat, encode_once
from roberta_lab.tasks.heads.base import Batch, Batches, Head, LayerNames, Named, Outputs, Pairs, Scores
from roberta_lab.tasks.items import Prediction, Predictions, Span, TaskData
from roberta_lab.tasks.metrics import best_of_golds, best_thresholds, span_scores
from roberta_lab.tasks.records import Record

if TYPE_CHECKING:
    from torch import Tensor, nn

FIRST_WORDS = (0, 1, 2, 3, 5, 8, 13, 21)  # of a context, as constant answers
NOWHERE = -1e9  # the score of an answer where there is no text; finite, so that it can be written as JSON
# Windows: rows of the table (B,), log-probabilities of first and last tokens (B, T, 2), log-odds of an answer (B,), if any.
Window = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class SpanHead(Head[Span]):
    """A linear layer for an answer's first and last token, where there always is an answer (SQuAD 1.1). `ends` (B, T, 2).

    Windows without it point at `<s>` (BERT), so that the probabilities of spans of several windows compare.
    """

    name = "span"
    fields = ("question", "context")
    shape = '{"question": TEXT, "context": TEXT}'
    auto_class = "QuestionAnswering"
    tensors: ClassVar[LayerNames] = {"ends": "qa_outputs"}
    has_class_names = False

    def item(self, record: Record) -> Span:
        question, context = record.text("question"), record.text("context")
        if not context:
            raise ConfigError(f"line {record.number}: the context is empty.")
        return Span(record.id, question, context, None)

    def features(self, items: Sequence[Span], first: int, encoding: Encoding, pairs: PairFormat) -> Features:
        """Yield windows of the context beside the question; every token of the context is in one of them or more."""
        questions = encode_once([item.question for item in items], encoding.encode_batch)
        contexts = encode_once([item.context for item in items], encoding.encode_with_offsets)
        for number, item in enumerate(items, first):
            ids, offsets = contexts[item.context]
            question = questions[item.question][: pairs.question_room]
            room, cut = pairs.room - len(question), len(question) < len(questions[item.question])
            answer = answer_tokens(item, offsets)
            before = len(question) + pairs.num_specials - 1  # tokens of the input in front of the context
            for start in range(0, max(1, len(ids) - room + pairs.stride), pairs.stride):
                end = min(start + room, len(ids))
                here = answer is not None and start <= answer[0] and answer[1] < end
                target = (answer[0] - start + before, answer[1] - start + before, 1) if here and answer else (0, 0, 0)
                joined = pairs.join(question, ids[start:end], encoding)
                yield Feature(
                    number, (joined,), target, (before, before + end - start), tuple(offsets[start:end]), cut=cut
                )

    def variant(self, task: TaskConfig, data: TaskData) -> str:
        """Return the head with answerability where some questions have no answer; metrics of best thresholds need it."""
        unanswerable = any(isinstance(item, Span) and item.answer is None for item in data.train)
        if task.metric.startswith("best_") and not unanswerable:
            raise ConfigError(
                f"task.metric={task.metric} needs training questions without an answer; {task.name} has none. "
                f"Use task.metric={task.metric.removeprefix('best_')}."
            )
        return "span with answerability" if unanswerable else self.name

    def limit(self, pairs: PairFormat) -> str:
        return f"{pairs.question_room} tokens of a question"  # windows show all of the context

    def layers(self, hidden: int, num_labels: int, dropout: float) -> dict[str, nn.Module]:
        from torch import nn  # only when there is work

        return {"ends": nn.Linear(hidden, 2)}

    def outputs(self, layers: nn.ModuleDict, hidden: Tensor, batch: Batch) -> Outputs:
        return {"ends": layers["ends"](hidden)}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return cross-entropy of both ends, each a class of its own row.

        `cross_entropy` of (B, T, 2) has the same bits, but on CUDA a kernel that never repeats its own (nll_loss2d).
        """
        from torch.nn import functional as F  # torch: only when there is work

        chances = self._masked(outputs, batch).log_softmax(1)
        return F.nll_loss(chances.transpose(1, 2).flatten(0, 1), batch["target"][:, :2].long().flatten())

    def allowed(self, batch: Batch) -> Tensor:
        """Return bool (B, T): what can be an end, the context and `<s>`."""
        allowed = batch["context"].clone()
        allowed[:, 0] = True
        return allowed

    def _masked(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the ends' logits, float32 (B, T, 2), -inf where no end is allowed."""
        return outputs["ends"].float().masked_fill(~self.allowed(batch)[:, :, None], -math.inf)

    def decode(self, task: TaskConfig, items: Sequence[Span], table: FeatureTable, batches: Batches) -> Predictions:
        def windows() -> Iterator[Window]:
            for rows, batch, found in batches:
                odds = found["answerable"].float().cpu().numpy() if "answerable" in found else None
                yield rows, self._masked(found, batch).log_softmax(1).cpu().numpy(), odds

        return best_answers(items, table, task.max_answer_tokens, windows())

    def named(self, item: Span, prediction: Prediction, labels: tuple[str, ...]) -> Named:
        return {name: value for name, value in prediction.items() if name != "id"}

    def rows(self, task: TaskConfig, pairs: Pairs[Span]) -> np.ndarray:
        version = _version(task)
        return np.array(
            [(*best_of_golds(item, p["prediction"], version), float(item.answer is not None)) for item, p in pairs]
        )

    def scores(self, task: TaskConfig, table: np.ndarray) -> Scores:
        """Return em and f1; for all but squad1 also the official script's exact, HasAns_* and NoAns_*."""
        return span_scores(table, _version(task))

    def right(self, table: np.ndarray) -> np.ndarray:
        found: np.ndarray = table[:, 0] == 1
        return found

    def points(self, metric: str, table: np.ndarray) -> np.ndarray | None:
        column = {"em": 0, "exact": 0, "f1": 1}.get(metric)
        return None if column is None else 100.0 * table[:, column]

    def more_scores(self, task: TaskConfig, pairs: Pairs[Span], table: np.ndarray) -> Scores:
        """Return best_* where predictions have log-odds of no answer; squad1 has none."""
        return best_thresholds(pairs) if _version(task) == 2 else {}

    def constants(self, items: Sequence[Span]) -> Sequence[Sequence[object]]:
        """Return no answer, and the first words of each context, as many for all."""
        return [[" ".join(item.context.split()[:n]) for item in items] for n in FIRST_WORDS]

    def unreachable(self, task: TaskConfig, items: Sequence[Span], table: FeatureTable) -> dict[str, str]:
        return unreachable(items, table, task.max_answer_tokens)


class AnswerabilityHead(SpanHead):
    """Beside `ends`, `answerable` (B,): log-odds that the window has an answer, trained jointly (SQuAD 2.0, Section 5.2)."""

    name = "span with answerability"
    card_note = (
        "Whether there is an answer is a classifier of its own, in `answerability.safetensors`: "
        "without it, this model always answers."
    )

    def layers(self, hidden: int, num_labels: int, dropout: float) -> dict[str, nn.Module]:
        from roberta_lab.tasks.task_model import Classifier  # torch: only when there is work

        return {**super().layers(hidden, num_labels, dropout), "classifier": Classifier(hidden, 1, dropout)}

    def outputs(self, layers: nn.ModuleDict, hidden: Tensor, batch: Batch) -> Outputs:
        return {**super().outputs(layers, hidden, batch), "answerable": layers["classifier"](hidden)[:, 0]}

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return cross-entropy of both ends in windows that hold the answer, plus that of answerability in all of them."""
        from torch.nn import functional as F  # torch: only when there is work

        target = batch["target"]
        answerable = F.binary_cross_entropy_with_logits(outputs["answerable"].float(), target[:, 2].float())
        held = target[:, 2] == 1
        if not held.any():
            return answerable
        return answerable + super().loss(
            {"ends": outputs["ends"][held]}, {"target": target[held], "context": batch["context"][held]}
        )

    def allowed(self, batch: Batch) -> Tensor:
        """Return bool (B, T): the context; of a window without one, everything, for a softmax needs something."""
        context = batch["context"]
        return context | ~context.any(1, keepdim=True)


def _version(task: TaskConfig) -> int:
    """Return whose official script scores the task: 1 for SQuAD 1.1, 2 for 2.0."""
    return 1 if task.name == "squad1" else 2


def answer_tokens(item: Span, offsets: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the first and last token that cover the answer's characters; None if there is no answer, or no such token."""
    if item.answer is None:
        return None
    start, end = item.answer
    first = bisect_right(offsets, start, key=lambda offset: offset[1])
    last = bisect_left(offsets, end, key=lambda offset: offset[0]) - 1
    return (first, last) if first <= last else None


# ---------------------------------------------------------------- the best span of several windows
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


def unreachable(items: Sequence[Span], table: FeatureTable, most_tokens: int) -> dict[str, str]:
    """Return the ids of items whose answer no prediction can be, each with the reason.

    `inside a token`: a token that the answer shares has other letters too, so the best text has more than the answer;
    `too many tokens`: more than an answer may have; `longer than a window`: no window has all of it; `of no token`: the
    tokenizer makes nothing of its characters. A split without questions has none.
    """
    if not len(table):  # its targets have no columns either
        return {}
    held = {int(table.item[row]): int(row) for row in np.flatnonzero(table.target[:, 2])[::-1]}  # in its first window
    covered = set()
    for row, number in enumerate(table.item.tolist()):
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


HEADS = {"span": SpanHead(), "span with answerability": AnswerabilityHead()}
