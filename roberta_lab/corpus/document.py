"""The noun of this room: a document is an ordered list of paragraphs under a stable id."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """`id` decides in which split it falls; `package` is the part of its source that it belongs to."""

    id: str
    title: str
    package: str
    paragraphs: list[str]
