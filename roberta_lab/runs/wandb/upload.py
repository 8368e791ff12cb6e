"""Uploading offline runs by W&B's own `wandb sync`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from roberta_lab.config import ConfigError, LoggerConfig
from roberta_lab.runs.wandb import offline

AT_ONCE = 100  # folders of one call of `wandb sync`: a command line has a limit
NO_KEY = "No API key"  # how `wandb sync` says it


def server() -> str:
    """Return the address of W&B's server: from the environment, from `wandb login`, or the public one."""
    import wandb

    return str(wandb.setup().settings.base_url)


def upload(folders: Sequence[Path], outputs: Path, logger: LoggerConfig) -> tuple[list[Path], str]:
    """Upload the folders, in their order. Return those that the server has now, and what `wandb sync` said.

    Runs keep the project and the entity that they were logged for, unless `logger` has others than the default ones. Raises
    ConfigError where no key for the server is known.
    """
    options = ["--entity", logger.entity] if logger.entity else []
    options += ["--project", logger.project] if logger.project != LoggerConfig().project else []
    for folder in folders:  # a mark of before the last lines were written
        for mark in folder.glob(f"*.wandb{offline.SYNCED}"):
            mark.unlink()
    said = []
    for start in range(0, len(folders), AT_ONCE):
        places = [str(folder.resolve()) for folder in folders[start : start + AT_ONCE]]
        command = [sys.executable, "-m", "wandb", "sync", "--include-online", *options, *places]
        environment = {**os.environ, "WANDB_DIR": str(outputs.resolve()), "WANDB_SILENT": "false"}
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
        )
        said.append(done.stderr + done.stdout)
        if NO_KEY in said[-1]:
            raise ConfigError("W&B's server wants a key. Allowed: after wandb login, or with WANDB_API_KEY=KEY.")
    return [folder for folder in folders if offline.is_uploaded(folder)], "".join(said).strip()
