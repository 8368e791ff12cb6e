"""Where metrics go. `metrics.jsonl` in the run's directory is the source of truth, one row per step, none twice after a
resume; `metrics.csv` and W&B are made from the same rows.

W&B is offline unless a key is set: no account, no question, no wait for a network.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from roberta_lab.config import Config

Row = dict[str, Any]


class MetricsFile:
    """Rows as JSON lines. `flush` makes them durable, so that a checkpoint is never ahead of its rows."""

    def __init__(self, path: Path, up_to_step: int = 0) -> None:
        """Keeps the rows of an earlier attempt up to the step it goes on from; a line that was cut short is dropped."""
        self.path = path
        kept = [line for line, row in _rows(path) if row["step"] <= up_to_step]
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(b"".join(kept))
        os.replace(temporary, path)
        self._file = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (closed by close; whole rows for readers)

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(row) + "\n")

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.flush()
        self._file.close()


def _rows(path: Path) -> list[tuple[bytes, Row]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines(keepends=True):
        with suppress(ValueError):
            if line.endswith(b"\n"):
                found.append((line, json.loads(line)))
    return found


def read(path: Path) -> list[Row]:
    """The rows of a `metrics.jsonl`; none if it does not exist."""
    return [row for _, row in _rows(path)]


def write_csv(path: Path, rows: list[Row]) -> None:
    """The same rows as one table: a column per name, empty where a row has none."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


class Tracker:
    """The metrics file of one run, and its mirror in W&B; `close` ends both, so that the next job starts its own."""

    def __init__(
        self, config: Config, directory: Path, kind: str, name: str, science: Row, up_to_step: int = 0
    ) -> None:
        self.directory = directory
        self.file = MetricsFile(directory / "metrics.jsonl", up_to_step)
        self.wandb = _start_wandb(config, directory, kind, name, science)
        self.observers: list[Callable[[Row], None]] = []

    def write(self, row: Row) -> None:
        self.file.write(row)
        if self.wandb is not None:
            self.wandb.log(row)
        for observe in self.observers:
            observe(row)

    def flush(self) -> None:
        self.file.flush()

    def close(self, result: Row | None = None) -> None:
        """With a result, the run is complete: its numbers become W&B's summary, its rows the CSV file."""
        self.file.close()
        if result is not None:
            write_csv(self.directory / "metrics.csv", read(self.file.path))
        if self.wandb is not None:
            if result is not None:
                self.wandb.summary.update(result)
            self.wandb.finish(exit_code=0 if result is not None else 1)


def wandb_mode(config: Config) -> str:
    """online | offline | off: what `logger.wandb=auto` means here."""
    if config.logger.wandb != "auto":
        return config.logger.wandb
    if mode := os.environ.get("WANDB_MODE"):
        return {"disabled": "off"}.get(mode, mode)
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"


def _start_wandb(config: Config, directory: Path, kind: str, name: str, science: Row) -> Any:
    mode = wandb_mode(config)
    if mode == "off":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    sweep = config.sweep.name if config.sweep is not None else None
    settings = wandb.Settings(
        silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True, save_code=False
    )
    try:
        started = wandb.init(
            project=config.logger.project,
            id=directory.name,
            name=name,
            group=sweep,
            job_type=kind,
            config={"science": science, "trainer": vars(config.trainer), "scale": config.scale.name},
            dir=directory,
            mode=mode,  # type: ignore[arg-type]
            resume="allow" if mode == "online" else None,
            reinit="finish_previous",
            settings=settings,
        )
    except (wandb.Error, OSError) as error:
        print(f"W&B did not start ({error}); metrics.jsonl has everything.", file=sys.stderr)
        return None
    if kind == "pretrain":
        started.define_metric("tokens_seen")
        started.define_metric("*", step_metric="tokens_seen")
    else:
        started.define_metric("step")
        started.define_metric("*", step_metric="step")
    return started
