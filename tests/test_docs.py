"""Every command that the README and the docs show composes into jobs; every page and file they point to is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from fake_slurm import cluster as cluster

from roberta_lab.cli import launched, main
from roberta_lab.runs import data_checks, fingerprints
from roberta_lab.runs.compose import build

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "evidence").glob("*.md")),
]
SUBMITS = "reproduce.launch=slurm"
MAP = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"]


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if found := re.match(r"    (?:(?:srun|torchrun) (?:\S+ )*?)?(?:roberta-lab|-m roberta_lab) (.+)", line):
                yield page.name, f"roberta-lab {found[1]}"


@pytest.mark.parametrize(("page", "line"), [pair for pair in commands() if SUBMITS not in pair[1]])
def test_a_command_of_a_page_composes(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its jobs build; only the work is left out, and the user's files. Of seeds in a sweep, one."""
    monkeypatch.setattr(fingerprints, "hash_task_files", lambda task: {})
    monkeypatch.setattr(fingerprints, "hash_model_folder", lambda folder: {})
    jobs = []
    monkeypatch.setattr(launched.Task, "__call__", lambda self, cfg: jobs.append(build(cfg)))
    arguments = shlex.split(line, comments=True)[1:]
    if arguments[0] == "finetune" and any(a.startswith("sweep=") for a in arguments):
        arguments.append("sweep.finetune_seeds=[1]")
    one_job = [] if main.COMMANDS[arguments[0]].reads else ["trainer.jobs=1"]
    assert main.main([*arguments, *one_job]) == 0 and jobs


@pytest.mark.parametrize("line", sorted({line.partition(" #")[0] for _, line in commands() if SUBMITS in line}))
def test_a_command_that_submits_does(line: str, cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a SLURM that runs nothing, and without the user's files."""
    monkeypatch.setattr(fingerprints, "hash_task_files", lambda task: {})
    monkeypatch.setattr(data_checks, "check", lambda jobs: None)
    assert main.main(shlex.split(line, comments=True)[1:]) == 0 and cluster.calls("sbatch")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", page.read_text(encoding="utf-8"))
    own = [(page.parent / link if link else page, anchor) for link, anchor in links if "://" not in link]
    assert own and all(path.exists() for path, _ in own), links
    assert all(anchor in anchors(path) for path, anchor in own if anchor), links


def anchors(page: Path) -> set[str]:
    """The names by which links reach a page's headings: small letters, hyphens for blanks, no other signs."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_scripts_and_sweeps_that_pages_name_are_there_and_all_are_named() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {name for name in re.findall(r"`([a-z0-9_]+)`", text)}
    assert {path.stem for path in (ROOT / "sweeps").glob("*.yaml")} <= named
    assert {path.stem for path in (ROOT / "conf" / "task").glob("*.yaml")} <= named
    scripts = set(re.findall(r"`([a-z_]+\.py)`", text))
    assert all(list(ROOT.rglob(script)) for script in scripts)


@pytest.mark.parametrize("page", MAP, ids=lambda page: page.name)
def test_the_map_names_files_that_are_there(page: Path) -> None:
    """Names in capitals (`tasks/heads/HEAD.py`) stand for any file of their folder."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text(encoding="utf-8"))
    assert len(named) > 5
    for name in named:
        path = re.sub(r"[\w.-]*[A-Z]{3,}[\w./-]*", "", name) if re.search(r"[A-Z]{3,}", name) else name
        roots = (ROOT, ROOT / "roberta_lab")
        assert path.startswith("outputs/") or any((root / path).exists() for root in roots), name
