"""Who made a run, when, on what, and with what code; and whether that is still the code."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from roberta_lab.runs.options import ROOT

CODE = ("roberta_lab", "conf")  # of the repository: what can change a result


def begun(command: list[str]) -> dict[str, Any]:
    """Who runs here and now: code, packages, hardware, start, and the command that makes this run alone, to be typed
    again: `sys.argv` is that of a whole grid, of a worker, or as Hydra wants it."""
    packages = ("torch", "lightning", "numpy", "tokenizers", "sentencex", "hydra-core", "omegaconf", "wandb")
    return {
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "hardware": {"platform": platform.platform(), "cpus": os.cpu_count(), "host": socket.gethostname()},
        "command": command,
        "start": now(),
    }


def code_since(path: Path) -> str | None:
    """What code made a run, if it is not that of now; None if it is, or if that is not known."""
    try:
        made = json.loads((path / "provenance.json").read_text())["attempts"][-1]["git"]
        commit, dirty = made["commit"], made["dirty"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if not commit or not _git()["commit"]:
        return None
    if dirty:
        return f"uncommitted code on {commit[:7]}"
    return f"the code of {commit[:7]}, changed since" if _git()["dirty"] or _differs(commit) else None


@cache
def _git() -> dict[str, Any]:
    """The commit, and whether the code has changes that are in none."""
    if not (ROOT / ".git").exists():  # installed: a repository around it is not ours
        return {"commit": None, "dirty": None}
    commit = _ask_git("rev-parse", "HEAD")
    status = _ask_git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    known = commit is not None and status is not None
    return {"commit": commit, "dirty": bool(status)} if known else {"commit": None, "dirty": None}


@cache
def _differs(commit: str) -> bool:
    """Whether the code of a commit is not that of the newest; False of a commit that is not there, as in a shallow clone."""
    names = _ask_git("diff", "--name-only", commit, "HEAD", "--", *CODE)
    return bool(names)


def _ask_git(*arguments: str) -> str | None:
    """What git says, without its last line feed; None if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def now() -> str:
    """Local time with its offset, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
