"""Cut paragraphs into sentences with sentencex. Its version goes into the manifest of every corpus."""

from __future__ import annotations

from importlib import metadata

import sentencex


def fingerprint() -> dict[str, str]:
    """Return the versions that decide where sentences end."""
    return {"sentencex": metadata.version("sentencex")}


def segment(paragraph: str) -> list[str]:
    """Return the sentences of one paragraph, in order, without surrounding space. Long texts are slow: give paragraphs."""
    return [sentence.strip() for sentence in sentencex.segment("en", paragraph) if sentence.strip()]
