"""The commands (`commands.yaml`) with what `--help` says of them."""

from pathlib import Path
from typing import NamedTuple

import yaml

from roberta_lab.config.errors import EXIT_CODES


class Command(NamedTuple):
    """What `--help` says of a command; its `main(job)` is in `roberta_lab/cli/<name>.py`."""

    summary: str
    examples: list[str]
    sweeps: bool = False  # `sweep=NAME` makes it a multirun
    needs_sweep: bool = False
    words: tuple[str, ...] = ()  # keys that the first words of the command are the values of
    many_sweeps: bool = False  # `sweep=all` and `sweep=[NAME,NAME]` too
    rows: bool = False  # its words may be rows of `sweep=NAME`
    reads: tuple[str, ...] = ()  # the only parts of the config that it reads; empty: all of it
    trains: bool = False  # makes runs
    joins: bool = False  # with all the processes that srun or torchrun has started of it


_ENTRIES = yaml.safe_load(Path(__file__).with_name("commands.yaml").read_text(encoding="utf-8"))
COMMANDS = {name: Command(**entry) for name, entry in _ENTRIES.items()}

_FIRST_STEPS = (
    "First steps: `roberta-lab reproduce sweep=table1_masking` (minutes on a laptop), then `roberta-lab COMMAND --help`"
    " for a command's groups, defaults and examples. Every command takes `--json`."
)
_TEMPLATE = """roberta-lab {name}{words} [overrides]: {summary}

Examples:
{examples}

Groups (choose one option each: group=option; * is chosen when you say nothing):
{groups}

Your own, from any folder laid out as conf/: --config-dir DIR (or hydra.searchpath=[file://DIR]), sweep=path/to/NAME.yaml
Keys: any value of the composed config (key=value); `roberta-lab {name}{words} --cfg job` prints them all with their values.
For programs: --json prints one JSON document with what was found, and all else on standard error.
Hydra's flags: --cfg job | --info | -m (multirun) | --hydra-help. Tab completion: eval "$(roberta-lab -sc install=bash)"
"""
_YOUR_OWN = "(your own: DIR/experiment/NAME.yaml)"


def usage() -> str:
    """Return what `roberta-lab --help` prints."""
    commands = "\n".join(f"  {name:<10} {command.summary}" for name, command in COMMANDS.items())
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    return f"roberta-lab COMMAND [hydra overrides]\n\n{commands}\n\n{_FIRST_STEPS}\n\nExit codes:\n{codes}\n"


def help_of(name: str) -> str:
    """Return what `roberta-lab COMMAND --help` prints."""
    from roberta_lab.runs.options import default_options, groups

    command, chosen = COMMANDS[name], default_options()
    return _TEMPLATE.format(
        name=name,
        words="".join(f" {key.rpartition('.')[2].upper()}" for key in command.words),
        summary=command.summary,
        examples="\n".join(f"  roberta-lab {name} {example}".rstrip() for example in command.examples),
        groups="\n".join(
            f"  {group:<13} {' | '.join('*' * (chosen.get(group) == option) + option for option in options) or _YOUR_OWN}"
            for group, options in groups().items()
        ),
    )
