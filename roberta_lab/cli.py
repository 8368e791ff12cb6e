"""`roberta-lab COMMAND [hydra overrides]`: dispatch, help, and one line for every mistake.

Heavy imports wait until a command needs them, so that help and mistakes answer at once.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from typing import Any, NamedTuple

from roberta_lab.config import ConfigError, RunInUse


class Command(NamedTuple):
    """What `--help` says of a command; its `main` is in `roberta_lab/commands/<name>.py`."""

    summary: str
    examples: tuple[str, str, str]
    sweeps: bool = False  # `sweep=NAME` makes it a multirun


COMMANDS = {
    "reproduce": Command(
        "everything that is missing for a table, then the table",
        ("sweep=table1_masking", "sweep=table1_masking sweep.only=[dynamic]", "sweep=table1_masking scale=mini"),
    ),
    "prepare": Command(
        "text -> documents -> sentences -> tokenizer -> token store",
        ("", "tokenizer.vocab_size=8192", "paths.cache=elsewhere/cache"),
    ),
    "inspect": Command(
        "decodes examples of the composed config: specials, masked, random and kept tokens, segments, the NSP label",
        ("", "masking=static inspect.epoch=3", "input_format=full_sentences inspect.examples=5"),
    ),
    "pretrain": Command(
        "one pretraining run; -m or sweep=NAME makes it several",
        ("masking=static", "-m masking=static,dynamic seed=1,2,3", "sweep=table1_masking sweep.only=[dynamic]"),
        sweeps=True,
    ),
    "finetune": Command(
        "one downstream run, from the pretrained run that the same overrides address; -m or sweep=NAME makes it several",
        ("masking=static task=pydoc_span", "-m task=pydoc_topic finetune.seed=1,2,3", "sweep=table1_masking"),
        sweeps=True,
    ),
    "table": Command(
        "renders what is there of a sweep (Markdown, CSV, one HTML page) and says what is missing",
        ("sweep=table1_masking", "sweep=table1_masking sweep.only=[static]", "sweep=table1_masking scale=mini"),
    ),
}

_TEMPLATE = """roberta-lab {name} [overrides]: {summary}

Examples:
{examples}

Groups (choose one option each: group=option):
{groups}

Keys: any value of the composed config (key=value); `roberta-lab {name} --cfg job` prints them all with their values.
Hydra's flags: --cfg job | --info | -m (multirun) | --shell-completion | --hydra-help.
"""


def _usage() -> str:
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return (
        "roberta-lab COMMAND [hydra overrides]\n\n"
        + "\n".join(lines)
        + "\n\n`roberta-lab COMMAND --help` shows its groups and examples.\n"
    )


def _help(name: str) -> str:
    from roberta_lab.composition import groups

    command = COMMANDS[name]
    return _TEMPLATE.format(
        name=name,
        summary=command.summary,
        examples="\n".join(f"  roberta-lab {name} {example}".rstrip() for example in command.examples),
        groups="\n".join(f"  {group:<13} {' | '.join(options)}" for group, options in groups().items()),
    )


def main(argv: list[str] | None = None) -> int:
    """The console script. Returns 0, or 2 for a user's mistake; the project's own faults raise."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage(), end="")
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    try:
        if name not in COMMANDS:
            from roberta_lab.composition import nearest

            raise ConfigError(
                f"{name}: no such command.{nearest(name, list(COMMANDS))} Allowed: {', '.join(COMMANDS)}."
            )
        if "--help" in rest or "-h" in rest:
            print(_help(name), end="")
            return 0
        run_command(name, rest)
    except ConfigError as error:
        print(f"roberta-lab: {error}", file=sys.stderr)
        return 2
    except RunInUse as error:
        print(f"roberta-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("roberta-lab: interrupted; the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130
    return 0


def run_command(name: str, arguments: list[str]) -> None:
    """Hands one command to Hydra; its composition errors come back as ConfigError."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from roberta_lab import composition, registration

    registration.register()
    composition.check_override_names([a for a in arguments if not a.startswith("-") and "=" in a])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach this function instead of Hydra's printer
    multirun = ["--multirun"] if COMMANDS[name].sweeps and _names_a_sweep(arguments) else []
    before, sys.argv = sys.argv, ["roberta-lab", *multirun, *arguments, f"hydra.job.name={name}"]
    failures: list[Exception] = []
    try:
        job = functools.partial(_job, failures)
        hydra.main(version_base="1.3", config_path=str(composition.CONF), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    finally:
        sys.argv = before
    if failures:
        raise failures[0]


def _names_a_sweep(arguments: list[str]) -> bool:
    chosen = [a.partition("=")[2] for a in arguments if a.startswith("sweep=")]
    asks = {"-m", "--multirun", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion"}
    return bool(chosen) and chosen[-1] != "null" and asks.isdisjoint(arguments)


def _job(failures: list[Exception], cfg: Any) -> Exception | None:
    """One job of Hydra's. What a user can mend is returned, not raised: Hydra would add lines of its own."""
    from hydra.core.hydra_config import HydraConfig

    from roberta_lab.composition import build

    hydra = HydraConfig.get()
    command = importlib.import_module(f"roberta_lab.commands.{hydra.job.name}")
    try:
        command.main(build(cfg), list(hydra.overrides.task))
    except (ConfigError, RunInUse) as error:
        failures.append(error)
        return error
    return None


def _one_line(error: BaseException) -> str:
    """The deepest cause, in one line that names the key or the override."""
    chain = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    for link in chain:
        if isinstance(link, ConfigError):
            return str(link)
    deepest = chain[-1]
    where = next((found for link in chain for found in (getattr(link, "full_key", None), getattr(link, "override", None)) if found), None)  # fmt: skip
    first = str(deepest).strip().splitlines()[0]
    return f"{where}: {first}" if where else first
