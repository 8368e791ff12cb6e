"""The rows of metrics that training writes, and what it asks of whoever keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, eq=False)
class Row(Mapping[str, float]):
    """Metrics at one optimizer step, by name: a mapping in which `step` comes first, equal to any mapping of the same."""

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
        """Return the row as one line of JSON, without the line's end."""
        return json.dumps(dict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Row:
        """Return the row that `to_json` wrote. Raises ValueError for anything else."""
        values = json.loads(line)
        if not isinstance(values, dict) or not isinstance(values.get("step"), int):
            raise ValueError("a row of metrics is an object with a step")
        return cls(values.pop("step"), values)


class RowLog(Protocol):
    """Where the rows of a run go, one after the other."""

    def resume(self, step: int) -> None:
        """Drop the rows of an earlier attempt that come after `step`; called once, before the first row."""

    def write(self, row: Row) -> None:
        """Add a row."""

    def flush(self) -> None:
        """Make all rows durable."""

    def read(self) -> list[Row]:
        """Return all rows of the run, those of earlier attempts too."""


class NoRows:
    """A row log that keeps nothing: for the ranks that write none."""

    def resume(self, step: int) -> None:
        pass

    def write(self, row: Row) -> None:
        pass

    def flush(self) -> None:
        pass

    def read(self) -> list[Row]:
        return []
