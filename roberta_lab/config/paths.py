"""Paths as users write them."""

from pathlib import Path


def user_path(path: str | Path) -> Path:
    """Return the path with `~/` as the user's home folder. Every other character means itself: `~x` is a folder named so."""
    text = str(path)
    return Path(text).expanduser() if text == "~" or text.startswith("~/") else Path(text)
