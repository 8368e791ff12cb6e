"""The rows of metrics that training writes, and what it asks of whoever keeps them."""

from __future__ import annotations

from typing import Any, Protocol

Row = dict[str, Any]  # name -> number; `step` is in every row


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
