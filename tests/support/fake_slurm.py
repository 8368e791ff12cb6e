"""SLURM's commands as small programs on PATH: they note what they were asked, and answer from files in a folder."""

import json
import stat
from pathlib import Path

import pytest

_COMMAND = """#!/bin/sh
printf '%s\\n' "$0 $*" >> {folder}/calls
case "${{0##*/}}" in
sbatch)
    number=$(cat {folder}/next); echo $((number + 1)) > {folder}/next
    for script in "$@"; do :; done
    cp "$script" {folder}/script-$number; printf '%s\\n' "$@" > {folder}/options-$number
    [ ! -e {folder}/refuses ] || {{ cat {folder}/refuses >&2; exit 1; }}
    echo "$number" ;;
squeue) [ ! -e {folder}/slow ] || exec sleep 9
    [ ! -e {folder}/forgotten ] || {{ echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }}
    [ ! -e {folder}/down ] || {{ echo "squeue: error: no controller" >&2; exit 1; }}
    cat {folder}/queue ;;
sacct) [ ! -e {folder}/no_account ] || {{ echo "Slurm accounting storage is disabled" >&2; exit 1; }}
    cat {folder}/account ;;
esac
"""


class FakeSlurm:
    """A cluster that runs nothing; a test says what its queue and its account hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, content in (("calls", ""), ("queue", ""), ("account", ""), ("next", "100\n")):
            (folder / name).write_text(content)
        (folder / "bin").mkdir()
        for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
            file = folder / "bin" / name
            file.write_text(_COMMAND.format(folder=folder))
            file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def holds(self, *jobs: tuple[str, str], restarts: int = 0, reason: str = "Priority") -> None:
        """Let the queue hold these jobs, each with its state."""
        lines = [f"{job}|{state}|{restarts}|9:00|{reason}|\n" for job, state in jobs]
        (self.folder / "queue").write_text("".join(lines))

    def has_ended(self, *jobs: tuple[str, str]) -> None:
        """Let the account say in which state these jobs ended."""
        (self.folder / "account").write_text("".join(f"{job}|{state}\n" for job, state in jobs))

    def calls(self, command: str) -> list[list[str]]:
        """Return the arguments of each call of a command."""
        lines = [line.split() for line in (self.folder / "calls").read_text().splitlines()]
        return [words[1:] for words in lines if Path(words[0]).name == command]

    def options(self, number: int) -> dict[str, str]:
        """Return the options with which an array was submitted."""
        lines = (self.folder / f"options-{number}").read_text().splitlines()
        return dict(line.removeprefix("--").partition("=")[::2] for line in lines if line.startswith("--"))

    def script(self, number: int) -> str:
        """Return the script of an array."""
        return (self.folder / f"script-{number}").read_text()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """The fake commands before all others on PATH."""
    fake = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", str(fake.folder / "bin"), prepend=":")
    return fake


def jobs_on_disk(outputs: Path) -> list[dict[str, str]]:
    """Return what was noted of all jobs, as it lies on the disk."""
    files = sorted(outputs.glob("slurm/*/submission.json"))
    return [job for file in files for job in json.loads(file.read_text())["jobs"]]
