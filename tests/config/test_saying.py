"""What a command says beside its answer goes to stderr, at once, without secrets and without what a terminal obeys."""

from pathlib import Path

import pytest

from roberta_lab.config import console


def test_a_line_is_said_without_secrets_and_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("job 1 (logger.notes=https://u:p/w@h/x\x1b[2J): it died")
    assert capsys.readouterr() == ("", "job 1 (logger.notes=https://***@h/x\\x1b[2J): it died\n")


def test_once_is_once_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for line, key in (("a", "kind"), ("b", "kind"), ("c", ""), ("c", "")):
        console.say_once(line, key)
    assert capsys.readouterr().err == "a\nc\n"
    console.forget()
    console.say_once("c")
    assert capsys.readouterr().err == "c\n"
    console.forget()


def test_a_fault_of_ours_is_shown_with_its_place_and_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("task.path=https://user:secretsecret@host/x")
    except RuntimeError as error:
        console.say_traceback(error)
    said = capsys.readouterr().err
    assert Path(__file__).name in said and "https://***@host/x" in said and "secretsecret" not in said
