"""The ids of `pinned_ids.yaml`: what a user typed once addresses the same run today, whatever is moved in the code.

The digests of sweeps in the same file are compared in `test_sweeps.py`, which expands all sweeps anyway.
"""

import dataclasses
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from roberta_lab.config import Config
from roberta_lab.config.later_keys import later
from roberta_lab.runs import identity, jobs

PINNED = yaml.safe_load((Path(__file__).parent / "pinned_ids.yaml").read_text(encoding="utf-8"))
LINES = [(line, run_id) for section in PINNED["ids"].values() for line, run_id in section.items()]


def program(*arguments: str) -> int:
    """What `roberta-lab ARGUMENTS` does. This is the only place that knows where the program begins."""
    from roberta_lab.cli.main import main

    return main(list(arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `pinned_ids.yaml`, each with exactly the bytes that stand there."""
    made = tmp_path_factory.mktemp("pinned")
    for name, text in PINNED["files"].items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(text.encode())
    return made


@pytest.mark.parametrize(("line", "run_id"), LINES, ids=[line for line, _ in LINES])
def test_a_command_addresses_the_same_run(
    line: str, run_id: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the folder that Hydra is told to use, which is that of the run. Nothing is started."""
    monkeypatch.chdir(folder)
    before = sorted(os.listdir())
    status = program(*shlex.split(line), "--cfg", "all", "--package", "hydra.run", "--resolve")
    said = capsys.readouterr()
    assert status == 0, said.err
    place = re.search(r"^dir: (\S+)$", said.out, re.MULTILINE)
    assert place is not None and place[1] == f"outputs/{line.split()[0]}/{run_id}"
    assert sorted(os.listdir()) == before
    [job] = jobs._known.values()
    assert identity.directory(with_one_more_key(job.config), job.kind).name == run_id


def with_one_more_key(config: Config) -> Config:
    """The config as if each part of its science had a key more, at its neutral value, which is not its default."""

    def wider(part: Any) -> Any:
        kind = dataclasses.make_dataclass("Wider", [("added", int, later(3, default=4))], bases=(type(part),))
        return kind(**vars(part), added=3)

    parts = (*identity.SCIENCE, *identity.LATER_GROUPS, "nsp", "task", "finetune")
    return dataclasses.replace(config, **{name: wider(getattr(config, name)) for name in parts})


def test_the_pinned_commands_cover_every_option_that_is_science() -> None:
    """At least one command for each of these, so that no kind of run is forgotten."""
    lines = " ".join(line for line, _ in LINES)
    for word in (
        *("sentence_pair", "full_sentences", "doc_sentences", "static", "nsp=off", "wordpiece_30k"),
        *("fp16", "bf16", "hub", "repeats", "weight", "tokenizer.path", "pretrained.path", "pretrained=none"),
        *("finetune.init_from", "task.hub.revision", "task.stride", "task.columns", "scale=mini", "scale=paper"),
    ):
        assert word in lines, word
    assert len(LINES) >= 48
