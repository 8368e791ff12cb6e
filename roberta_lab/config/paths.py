"""Paths that users type."""

import os
import re
from pathlib import Path

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")  # how one begins
LONGEST_PART = 255  # bytes of the name of a file, on all usual file systems


def user_path(path: str | Path) -> Path:
    """Return the path with `~/` as the user's home folder. Every other character means itself: `~x` is a folder named so."""
    text = str(path)
    return Path(text).expanduser() if text == "~" or text.startswith("~/") else Path(text)


def wrong_path(path: str) -> str:
    """Return why no file can have this path; nothing if one can."""
    if URL.match(path):
        return "a URL, which data_mix.NAME.path alone may be"
    try:
        longest = max(map(len, os.fsencode(path).split(b"/")))
    except UnicodeEncodeError:
        return "half a surrogate pair is no character"
    return f"a part of it has {longest:,} bytes" if longest > LONGEST_PART else ""
