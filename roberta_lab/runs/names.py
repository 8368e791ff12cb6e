"""What runs and tables are called: by the overrides that tell one from another, `peak_lr=3e-3`."""

import dataclasses
import re
import typing
from collections import defaultdict
from collections.abc import Iterable, Sequence

from roberta_lab.config import Config, circumstance
from roberta_lab.data.storage import digest
from roberta_lab.runs.options import default_options
from roberta_lab.runs.overrides import Override, room, value_text

ROW = "sweep.row"
# what a name has in places of its own: the seeds, and the task, which is a column
OWN_PLACES = ("seed", "finetune.seed", "task")
# of a sweep: how many runs a figure has, and no other figure
SEEDS = ("seed", "sweep.seeds", "sweep.finetune_seeds", ROW)
LONGEST = 100  # characters of a folder's name
MOST = 4  # settings in the name of a single run

_CHANGING = ("scale", "sweep", "evaluate")  # of the circumstances: what changes which runs a table has


def _executing() -> set[str]:
    """Return the parts of the config that say how and where, never what: no name has them."""
    hints = typing.get_type_hints(Config)
    every = {f.name for f in dataclasses.fields(Config) if hints[f.name].__module__ == circumstance.__name__}
    return (every | {"hydra"}) - {*_CHANGING}


EXECUTING = _executing()


def told_apart(runs: Sequence[Sequence[Override]]) -> list[str]:
    """Return for each run, given by its overrides, those in which it differs from the others, in short; seeds and task left out.

    A row of a sweep is called as the sweep calls it, and only runs of the same row are told apart by more.
    """
    rows = [next((value_text(o).strip("'\"") for o in run if o.key_or_group == ROW), "") for run in runs]
    groups: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[row].append(number)
    names = [""] * len(runs)
    for row, members in groups.items():
        for number, said in zip(members, _differences([runs[i] for i in members]), strict=True):
            names[number] = ", ".join(part for part in (row, said) if part)
    return names


def _differences(runs: Sequence[Sequence[Override]]) -> list[str]:
    return [", ".join(f"{key}={value}" for key, value in own.items()) for own in differing(runs)]


def differing(runs: Sequence[Sequence[Override]]) -> list[dict[str, str]]:
    """Return for each run, given by its overrides, the values of all keys in which they differ, by keys in short."""
    values = [{o.key_or_group: value_text(o) for o in told(run)} for run in runs]
    keys = [key for key in dict.fromkeys(key for own in values for key in own) if len({v.get(key) for v in values}) > 1]
    usual = default_options() if any("." not in key for key in keys) else {}
    last = [key.rpartition(".")[2] for key in keys]
    short = {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}
    return [{short[key]: own.get(key, usual.get(key, "default")) for key in keys} for own in values]


def told(overrides: Iterable[Override]) -> list[Override]:
    """Return the overrides that names may have."""
    return [override for override in overrides if is_told(override)]


def is_told(override: Override) -> bool:
    key = override.key_or_group
    is_own = key in OWN_PLACES or key.startswith("task.")
    return not is_own and room(override) not in (*EXECUTING, "sweep")


def typed(overrides: Iterable[Override]) -> list[str]:
    """Return what was typed of a single run's science, in short: there is no other run to tell it from."""
    left_out = ("input_format", "masking", "scale")  # said by every name, or with the scale's numbers
    said = [
        f"{o.key_or_group.rpartition('.')[2]}={value_text(o)}"
        for o in overrides
        if is_told(o) and o.key_or_group not in left_out and room(o) != "pretrained"
    ]
    return said if len(said) <= MOST else [*said[: MOST - 1], f"{len(said) - MOST + 1} more settings"]


def settings_of(overrides: Iterable[Override]) -> list[Override]:
    """Return what was typed of a table beside its sweep, scale and seeds, and that changes what it shows; sorted by key."""
    changing = [
        o
        for o in overrides
        if room(o) not in EXECUTING and o.key_or_group not in (*SEEDS, "sweep", "scale", "finetune.seed")
    ]
    return sorted(changing, key=lambda o: o.key_or_group)


def shown(override: Override) -> str:
    """Return an override as a table's title shows it, `data_mix.own.path=texts/mine`."""
    value, key = override.value(), override.key_or_group.replace("data_mix.sources.", "data_mix.")
    said = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{'~' if override.is_delete() else ''}{key}={said}"


def folder_name(scale: str, settings: Sequence[Override]) -> str:
    """Return the name of a table's folder: its scale, then what differs from the sweep. Different settings have different names."""
    return slug("--".join([scale, *map(shown, settings)]), LONGEST)


def slug(name: str, longest: int = 60) -> str:
    """Return a name as a part of a path, of letters, digits and `_.+=,~-`. Where that leaves anything out, it ends with a hash.

    A slash and what stands before it in a value are left out: of a path the last part stays.
    """
    ends = re.sub(r"=[^=]*/(?=[^/]*?(--|$))", "=", name)
    safe = re.sub(r"[^A-Za-z0-9_.+=,~-]+", "-", ends).strip("-.")
    if safe and safe == name and len(safe) <= longest:
        return safe
    return f"{safe[:longest].strip('-.')}-{digest({'name': name}, 6)}".lstrip("-")
