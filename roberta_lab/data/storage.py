"""How reports reach the disk."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

SUMMARY = "table.json"  # in a table's folder: what the landing page shows of it


def write(path: Path, content: str | bytes) -> None:
    """Atomically: whoever reads sees the old file or the whole new one. A file that already says so is left alone."""
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def identity(values: dict[str, Any]) -> str:
    """Twelve hex digits of the SHA-256 of the values; equal values give equal ids, on every machine."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def write_json(path: Path, value: Any) -> None:
    """Atomically: whoever reads sees the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(value, indent=2, sort_keys=True) + "\n"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
