"""The examples of docs/extending.md: put into a copy of the project as the page says, their tests and commands run there."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
FILES = ("roberta_lab", "conf", "sweeps", "tests", "pyproject.toml")
TINY = [
    *("data_mix=own", "data_mix.own.path=tests/earlier_runs/text", "data_mix.own.document_separator=blank_line"),
    *("data_mix.held_out_share=0.2", "tokenizer.vocab_size=300", "input_format.max_length=32", "model.layers=1"),
    *("model.hidden=16", "model.heads=2", "model.ffn=32", "batch_size.sequences=8", "batch_size.steps=3"),
    *("optimizer.warmup_steps=1", "trainer.accelerator=cpu", "trainer.num_validations=1", "trainer.progress=false"),
    *("prepare.workers=1", "logger.wandb=off", "trainer.jobs=1"),
]


def blocks() -> list[str]:
    """The indented blocks of the page, as they would stand in a file; one that begins with a comment ends the one before."""
    text = re.sub(r"(?m)^    (?=(# \S+\.\w+|\$ ))", "\0    ", PAGE.read_text(encoding="utf-8"))
    found = []
    for part in text.split("\0")[1:]:
        lines = part.splitlines()
        end = next((i for i, line in enumerate(lines) if line and not line.startswith("    ")), len(lines))
        found.append(textwrap.dedent("\n".join(lines[:end])).strip() + "\n")
    return found


def place(block: str, copy: Path) -> None:
    """Puts a block where its first line says. Raises when there is no such place, or several."""
    head, _, body = block.partition("\n")
    name, _, where = head.removeprefix("# ").partition(", ")
    file = copy / name
    if not where:
        assert not file.exists(), f"{name} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body)
        return
    verb, _, target = where.partition(" ")
    text, pattern = file.read_text(), re.escape(target)
    if verb == "in":
        changed, number = re.subn(rf"(?m)^({pattern}\b[^=]*= \{{)", lambda m: f"{m[1]}{body.strip()} ", text)
    elif verb == "above":
        pattern = rf"(?m)^(?=(?:@dataclass\nclass )?{pattern}\b(?!\(|\.))"
        changed, number = re.subn(pattern, lambda m: f"{body}\n\n", text, count=1)
    else:
        assert verb == "below", head
        changed, number = re.subn(rf"(?m)^( *)(.*{pattern}.*\n)", lambda m: m[0] + textwrap.indent(body, m[1]), text)
    assert number == 1, f"{head}: {number} such places"
    file.write_text(changed)


def commands() -> Iterator[list[str]]:
    for block in blocks():
        if block.startswith("$ roberta-lab "):
            yield from (shlex.split(line)[2:] for line in block.splitlines())


OWN = [block.partition("\n")[0].removeprefix("# ") for block in blocks() if block.startswith("# tests/")]
GENERAL = [  # of the tests that run over all of a kind, those that see what the page adds
    "tests/model/test_schedule.py",
    "tests/model/test_optimizer.py",
    "tests/config/test_later_keys.py::test_every_new_key_of_science_has_a_neutral_value",
    "tests/config/test_later_keys.py::test_every_group_of_science_is_in_ids",
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with all examples in it, and the folder MINE beside it."""
    made = tmp_path_factory.mktemp("extended")
    for name in FILES:
        ignored = shutil.ignore_patterns("__pycache__")
        (
            shutil.copytree(ROOT / name, made / name, ignore=ignored)
            if (ROOT / name).is_dir()
            else shutil.copy(ROOT / name, made)
        )
    for block in blocks():
        if block.startswith("# "):
            place(block, made)
    return made


@pytest.fixture(scope="module")
def codes(copy: Path) -> dict[str, int]:
    """What pytest and each command of the page return. All in one process, which reads torch and composes once."""
    tests = ["-q", "-p", "no:cacheprovider", *OWN, *GENERAL]
    code = f"""
import pytest
codes = {{"pytest": int(pytest.main({tests!r}))}}
from roberta_lab.cli.main import main
for line in {[[*line, *TINY] for line in commands()]!r}:
    codes[" ".join(line)] = main(line)
print("\\ncodes", codes)
"""
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "\ncodes " in done.stdout, done.stdout + done.stderr
    output, _, found = done.stdout.rpartition("\ncodes ")
    print(output, done.stderr)  # which pytest shows of a test that fails
    return ast.literal_eval(found)


def test_the_tests_of_the_examples_pass_and_so_do_those_that_run_over_all(codes: dict[str, int]) -> None:
    assert len(OWN) == 3
    assert codes["pytest"] == 0


def test_the_commands_of_the_page_run(copy: Path, codes: dict[str, int]) -> None:
    """Runs have three steps, and of a sweep no finetuning is made."""
    assert {line[0] for line in commands()} == {"pretrain", "reproduce", "table"}
    assert len(codes) == 1 + len(list(commands()))
    assert not any(code for name, code in codes.items() if name != "pytest"), codes
    assert "val/detection_acc" in "".join(path.read_text() for path in copy.glob("outputs/pretrain/*/result.json"))
    assert len(list(copy.glob("outputs/pretrain/*/result.json"))) >= 6
