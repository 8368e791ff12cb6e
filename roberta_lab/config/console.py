"""What a command says beside its answer, to the person who waits: on stderr, so that stdout holds the answer alone."""

import sys
import traceback

from roberta_lab.config.formatting import visible
from roberta_lab.config.secrets import masked

_said: set[str] = set()


def say(line: str) -> None:
    """Print a line at once, without secrets. What in it would act on a terminal is spelled out."""
    print(visible(masked(line)), file=sys.stderr, flush=True)


def say_traceback(error: BaseException) -> None:
    """Show where a fault of ours happened, without the secrets of the command."""
    say("".join(traceback.format_exception(error)).rstrip("\n"))


def say_once(line: str, key: str = "") -> None:
    """Say something once in a command; of lines with one key the first."""
    if (key or line) not in _said:
        say(line)
    _said.add(key or line)


def forget() -> None:
    """Let `say_once` say everything once more: a new command begins."""
    _said.clear()
