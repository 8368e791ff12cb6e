"""The console script: `roberta-lab COMMAND [hydra overrides]`, with one line for every mistake.

Heavy imports wait until a command needs them, so that help and mistakes answer at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from roberta_lab.cli import answer
from roberta_lab.cli.help import COMMANDS, help_of, usage
from roberta_lab.config import ConfigError, RankDied, RunInUse, Unfinished, one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from roberta_lab.data.storage import Json
    from roberta_lab.runs.jobs import Job
    from roberta_lab.runs.options import Outside
    from roberta_lab.runs.overrides import Override

ANSWERED = (ConfigError, RunInUse, RankDied, Unfinished)  # in one line
OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR)
_COMPLETION = ("-sc", "--shell-completion")
_HELP = {"-h", "--help", "help"}
_VERSION = {"-V", "--version", "version"}
_SHOWS = {"-c", "--cfg", "-i", "--info", "--hydra-help"}  # flags with which Hydra shows something and runs nothing
_MULTIRUN = {"-m", "--multirun"}
_ASKS = {*_MULTIRUN, *_SHOWS}  # flags with which Hydra does not run a sweep by itself


def main(argv: list[str] | None = None) -> int:
    """Run the console script. Returns 0, 2 for a user's mistake, 1 or 130 for a run that ended early; our own faults raise."""
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
    if arguments[0] in _VERSION:
        print(f"roberta-lab {(number := version('roberta_lab'))}")
        return 0, {"version": number}
    try:
        if arguments[0] not in _COMPLETION:
            return 0, _run(arguments[0], arguments[1:], as_json)
        _complete(arguments)
        return 0, None
    except ANSWERED as error:
        found = error.found if isinstance(error, Unfinished) else None
        return _failed(str(error), 2 if isinstance(error, ConfigError) else 1, found)
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        return _failed(f"{error}; see paths.outputs and paths.cache.", 1)
    except KeyboardInterrupt:
        return _failed("interrupted; the same command goes on from what is finished or saved.", 130)


def _failed(message: str, code: int, found: object = None) -> tuple[int, Json]:
    print(f"roberta-lab: {message}", file=sys.stderr)
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
    from roberta_lab.runs.overrides import assign, check_names, parse
    from roberta_lab.runs.surroundings import check_alone

    overrides = _one_sweep(name, [*parse(words), *(assign(key, word) for key, word in named.items())])
    check_names(overrides)
    if COMMANDS[name].trains:
        check_alone(name, overrides)
    if not _SHOWS.isdisjoint(flag.partition("=")[0] for flag in flags):
        flags, overrides = _of_one_job(flags, overrides)
    is_sweep = COMMANDS[name].sweeps and bool(_sweeps(overrides))
    if environment.under_agent():
        makes_several = is_sweep or name == "reproduce" or not {"-m", "--multirun"}.isdisjoint(flags)
        environment.check_one_run(name, makes_several)
    multirun = ["--multirun"] if is_sweep and _ASKS.isdisjoint(flags) else []
    return run_hydra(name, [*multirun, *flags], overrides, as_json)


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
    print(f"of the first job: {said}", file=sys.stderr)
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


def run_hydra(name: str, flags: list[str], overrides: Sequence[Override], as_json: bool = False) -> Json:
    """Hand one command to Hydra, and return its answer: of a multirun a list, in the order of the jobs.

    Raises ConfigError for an error of Hydra's composition, else the first failure of a job.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from roberta_lab.runs import compose, jobs, options, registration
    from roberta_lab.runs.overrides import texts
    from roberta_lab.runs.wandb import environment

    registration.register()
    jobs.forget()
    environment.forget()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach this function instead of Hydra's printer
    # argparse wants the flags first and the overrides in one piece
    before, sys.argv = sys.argv, ["roberta-lab", *flags, *texts(overrides), f"hydra.job.name={name}"]
    task = Task(as_json)
    try:
        hydra.main(version_base="1.3", config_path=str(options.CONF), config_name="config")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(compose.reason(error)) from error
    except YAMLError as error:  # of a file in conf/; others are checked before Hydra reads them
        raise ConfigError(" ".join(str(error).split())) from error
    finally:
        sys.argv = before
    if task.failures:
        raise task.failures[0]
    if isinstance(task.answer, list) and not _sweeps(overrides):
        _compare(
            [str(found["directory"]) for found in task.answer if isinstance(found, dict) and "run_id" in found],
            overrides,
        )
    return task.answer


def _compare(runs: list[str], overrides: Sequence[Override]) -> None:
    """Write and show the table of the runs of a multirun: what their settings change."""
    from roberta_lab.runs.jobs import Job, composed, composing
    from roberta_lab.runs.overrides import assign

    if len(runs) < 2:
        return
    own = [
        *(o for o in overrides if o.key_or_group == "paths.outputs"),
        assign("table.runs", [Path(r).name for r in runs]),
    ]
    with composing():
        config = composed(own)
    main_of("table")(Job("table", config, tuple(own)))


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


def _sweeps(overrides: Sequence[Override]) -> list[str]:
    """Return the names in `sweep=NAME`, `sweep=A,B` and `sweep=[A,B]`; none for `sweep=null`."""
    from roberta_lab.runs.overrides import value_text

    values = [value_text(o) for o in overrides if o.key_or_group == "sweep"]
    if not values or values[-1] == "null":
        return []
    return [name.strip() for name in values[-1].strip("[]").split(",")]


def _one_sweep(name: str, overrides: Sequence[Override]) -> Sequence[Override]:
    """Return the overrides with one sweep for Hydra: of several, or of `sweep=all`, all names go into `reproduce.sweeps`."""
    from roberta_lab.runs.options import groups
    from roberta_lab.runs.overrides import assign, check_names

    names = _sweeps(overrides)
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


class InWorkers:
    """A function that launchers may call in another process, which then learns what this one registered and opened."""

    def __getstate__(self) -> tuple[dict[str, object], Outside]:
        from roberta_lab.runs import options

        return self.__dict__, options.outside()

    def __setstate__(self, state: tuple[dict[str, object], Outside]) -> None:
        from roberta_lab.runs import options, registration

        registration.register()
        options.use(state[1])
        self.__dict__ |= state[0]


class Task(InWorkers):
    """What Hydra calls for each job."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.answer: Json = None
        self.failures: list[Exception] = []
        self.called: dict[Path, str] = {}  # in a multirun: folder of a run -> what tells it from the others

    def __call__(self, tree: DictConfig) -> Json | Exception:
        """Run one job; return its answer. A failure that a user can mend is returned too, for Hydra would add lines of its own."""
        from hydra.core.hydra_config import HydraConfig

        from roberta_lab.runs.identity import KINDS
        from roberta_lab.runs.jobs import job_of
        from roberta_lab.runs.wandb import environment

        if self.failures and isinstance(self.failures[-1], RankDied):
            return self.failures[-1]  # the machine is in doubt, and with it the rest of a sweep
        hydra = HydraConfig.get()
        try:
            job = job_of(hydra.job.name, hydra.overrides.task, tree)
            called = self.called[job.path] if self.called else None
            was_there = environment.under_agent() and job.kind in KINDS and job.is_complete
            self.answer = main_of(hydra.job.name)(replace(job, as_json=self.as_json, called=called))
            if was_there:
                from roberta_lab.runs.tracking import show_again

                show_again(job.config, job.path, job.kind, job.label, KINDS[job.kind].science(job.config))
        except ANSWERED as error:
            self.failures.append(error)
            if hydra.job.name in KINDS:  # Hydra made the run's folder beforehand; one that holds anything stays
                with suppress(OSError):
                    os.rmdir(hydra.runtime.output_dir)
            return error
        except BrokenPipeError:
            answer.close_stdout()
        return self.answer

    def returned(self, found: list[Json]) -> None:
        """Take the answers of all jobs of a multirun: those of other processes are not noted here."""
        self.answer = found


def main_of(name: str) -> Callable[[Job], Json]:
    """Return what a command does: the `main` of its file."""
    return importlib.import_module(f"roberta_lab.cli.{name}").main
