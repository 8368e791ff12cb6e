"""Commands that are shown can be pasted: a shell hands on every override as it is, on however many lines."""

import shlex
import subprocess

import pytest

from roberta_lab.cli import main
from roberta_lab.config import PathsConfig
from roberta_lab.runs.command_line import LONGEST, WIDTH, folded, places, typed
from roberta_lab.runs.overrides import texts

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


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_a_task_is_shown_on_one_device(command: str) -> None:
    """As it is refused on several, which the pretraining run before it may have had."""
    words = ["trainer.devices=2", "masking=static", "++trainer.nodes=2", "trainer=ddp", "trainer.jobs=2"]
    assert typed(command, words) == folded(command, words) == f"roberta-lab {command} masking=static trainer.jobs=2"
    assert typed("pretrain", words) == f"roberta-lab pretrain {' '.join(words)}"
    many = [f"key{i}={'x' * (20 + i)}" for i in range(12)]
    assert "devices" not in folded(command, [*words, *many])


def test_where_runs_lie_is_said_unless_it_is_the_usual_place() -> None:
    def said(outputs: str, cache: str) -> list[str]:
        return texts(places(PathsConfig(outputs=outputs, cache=cache)))

    assert said("outputs", "outputs/cache") == []
    assert said("else/where", "else/where/cache") == ["paths.outputs=else/where"]
    assert said("outputs", "/shared/cache") == ["paths.cache=/shared/cache"]


def test_the_command_for_a_missing_run_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["finetune", "paths.outputs=my runs", "task=pydoc_topic"]) == 2
    said = capsys.readouterr().err
    assert shlex.split(said[said.index("roberta-lab pretrain") :]) == [
        "roberta-lab",
        "pretrain",
        "paths.outputs=my runs",
    ]
