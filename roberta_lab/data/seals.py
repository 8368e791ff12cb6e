"""Files that end with a seal: the SHA-256 of the bytes before it. Checkpoints have one, and arrays that are kept alone."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from roberta_lab.config import Damaged
from roberta_lab.data.storage import replacing
from roberta_lab.data.verified import note_unverified, readable, size_of

MAGIC = b"roberta_lab sha256 "  # before the hash
SEAL_BYTES = len(MAGIC) + 32


def with_seal(body: bytes | memoryview) -> bytes:
    """Return the seal that stands behind the bytes of a file."""
    return MAGIC + hashlib.sha256(body).digest()


def without_seal(path: Path, way_out: str) -> bytes:
    """Return the bytes of a file before its seal. Raises Damaged where it does not fit, OSError."""
    size_of(path, way_out)
    data = path.read_bytes()
    body = data[:-SEAL_BYTES]
    if data[-SEAL_BYTES:] != with_seal(body):
        raise _does_not_fit(path, len(data), way_out)
    return body


def check_seal(path: Path, way_out: str) -> None:
    """Raise Damaged where the seal at a file's end does not fit, OSError. Memory does not grow with the file."""
    size, digest = size_of(path, way_out), hashlib.sha256()
    left = max(0, size - SEAL_BYTES)
    with open(path, "rb") as file:
        while left and (piece := file.read(min(left, 1 << 20))):
            digest.update(piece)
            left -= len(piece)
        if left or file.read() != MAGIC + digest.digest():
            raise _does_not_fit(path, size, way_out)


def _does_not_fit(path: Path, size: int, way_out: str) -> Damaged:
    what = f"is damaged: the SHA-256 at its end does not fit its {size:,} bytes; it was cut short or changed"
    return Damaged.at(path, what, way_out)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as `.npz`, sealed."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    body = buffer.getbuffer()
    with replacing(path, size=len(body) + SEAL_BYTES) as file:
        file.write(body)
        file.write(with_seal(body))


def load_arrays(path: Path, way_out: str, without: str = "") -> dict[str, np.ndarray]:
    """Return what `save_arrays` wrote; a file of older code has no seal. Raises Damaged, FileNotFoundError.

    Without one of its arrays, the others alone are read, and checked by the sums that the format has for each.
    """
    size = size_of(path, way_out)
    if without:
        with readable(path, way_out), np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files if name != without}
    with open(path, "rb") as file:
        file.seek(max(0, size - SEAL_BYTES))
        is_older = not file.read().startswith(MAGIC)
    place = io.BytesIO(path.read_bytes() if is_older else without_seal(path, way_out))
    with readable(path, way_out), np.load(place, allow_pickle=False) as found:
        arrays = dict(found)
    if is_older:
        note_unverified(path)
    return arrays
