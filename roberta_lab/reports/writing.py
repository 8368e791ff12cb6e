"""How reports reach the disk."""

from __future__ import annotations

import os
from pathlib import Path

SUMMARY = "table.json"  # in a table's folder: what the landing page shows of it


def write(path: Path, content: str | bytes) -> None:
    """Atomically: whoever reads sees the old file or the whole new one. A file that already says so is left alone."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
