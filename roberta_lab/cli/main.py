"""`roberta-lab COMMAND [hydra overrides]`: dispatch, help, and one line for every mistake.

Heavy imports wait until a command needs them, so that help and mistakes answer at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from roberta_lab.config import ConfigError, RankDied, RunInUse, Unfinished


class Command(NamedTuple):
    """What `--help` says of a command; its `main` is in `roberta_lab/commands/<name>.py`."""

    summary: str
    examples: tuple[str, str, str]
    sweeps: bool = False  # `sweep=NAME` makes it a multirun
    needs_sweep: bool = False
    many_sweeps: bool = False  # `sweep=all` and `sweep=[NAME,NAME]` too


COMMANDS = {
    "reproduce": Command(
        "everything that is missing for a table, then the table; sweep=all for every table",
        ("sweep=table1_masking", "sweep=table1_masking sweep.only=[dynamic] scale=mini", "sweep=all"),
        needs_sweep=True,
        many_sweeps=True,
    ),
    "prepare": Command(
        "text -> documents -> sentences -> tokenizer -> token store",
        ("", "tokenizer.vocab_size=8192", "paths.cache=elsewhere/cache"),
    ),
    "inspect": Command(
        "decodes examples as the model sees them, and counts a whole epoch: lengths, padding, masks, NSP labels",
        (
            "",
            "masking=static inspect.epoch=3",
            "input_format=full_sentences inspect.examples=5 inspect.statistics=false",
        ),
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
    "export": Command(
        "a complete pretraining run -> a folder that Hugging Face's Auto classes load, with a model card",
        ("", "masking=static export.path=my-model", "input_format=full_sentences seed=2"),
    ),
    "predict": Command(
        "fills <mask> in texts, gives a vector per text, or does with new text what a run was finetuned for",
        (
            "'predict.text=Return the <mask> of x.'",
            "task=pydoc_topic finetune.seed=2 predict.what=task predict.file=texts.jsonl predict.output=classes.jsonl",
            "pretrained.path=FOLDER predict.what=embed predict.pooling=mean predict.file=- predict.output=vectors.npy",
        ),
    ),
    "plan": Command(
        "before spending anything: tokens, steps, FLOPs, memory, hours and cost of a run or of each row of a sweep",
        (
            "sweep=table4_data scale=paper plan.devices=1024",
            "model=base batch_size=bsz2k scale=mini plan.hardware=a100 plan.price_per_hour=2",
            "sweep=all plan.tokens_per_second=17600 plan.output=plan.md",
        ),
        many_sweeps=True,
    ),
    "table": Command(
        "renders what is there of a sweep (Markdown, CSV, one HTML page) and says what is missing",
        ("sweep=table1_masking", "sweep=table1_masking sweep.only=[static]", "sweep=table1_masking scale=mini"),
        needs_sweep=True,
    ),
}

OF_THE_MACHINE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR)
_COMPLETION = ("-sc", "--shell-completion")
_TEMPLATE = """roberta-lab {name} [overrides]: {summary}

Examples:
{examples}

Groups (choose one option each: group=option; * is chosen when you say nothing):
{groups}

Keys: any value of the composed config (key=value); `roberta-lab {name} --cfg job` prints them all with their values.
Hydra's flags: --cfg job | --info | -m (multirun) | --hydra-help. Tab completion: eval "$(roberta-lab -sc install=bash)"
"""


def _usage() -> str:
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return (
        "roberta-lab COMMAND [hydra overrides]\n\n"
        + "\n".join(lines)
        + "\n\nFirst steps: `roberta-lab reproduce sweep=table1_masking` (minutes on a laptop), then `roberta-lab COMMAND --help`"
        " for a command's groups, defaults and examples.\n"
    )


def _help(name: str) -> str:
    from roberta_lab.runs.options import default_options, groups

    command, chosen = COMMANDS[name], default_options()
    return _TEMPLATE.format(
        name=name,
        summary=command.summary,
        examples="\n".join(f"  roberta-lab {name} {example}".rstrip() for example in command.examples),
        groups="\n".join(
            f"  {group:<13} {' | '.join('*' * (chosen.get(group) == option) + option for option in options)}"
            for group, options in groups().items()
        ),
    )


def main(argv: list[str] | None = None) -> int:
    """The console script. Returns 0, or 2 for a user's mistake; the project's own faults raise."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage(), end="")
        return 0 if arguments else 2
    if arguments[0] in _COMPLETION:
        _complete(arguments)
        return 0
    name, rest = arguments[0], arguments[1:]
    try:
        if name not in COMMANDS:
            from roberta_lab.config import nearest

            raise ConfigError(
                f"{name}: no such command.{nearest(name, list(COMMANDS))} Allowed: {', '.join(COMMANDS)}."
            )
        if "--help" in rest or "-h" in rest:
            print(_help(name), end="")
            return 0
        if COMMANDS[name].needs_sweep and _chosen_sweep(rest) is None:
            from roberta_lab.runs.options import groups

            raise ConfigError(f"{name}: sweep=NAME is missing. Allowed: {', '.join(groups()['sweep'])}.")
        run_command(name, _several_sweeps(rest) if COMMANDS[name].many_sweeps else rest)
    except ConfigError as error:
        print(f"roberta-lab: {error}", file=sys.stderr)
        return 2
    except (RunInUse, RankDied, Unfinished) as error:
        print(f"roberta-lab: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        print(f"roberta-lab: {error}; see paths.outputs and paths.cache.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("roberta-lab: interrupted; the same command goes on from what is finished or saved.", file=sys.stderr)
        return 130
    return 0


def run_command(name: str, arguments: list[str]) -> None:
    """Hands one command to Hydra; its composition errors come back as ConfigError."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from roberta_lab.runs import options, registration
    from roberta_lab.runs.overrides import check_override_names, spelled_out

    registration.register()
    arguments = spelled_out(arguments)
    if arguments[:1] not in ([flag] for flag in _COMPLETION):
        check_override_names([a for a in arguments if not a.startswith("-") and "=" in a])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach this function instead of Hydra's printer
    multirun = ["--multirun"] if _is_multirun(name, arguments) else []
    overrides = [a for a in arguments if not a.startswith("-") and (a.startswith("~") or "=" in a)]
    flags = [a for a in arguments if a not in overrides]  # argparse wants overrides in one piece
    before, sys.argv = sys.argv, ["roberta-lab", *multirun, *flags, *overrides, f"hydra.job.name={name}"]
    job = Job()
    try:
        hydra.main(version_base="1.3", config_path=str(options.CONF), config_name="config")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error)) from error
    finally:
        sys.argv = before
    if job.failures:
        raise job.failures[0]


def _complete(arguments: list[str]) -> None:
    """Tab completion: Hydra knows groups, options and keys; the command before them is ours."""
    line = os.environ.get("COMP_LINE", "")
    program, _, typed = line.partition(" ")
    name, space, overrides = typed.lstrip().partition(" ")
    if arguments[1:] and arguments[1].startswith("query=") and not space:
        print(" ".join(COMMANDS))
        return
    os.environ["COMP_LINE"] = f"{program} {overrides}"
    run_command(name if name in COMMANDS else "pretrain", arguments)


def _chosen_sweep(arguments: list[str]) -> str | None:
    chosen = [a.partition("=")[2] for a in arguments if a.startswith("sweep=")]
    return chosen[-1] if chosen and chosen[-1] != "null" else None


def _several_sweeps(arguments: list[str]) -> list[str]:
    """`sweep=all`, `sweep=[A,B]` and `sweep=A,B` as Hydra takes them: the first, and the names of all in `reproduce.sweeps`."""
    from roberta_lab.runs.options import groups
    from roberta_lab.runs.overrides import check_override_names

    chosen = _chosen_sweep(arguments)
    if chosen is None:
        return arguments
    text = chosen.strip("[]").replace(" ", "")
    names = list(dict.fromkeys(groups()["sweep"] if text == "all" else text.split(",")))
    if names == [chosen]:
        return arguments
    check_override_names([f"sweep={name}" for name in names])
    rest = [a for a in arguments if not a.startswith("sweep=")]
    return [*rest, f"sweep={names[0]}", f"reproduce.sweeps=[{','.join(names)}]"]


def _is_multirun(name: str, arguments: list[str]) -> bool:
    """`sweep=NAME` implies `-m`, unless Hydra is only asked to show something."""
    asks = {"-m", "--multirun", "-c", "--cfg", "-i", "--info"}
    return COMMANDS[name].sweeps and _chosen_sweep(arguments) is not None and asks.isdisjoint(arguments)


class Job:
    """What Hydra runs. A launcher may run it in another process, which then learns what this one registered."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def __reduce__(self) -> Any:
        return _registered_job, ()

    def __call__(self, cfg: Any) -> Exception | None:
        """What a user can mend is returned, not raised: Hydra would add lines of its own."""
        from hydra.core.hydra_config import HydraConfig

        from roberta_lab.runs.compose import build
        from roberta_lab.runs.identity import KINDS

        if self.failures and isinstance(self.failures[-1], RankDied):
            return self.failures[-1]  # the machine is in doubt, and with it the rest of a sweep
        hydra = HydraConfig.get()
        try:
            main_of(hydra.job.name)(build(cfg), list(hydra.overrides.task))
        except (ConfigError, RunInUse, RankDied, Unfinished) as error:
            self.failures.append(error)
            if hydra.job.name in KINDS:  # Hydra made the run's directory beforehand; one that holds anything stays
                with suppress(OSError):
                    os.rmdir(hydra.runtime.output_dir)
            return error
        except BrokenPipeError:  # whoever read has read enough (`roberta-lab inspect | head`)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return None


def main_of(name: str) -> Any:
    """What a command does: its `main(config, overrides)`."""
    return importlib.import_module(f"roberta_lab.cli.{name}").main


def _registered_job() -> Job:
    from roberta_lab.runs import registration

    registration.register()
    return Job()


def _one_line(error: BaseException) -> str:
    """The deepest cause that Hydra or OmegaConf give, in one line that names the key or the override."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    chain = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    for link in chain:
        if isinstance(link, ConfigError):
            return str(link)
    where = next(
        (found for link in chain for name in ("full_key", "override") if (found := getattr(link, name, None))), None
    )
    libraries = [link for link in chain if isinstance(link, HydraException | OmegaConfBaseException)]
    said = [text for link in libraries if (text := str(link).strip()) and "$" not in text]
    first = said[-1].splitlines()[0]
    return f"{where}: {first}" if where else first
