"""The console script: `roberta-lab COMMAND [hydra overrides]`, with one line for every mistake.

Heavy imports wait until a command needs them, so that help and mistakes answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING

from roberta_lab.cli import answer
from roberta_lab.cli.help import COMMANDS, help_of, usage
from roberta_lab.cli.launched import run_hydra
from roberta_lab.config import (
    ANSWERED,
    ConfigError,
    Unfinished,
    exit_code,
    of_the_machine,
    one_line,
    starters,
    stopping,
)
from roberta_lab.config.console import say, say_traceback
from roberta_lab.config.secrets import masked

if TYPE_CHECKING:
    from roberta_lab.data.storage import Json
    from roberta_lab.runs.overrides import Override

_COMPLETION = ("-sc", "--shell-completion")
_HELP = {"-h", "--help", "help"}
_VERSION = {"-V", "--version", "version"}
_SHOWS = {"-c", "--cfg", "-i", "--info", "--hydra-help"}  # flags with which Hydra shows something and runs nothing
_MULTIRUN = {"-m", "--multirun"}
_ASKS = {*_MULTIRUN, *_SHOWS}  # flags with which Hydra does not run a sweep by itself


def main(argv: list[str] | None = None) -> int:
    """Run the console script. Returns one of `EXIT_CODES`; our own faults raise."""
    if argv is None:
        sys.excepthook = _crashed
    try:
        place = _place(sys.argv[1:] if argv is None else argv)
    except ConfigError as error:
        return _refused(error)[0]
    if place is not None:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else torch shows a stack whenever a connection breaks
    if place is not None and place.rank:
        from roberta_lab.training.following import follow

        return follow(place)
    with stopping.listening():
        if place is None:
            return _answered(argv)
        from roberta_lab.training.started_ranks import lead

        try:
            return lead(place, lambda: _answered(argv))
        except KeyboardInterrupt as error:  # a signal while the others start or end
            return _refused(error)[0]


def _place(arguments: Sequence[str]) -> starters.Place | None:
    """Return which of the processes that srun or torchrun has started this one is, where the command makes runs with all of them."""
    command = COMMANDS.get(next((word for word in arguments if word != answer.FLAG), ""))
    return starters.place() if command is not None and command.joins else None


def _answered(argv: list[str] | None) -> int:
    given = sys.argv[1:] if argv is None else argv
    arguments = [word for word in given if word != answer.FLAG]
    if not arguments or arguments == given or not _HELP.isdisjoint(arguments):
        return _outcome(arguments, False)[0]
    try:
        with answer.alone_on_stdout():
            code, found = _outcome(arguments, True)
    except Exception as error:
        answer.write(answer.error(one_line(error), 1))
        raise
    answer.write(found)
    return code


def _outcome(arguments: list[str], as_json: bool) -> tuple[int, Json]:
    """Run the command. Returns the exit code and, for `--json`, the answer."""
    if not arguments or arguments[0] in _HELP:
        print(usage(), end="")
        return 0 if arguments else 2, None
    if arguments[0] in _VERSION or "--version" in arguments:
        print(f"roberta-lab {(number := version('roberta_lab'))}")
        return 0, {"version": number}
    try:
        if arguments[0] not in _COMPLETION:
            return 0, _run(arguments[0], arguments[1:], as_json)
        _complete(arguments)
        return 0, None
    except (Exception, KeyboardInterrupt) as error:
        return _refused(error)


def _refused(error: Exception | KeyboardInterrupt) -> tuple[int, Json]:
    """Say in one line why the command ended early; raise a fault of ours again."""
    if (stopped := stopping.behind(error)) is not None:
        return _failed(str(stopped), exit_code(stopped))
    if isinstance(error, ANSWERED):
        return _failed(str(error), exit_code(error), error.found if isinstance(error, Unfinished) else None)
    said = of_the_machine(error) if isinstance(error, OSError) else None
    if said is None:
        raise error
    return _failed(said, 1)


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show a fault of ours as Python would."""
    say_traceback(error)


def _failed(message: str, code: int, found: object = None) -> tuple[int, Json]:
    message = masked(message)
    say(f"roberta-lab: {message}")
    return code, answer.error(message, code, found)


def _run(name: str, arguments: list[str], as_json: bool) -> Json:
    """Answer a request for help, or parse the overrides and hand the command to Hydra, and return its answer."""
    if name not in COMMANDS:
        from roberta_lab.runs import known_words

        allowed = f"{known_words.command(name, list(COMMANDS))} Allowed: {', '.join(COMMANDS)}."
        raise ConfigError(f"{name}: no such command.{allowed}")
    from roberta_lab.runs.known_words import split_flags, without_dashes
    from roberta_lab.runs.outside import open_places
    from roberta_lab.runs.wandb import environment

    if "--help" in arguments or "-h" in arguments:
        open_places(arguments)  # whose options help lists
        print(help_of(name), end="")
        return None
    if environment.under_agent():
        arguments = environment.without_hyphens(arguments)
    named, arguments = _named(name, arguments)
    arguments = open_places(without_dashes(arguments))
    flags, words = split_flags(arguments)
    if as_json and (shows := [flag for flag in flags if flag.partition("=")[0] in _SHOWS]):
        raise ConfigError(f"{answer.FLAG} {shows[0]}: what Hydra shows is text; leave one of them out.")
    from roberta_lab.runs.asked import expect_one_job
    from roberta_lab.runs.overrides import assign, check_names, expect_unmasked, parse, sweep_names

    given = [*parse(words), *(assign(key, word) for key, word in named.items())]
    expect_unmasked(given)
    _expect_read(name, given)
    overrides = _one_sweep(name, given)
    expect_one_job(overrides)
    check_names(overrides)
    if COMMANDS[name].trains and not COMMANDS[name].joins:
        starters.check_alone(name)
    if COMMANDS[name].many_sweeps and sweep_names(overrides):
        flags = _of_whole_tables(flags, overrides)
    if not _SHOWS.isdisjoint(flag.partition("=")[0] for flag in flags):
        flags, overrides = _of_one_job(flags, overrides)
    is_sweep = COMMANDS[name].sweeps and bool(sweep_names(overrides))
    if environment.under_agent():
        makes_several = is_sweep or name == "reproduce" or not {"-m", "--multirun"}.isdisjoint(flags)
        environment.check_one_run(name, makes_several)
    multirun = ["--multirun"] if is_sweep and _ASKS.isdisjoint(flags) else []
    return run_hydra(name, [*multirun, *flags], overrides, as_json)


def _expect_read(name: str, overrides: Sequence[Override]) -> None:
    """Raise ConfigError for an override that the command would ignore."""
    from roberta_lab.runs import asked

    command = COMMANDS[name]
    if command.reads:
        asked.expect_read(name, command.reads, overrides)
    if not (command.sweeps or command.many_sweeps or command.rows):
        asked.expect_no_sweep(name, overrides)


def _of_whole_tables(flags: list[str], overrides: Sequence[Override]) -> list[str]:
    """Return the flags without those of a multirun, which would take a table apart. Raises ConfigError for several values."""
    kept = [flag for flag in flags if flag not in _MULTIRUN]
    if kept != flags and (several := [o.input_line for o in overrides if o.is_sweep_override()]):
        raise ConfigError(
            f"{several[0]}: several values make several tables. Allowed: one value, or sweep=[NAME,NAME]."
        )
    return kept


def _of_one_job(flags: list[str], overrides: Sequence[Override]) -> tuple[list[str], list[Override]]:
    """Return the flags without those of a multirun, and the overrides of its first job, of which Hydra shows something."""
    from roberta_lab.runs.overrides import parse

    kept = [flag for flag in flags if flag not in _MULTIRUN]
    if kept == flags:
        return flags, [*overrides]
    chosen = [
        parse([f"{o.get_key_element()}={next(o.sweep_string_iterator())}"])[0] if o.is_sweep_override() else o
        for o in overrides
    ]
    said = " ".join(o.input_line or "" for o, own in zip(chosen, overrides, strict=True) if o is not own)
    say(f"of the first job: {said}")
    return kept, chosen


def _named(name: str, arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the words with which a command begins, whatever they look like, by their keys; and the other arguments."""
    keys = COMMANDS[name].words
    if len(arguments) < len(keys) or any(word.startswith("-") for word in arguments[: len(keys)]):
        said = " and ".join(key.rpartition(".")[2].upper() for key in keys)
        raise ConfigError(
            f"{name}: {said} are missing, the first words. Allowed: roberta-lab {name} --help shows some."
        )
    return dict(zip(keys, arguments, strict=False)), arguments[len(keys) :]


def _complete(arguments: list[str]) -> None:
    """Print what tab completion asks for: Hydra knows groups, options and keys, but not the command before them."""
    line = os.environ.get("COMP_LINE", "")
    program, _, typed = line.partition(" ")
    name, space, overrides = typed.lstrip().partition(" ")
    if arguments[1:] and arguments[1].startswith("query=") and not space:
        print(" ".join(COMMANDS))
        return
    with suppress(ConfigError):  # a folder's name may be half typed
        from roberta_lab.runs.outside import open_places

        overrides = " ".join(open_places(overrides.split(" ")))
    os.environ["COMP_LINE"] = f"{program} {overrides.replace(f'{answer.FLAG} ', '')}"
    run_hydra(name if name in COMMANDS else "pretrain", arguments, ())


def _one_sweep(name: str, overrides: Sequence[Override]) -> Sequence[Override]:
    """Return the overrides with one sweep for Hydra: of several, or of `sweep=all`, all names go into `reproduce.sweeps`."""
    from roberta_lab.runs.options import groups
    from roberta_lab.runs.overrides import assign, check_names, sweep_names

    names = sweep_names(overrides)
    if not names and (own := [o for o in overrides if o.key_or_group.startswith("sweep.")]):
        raise ConfigError(
            f"{own[0].input_line}: of which sweep? Add sweep=NAME. Allowed: {', '.join(groups()['sweep'])}."
        )
    if not names and COMMANDS[name].needs_sweep:
        raise ConfigError(f"{name}: sweep=NAME is missing. Allowed: {', '.join(groups()['sweep'])}.")
    if not COMMANDS[name].many_sweeps or (len(names) < 2 and names != ["all"]):
        return overrides
    names = list(dict.fromkeys(groups()["sweep"] if names == ["all"] else names))
    check_names(assign("sweep", one) for one in names)
    rest = [o for o in overrides if o.key_or_group != "sweep"]
    return [*rest, assign("sweep", names[0]), *([assign("reproduce.sweeps", names)] if len(names) > 1 else [])]
