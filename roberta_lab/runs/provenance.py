"""`provenance.json`: when a run was made, on what machine, with what code and data; and whether that is still the code."""

import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

from roberta_lab.config import Damaged
from roberta_lab.data import verified
from roberta_lab.data.storage import write_json
from roberta_lab.runs.options import ROOT
from roberta_lab.training.rows import Cut

NAME = "provenance.json"
CODE = ("roberta_lab", "conf")  # of the repository: what can change a result
PACKAGES = ("torch", "lightning", "numpy", "tokenizers", "sentencex", "hydra-core", "omegaconf", "wandb")


class Git(TypedDict):
    """The code: its commit, and whether it has changes that are in none; None where that is not known."""

    commit: str | None
    dirty: bool | None


class Attempt(TypedDict, total=False):
    """One process that worked on a run; `end` and `seconds` are missing while it works, and when it was killed."""

    git: Git
    python: str
    packages: dict[str, str]
    hardware: dict[str, str | int | None]
    cut: dict[
        str, Any
    ]  # of pretraining: the fields of `Cut`; missing until the first step, and in attempts of older code
    command: list[str]  # that makes this run alone: sys.argv may be that of a whole grid or of a worker
    start: str
    end: str
    seconds: float


class Provenance(TypedDict):
    """The content of `provenance.json`: hashes of the data by name, and all attempts in their order."""

    data: dict[str, str]
    attempts: list[Attempt]


def read(run: Path) -> Provenance | None:
    """Return the provenance of the run in a folder; None where none is noted. Raises Damaged."""
    file = run / NAME
    if not file.is_file():
        return None
    found = verified.read_sealed(file, verified.way_out(file))
    if not found.keys() >= {"data", "attempts"}:
        raise Damaged.at(file, "is damaged: it has not what a run notes", verified.way_out(file))
    return {"data": found["data"], "attempts": found["attempts"]}


def _write(run: Path, noted: Provenance) -> None:
    write_json(run / NAME, verified.sealed(noted))


def begin_attempt(run: Path, data: dict[str, str], command: list[str]) -> None:
    """Note that this process starts to work on a run, with what code, packages and hardware."""
    earlier = read(run)
    attempt: Attempt = {
        "git": _git(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "hardware": {"platform": platform.platform(), "cpus": os.cpu_count(), "host": socket.gethostname()},
        "command": command,
        "start": now(),
    }
    _write(run, {"data": data, "attempts": [*(earlier["attempts"] if earlier else []), attempt]})


def _version(package: str) -> str | None:
    """Return the version of a package; None where it is not installed, as W&B need not be."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def note_cut(run: Path, cut: Cut) -> None:
    """Note how the newest attempt cuts its steps."""
    found = read(run)
    assert found is not None
    found["attempts"][-1]["cut"] = cut.to_json()
    _write(run, found)


def cuts(attempts: Iterable[Attempt]) -> tuple[Cut, ...]:
    """Return the cuts that a run was really made with, each from its `start` on.

    A cut of which no step was kept is left out, and so is one that is the same as before. Attempts of older code have none.
    """
    found: list[Cut] = []
    for cut in (Cut(**attempt["cut"]) for attempt in attempts if "cut" in attempt):
        found = [earlier for earlier in found if earlier.start < cut.start]
        if not found or replace(found[-1], start=cut.start) != cut:
            found.append(cut)
    return tuple(found)


def end_attempt(run: Path, seconds: float) -> list[Attempt]:
    """Note the end of the newest attempt, and return all attempts."""
    found = read(run)
    assert found is not None
    found["attempts"][-1] |= {"end": now(), "seconds": seconds}
    _write(run, found)
    return found["attempts"]


def code_since(run: Path) -> str | None:
    """Return what code made a run, if it is not that of now; None if it is, or if that is not known."""
    try:
        git = verified.read_sealed(run / NAME, "")["attempts"][-1]["git"]
        commit, dirty = git["commit"], git["dirty"]
    except (Damaged, OSError, LookupError, TypeError):
        return None
    if not commit or not _git()["commit"]:
        return None
    if dirty:
        return f"uncommitted code on {commit[:7]}"
    return f"the code of {commit[:7]}, changed since" if _git()["dirty"] or _differs(commit) else None


@cache
def _git() -> Git:
    if (ROOT / ".git").exists():  # else installed: a repository around it is not ours
        commit = _ask_git("rev-parse", "HEAD")
        status = _ask_git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
        if commit is not None and status is not None:
            return {"commit": commit, "dirty": bool(status)}
    return {"commit": None, "dirty": None}


@cache
def _differs(commit: str) -> bool:
    """Return whether a commit has other code than the newest; False where the commit is missing, as in a shallow clone."""
    return bool(_ask_git("diff", "--name-only", commit, "HEAD", "--", *CODE))


def _ask_git(*arguments: str) -> str | None:
    """Return what git answers, without its last line feed; None if it fails."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def now() -> str:
    """Return the local time with its offset, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
