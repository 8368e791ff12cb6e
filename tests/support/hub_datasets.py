"""What lies on the hub of tests/test_hub.py: small datasets of every kind of file and of every kind of trouble."""

import gzip
import io
import json
import random
from typing import Any

from hub_server import Repository

PINNED, MOVED = "0123456789" * 4, "f" * 40


def parquet(rows: list[dict[str, Any]], **keys: Any) -> bytes:
    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), stream, **keys)
    return stream.getvalue()


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def card(**subsets: str) -> bytes:
    configs = "".join(f"- config_name: {name}\n  data_files: {files}\n" for name, files in subsets.items())
    return f"---\nlicense: mit\nconfigs:\n{configs}---\n".encode()


def invalid_text() -> bytes:
    import pyarrow
    from pyarrow import parquet

    stream, text = io.BytesIO(), pyarrow.array([b"caf\xe9", b"ok"], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"text": text}), stream)
    return stream.getvalue()


TWO = [
    [{"id": f"{file}-{row}", "text": f"Zeile {row} — €{file}\nzwei", "title": None, "n": row} for row in range(rows)]
    for file, rows in enumerate((150, 3))
]
LINES = [{"text": f"{row} " + "lorem ipsum " * 50, "url": f"u{row}"} for row in range(2000)]
NOISE = random.Random(0)
WIDE = [{"text": f"{row}", "noise": NOISE.randbytes(8000)} for row in range(2000)]
SCRIPT = b"open('the_script_was_run', 'w').write('yes')\nimport datasets\nclass Script(datasets.GeneratorBasedBuilder): ...\n"


def repositories() -> dict[str, Repository]:
    two = {f"data/train-{file}-of-2.parquet": parquet(rows, row_group_size=40) for file, rows in enumerate(TWO)}
    held = {"data/test-0-of-1.parquet": parquet(TWO[1])}
    now = {f"data/train-{file}-of-2.parquet": parquet([{"text": "of today"}]) for file in range(2)}
    subsets = {
        "README.md": card(en="en/*", de="de/*"),
        "en/a.parquet": parquet(TWO[0]),
        "de/a.parquet": parquet(TWO[1]),
    }
    only = {
        "owner/json": {"train-0.jsonl.gz": gzip.compress(lines(LINES)), "train-1.jsonl": lines(LINES[:5])},
        "owner/wide": {"train.parquet": parquet(WIDE, row_group_size=2000)},
        "owner/cut": {f"train-{i}.parquet": parquet(TWO[0]) for i in range(2)},
        "owner/cut_lines": {"train.jsonl.gz": gzip.compress(lines(LINES))},
        "owner/down": {"train.parquet": parquet(TWO[0])},
        "owner/busy": {"train.parquet": parquet(TWO[1])},
        "owner/invalid": {"train.parquet": invalid_text()},
        "owner/broken": {"train.jsonl": lines(LINES[:2]) + b'{"text": oops}\n'},
        "owner/script": {"README.md": b"A corpus.", "script.py": SCRIPT},
        "owner/other_script": {"README.md": b"A corpus.", "build.py": SCRIPT},
        "owner/empty": {"README.md": b"Soon."},
        "owner/elsewhere": {"README.md": card(en="hf://datasets/owner/two@main/data/*"), "a.parquet": parquet(TWO[1])},
        "owner/subsets": subsets,
    }
    return {
        "owner/two": Repository({PINNED: {**two, **held, "README.md": b"# Two"}, MOVED: now}, {"main": MOVED}),
        "owner/private": Repository({PINNED: two}, refused="private"),
        "owner/gated": Repository({PINNED: two}, refused="gated"),
        **{name: Repository({PINNED: files}, {"main": PINNED}) for name, files in only.items()},
    }
