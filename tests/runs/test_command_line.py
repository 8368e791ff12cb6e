"""Commands that are shown can be pasted: a shell hands on every override as it is, on however many lines."""

import shlex
import subprocess

import pytest

from roberta_lab.cli import main
from roberta_lab.runs.command_line import LONGEST, WIDTH, folded, typed

AWKWARD = [
    "task.path=my files/GLUE",
    "sweep.seeds=[1,2]",
    "++data_mix.sources.x.path='a, b'",
    "a=$HOME;*",
    "b=\\",
    "c=it's",
    'd="',
    "e=ü\nf",
]


def as_a_shell_reads(command: str) -> list[str]:
    done = subprocess.run(["sh", "-c", command.replace("roberta-lab", "printf '%s\\0'", 1)], capture_output=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("times", [1, 3])
def test_a_shell_hands_on_what_was_meant(times: int) -> None:
    shown = folded("finetune", AWKWARD * times)
    assert as_a_shell_reads(shown) == ["finetune", *AWKWARD * times]
    assert (" \\\n" in shown) == (times > 1)
    assert as_a_shell_reads(typed("finetune", AWKWARD * times)) == ["finetune", *AWKWARD * times]


def test_a_long_command_is_broken_between_overrides_and_a_short_one_is_not() -> None:
    short = [f"a={'x' * (LONGEST - len('roberta-lab plan a='))}"]
    assert len(line := folded("plan", short)) == LONGEST and "\n" not in line
    long = [f"key{i}={'x' * (20 + i)}" for i in range(12)]
    lines = folded("pretrain", long).split(" \\\n")
    assert len(lines) > 2 and all(len(line) + 2 <= WIDTH for line in lines)
    assert " ".join(line.strip() for line in lines) == " ".join(["roberta-lab pretrain", *long])


def test_the_command_for_a_missing_run_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["finetune", "paths.outputs=my runs", "task=pydoc_topic"]) == 2
    said = capsys.readouterr().err
    assert shlex.split(said[said.index("roberta-lab pretrain") :]) == [
        "roberta-lab",
        "pretrain",
        "paths.outputs=my runs",
    ]
