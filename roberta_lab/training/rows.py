"""Rows of metrics, which training writes, and the interface of a log that keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, eq=False)
class Row(Mapping[str, float]):
    """Metrics at one optimizer step: a mapping from names to numbers with `step` first, equal to any equal mapping."""

    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.step if name == "step" else self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        yield "step"
        yield from self.metrics

    def __len__(self) -> int:
        return 1 + len(self.metrics)

    def to_json(self) -> str:
        """Return the row as JSON in one line, without the newline."""
        return json.dumps(dict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Row:
        """Return the row that `to_json` wrote. Raises ValueError for another text."""
        values = json.loads(line)
        if not isinstance(values, dict) or not isinstance(values.get("step"), int):
            raise ValueError("a row of metrics is an object with a step")
        return cls(values.pop("step"), values)


class RowLog(Protocol):
    """A log of the rows of one run, in order."""

    def resume(self, step: int) -> None:
        """Drop the rows of an earlier attempt that come after `step`. Called once, before the first row."""

    def write(self, row: Row) -> None:
        """Add a row."""

    def flush(self) -> None:
        """Wait until the disk has all rows."""

    def read(self) -> list[Row]:
        """Return all rows of the run, with those of earlier attempts."""


class NoRows:
    """A row log that keeps nothing, for the ranks after the first."""

    def resume(self, step: int) -> None:
        pass

    def write(self, row: Row) -> None:
        pass

    def flush(self) -> None:
        pass

    def read(self) -> list[Row]:
        return []
