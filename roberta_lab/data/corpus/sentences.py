"""Sentence segmentation, by sentencex (its version goes into the manifest of every corpus)."""

from __future__ import annotations

from importlib import metadata

import sentencex


def fingerprint() -> dict[str, str]:
    """What decides where sentences end."""
    return {"sentencex": metadata.version("sentencex")}


def segment(paragraph: str) -> list[str]:
    """The sentences of one paragraph, in order, without surrounding space. Long texts are slow: feed paragraphs."""
    return [sentence.strip() for sentence in sentencex.segment("en", paragraph) if sentence.strip()]
