"""Define the document: an ordered list of paragraphs under a stable id."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """A document. `package` is the part of its source that it belongs to. `whole`, or else `id`, decides its split."""

    id: str
    title: str
    package: str
    paragraphs: list[str]
    whole: str | None = None  # the id of the long document of which this is a later part
