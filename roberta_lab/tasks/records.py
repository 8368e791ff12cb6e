"""New text as items without labels: what `predict.what=task` reads, a line each.

A line that begins with `{` is a JSON object with the fields of the task's head, and an `id` if it likes. Every other line is
plain text, which some heads read. White space around a text is none of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from roberta_lab.config import ConfigError
from roberta_lab.tasks import heads
from roberta_lab.tasks.items import Item


@dataclass(frozen=True)
class Record:
    """The fields of one line. Reading a field of the wrong type raises ConfigError, which says which line."""

    number: int  # of the line, from 1
    shape: str  # what the line should look like
    fields: Mapping[str, object]
    is_pair: bool | None = None  # whether the task has two texts; None: not known

    @property
    def id(self) -> str:
        """Return the item's id: the line's number where the line gives none."""
        return str(self.fields.get("id", self.number))

    def wrong(self, reason: str) -> ConfigError:
        """Return the error of this line."""
        return ConfigError(f"line {self.number}{reason}. Allowed: {self.shape}.")

    def text(self, key: str) -> str:
        """Return a text without the white space around it."""
        return self._checked(key, self.fields.get(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self.fields.get(key)
        if not isinstance(values, list):
            raise self.wrong(f": {key} is no list")
        return tuple(self._checked(key, value) for value in values)

    def _checked(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.wrong(f": {key} is missing" if value is None else f": {key} is {value!r}, no text")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise ConfigError(f"line {self.number}: {key} has half a surrogate pair, which is no character.")
        return value.strip()


def item(head: str, line: str, number: int, is_pair: bool | None = None) -> Item:
    """Return the item of line `number`, without what is to be predicted. Raises ConfigError, which says which line."""
    kind = heads.load(head)
    fields: Mapping[str, object] | None
    if line.lstrip().startswith("{"):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"line {number} begins with {{ and is no JSON ({error}).") from None
    else:
        fields = kind.plain_text(line)
    if fields is None:
        raise Record(number, kind.shape, {}).wrong(" is plain text")
    for key in fields:
        if key not in (*kind.fields, "id"):
            raise ConfigError(f"line {number}: no field {key!r}. Allowed: {', '.join(kind.fields)}, id.")
    return kind.item(Record(number, kind.shape, fields, is_pair))
