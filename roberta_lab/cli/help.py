"""The commands with what `--help` says of them."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """What `--help` says of a command; its `main(job)` is in `roberta_lab/cli/<name>.py`."""

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

_TEMPLATE = """roberta-lab {name} [overrides]: {summary}

Examples:
{examples}

Groups (choose one option each: group=option; * is chosen when you say nothing):
{groups}

Keys: any value of the composed config (key=value); `roberta-lab {name} --cfg job` prints them all with their values.
Hydra's flags: --cfg job | --info | -m (multirun) | --hydra-help. Tab completion: eval "$(roberta-lab -sc install=bash)"
"""


def usage() -> str:
    """Return what `roberta-lab --help` prints."""
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return (
        "roberta-lab COMMAND [hydra overrides]\n\n"
        + "\n".join(lines)
        + "\n\nFirst steps: `roberta-lab reproduce sweep=table1_masking` (minutes on a laptop), then `roberta-lab COMMAND --help`"
        " for a command's groups, defaults and examples.\n"
    )


def help_of(name: str) -> str:
    """Return what `roberta-lab COMMAND --help` prints."""
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
