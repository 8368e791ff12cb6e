"""W&B's offline file, read back through its own protocol: a log of records in LevelDB's format.

After a header of 7 bytes come blocks of 32 KiB; in them pieces of checksum (4 bytes), length (2), type (1: whole, 2: first,
3: middle, 4: last), and zeros where no piece fits any more.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32768, 7
WHOLE, LAST = 1, 4


def pieces(data: bytes) -> list[bytes]:
    """The records of a file; one that is cut short at the end is left out."""
    found, record, at = [], b"", HEADER
    while at + HEADER <= len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (WHOLE, LAST):
            found.append(record)
            record = b""
    return found


class OfflineRun:
    """What one offline run says: `run`, `config`, `rows`, `steps`, `summary`, `artifacts`, `metrics`, `exit_code`, ..."""

    def __init__(self, outputs: Path, run_id: str) -> None:
        """Waits until W&B's own process has written the end."""
        from wandb.proto import wandb_internal_pb2

        [path] = (outputs / "wandb").glob(f"offline-run-*/run-{run_id}.wandb")
        deadline = time.monotonic() + 20
        while True:
            records = [wandb_internal_pb2.Record.FromString(piece) for piece in pieces(path.read_bytes())]
            if any(record.HasField("exit") for record in records):
                break
            assert time.monotonic() < deadline, "W&B did not finish its file"
            time.sleep(0.02)
        self.path = path
        self.run = next(record.run for record in records if record.HasField("run"))
        configs = [self.run.config, *(record.config for record in records if record.HasField("config"))]
        self.config = {i.key: json.loads(i.value_json) for config in configs for i in config.update}
        self.alerts = [record.alert for record in records if record.HasField("alert")]
        self.is_preempting = any(record.HasField("preempting") for record in records)
        self.kinds = {record.WhichOneof("record_type") for record in records}
        self.artifacts = [record.artifact for record in records if record.HasField("artifact")]
        self.metrics = [record.metric for record in records if record.HasField("metric")]
        self.exit_code = next(record.exit.exit_code for record in records if record.HasField("exit"))
        self.summary: dict[str, Any] = {}
        for item in (i for record in records if record.HasField("summary") for i in record.summary.update):
            self.summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        history = [record.history for record in records if record.HasField("history")]
        self.rows = [_plain(one) for one in history]
        self.steps = [one.step.num for one in history]

    def lineage(self) -> dict[str, list[str]]:
        """Names of the artifacts that the run was made from, and of those that it made."""
        return {
            "used": [a.name for a in self.artifacts if a.use_after_commit],
            "made": [a.name for a in self.artifacts if not a.use_after_commit],
        }


def _plain(history: Any) -> dict[str, Any]:
    row = {(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in history.item}
    return {k: v for k, v in row.items() if not k.startswith("_")}
