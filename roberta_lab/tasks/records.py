"""New text as items without labels: what `predict.what=task` reads, a line each.

A line that begins with `{` is a JSON object with the fields of the task's head, and an `id` if it likes. Any other line is
plain text: enough for one text, and for words with white space between them. White space around a text is none of it.
"""

from __future__ import annotations

import json
from typing import Any

from roberta_lab.config import ConfigError
from roberta_lab.tasks.items import Choice, Classification, Item, Regression, Span, Tagging

FIELDS = {  # head -> the fields of its objects
    "classification": ("text_a", "text_b"),
    "regression": ("text_a", "text_b"),
    "span": ("question", "context"),
    "choice": ("text", "choices"),
    "tagging": ("words",),
}
SHAPES = {  # what a mistake is answered with
    "classification": '{"text_a": TEXT}',
    "regression": '{"text_a": TEXT}',
    "span": '{"question": TEXT, "context": TEXT}',
    "choice": '{"text": TEXT, "choices": [TEXT, TEXT, ...]}',
    "tagging": '{"words": [WORD, WORD, ...]}, or words with white space between them',
}
PAIR = '{"text_a": TEXT, "text_b": TEXT}'


def item(head: str, line: str, number: int, is_pair: bool | None = None) -> Item:
    """The item of one line, without what is to be predicted.

    Args:
        number: of the line, from 1: for messages, and the item's id where the line gives none.
        is_pair: whether the task has two texts; None: not known.

    Raises: ConfigError, which says which line.
    """
    record = _record(head, line, number)
    name, texts = str(record.get("id", number)), {key: record.get(key) for key in FIELDS[head]}
    if head == "tagging":
        return Tagging(name, _texts(texts["words"], "words", number, head), None)
    if head == "choice":
        return Choice(name, _text(texts["text"], "text", number, head), _choices(texts["choices"], number), None)
    if head == "span":
        question, context = (_text(texts[key], key, number, head) for key in FIELDS[head])
        if not context:
            raise ConfigError(f"line {number}: the context is empty.")
        return Span(name, question, context, None)
    text_a = _text(texts["text_a"], "text_a", number, head)
    text_b = _text(texts["text_b"], "text_b", number, head) if texts["text_b"] is not None else None
    if is_pair is not None and is_pair != (text_b is not None):
        there, wanted = ("two texts", SHAPES[head]) if text_b is not None else ("one text", PAIR)
        raise ConfigError(f"line {number} has {there}; the task's items are {wanted}.")
    return (
        Regression(name, text_a, text_b, None) if head == "regression" else Classification(name, text_a, text_b, None)
    )


def _record(head: str, line: str, number: int) -> dict[str, Any]:
    if not line.lstrip().startswith("{"):
        if head == "tagging":
            return {"words": line.split()}
        if FIELDS[head][0] == "text_a":
            return {"text_a": line}
        raise ConfigError(f"line {number} is plain text. Allowed: {SHAPES[head]}.")
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"line {number} begins with {{ and is no JSON ({error}).") from None
    for key in record:
        if key not in (*FIELDS[head], "id"):
            raise ConfigError(f"line {number}: no field {key!r}. Allowed: {', '.join(FIELDS[head])}, id.")
    return record


def _text(value: Any, key: str, number: int, head: str) -> str:
    if not isinstance(value, str):
        said = f"{key} is missing" if value is None else f"{key} is {value!r}, no text"
        raise ConfigError(f"line {number}: {said}. Allowed: {SHAPES[head]}.")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise ConfigError(f"line {number}: {key} has half a surrogate pair, which is no character.")
    return value.strip()


def _texts(value: Any, key: str, number: int, head: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"line {number}: {key} is no list. Allowed: {SHAPES[head]}.")
    return tuple(_text(one, key, number, head) for one in value)


def _choices(value: Any, number: int) -> tuple[str, ...]:
    found = _texts(value, "choices", number, "choice")
    if len(found) < 2:
        raise ConfigError(f"line {number}: {len(found)} choices. Allowed: 2 or more.")
    return found
