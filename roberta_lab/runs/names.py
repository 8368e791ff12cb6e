"""What runs and tables are called: by the overrides that tell one from another, `peak_lr=3e-3`."""

import dataclasses
import re
import typing
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from roberta_lab.config import Config, circumstance, cluster_circumstance
from roberta_lab.config.secrets import masked, masked_values
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
    modules = (circumstance.__name__, cluster_circumstance.__name__)
    every = {f.name for f in dataclasses.fields(Config) if hints[f.name].__module__ in modules}
    return (every | {"hydra"}) - {*_CHANGING}


EXECUTING = _executing()


def told_apart(runs: Sequence[Sequence[Override]]) -> list[str]:
    """Return for each run, given by its overrides, those in which it differs from the others, in short; seeds and task left out.

    Rows of sweeps are called as their sweeps call them, and only runs of the same row are told apart by more.
    """
    rows = [next((value_text(o).strip("'\"") for o in run if o.key_or_group == ROW), "") for run in runs]
    if not all(rows):  # beside a run of no sweep, the name of a row says nothing of what differs
        rows = [""] * len(runs)
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
    """Return for each run, given by its overrides, the values of all keys in which they differ, by keys in short.

    Values that mean the same are the same, 1e-3 and 0.001. Keys of the task count where runs of one task differ in them.
    """
    spelled: dict[tuple[str, object], str] = {}  # key and value -> as it was typed first
    values: list[dict[str, str]] = []
    for run in runs:
        counting = [o for o in run if is_told(o) or o.key_or_group.startswith("task.")]
        values.append(
            {o.key_or_group: spelled.setdefault((o.key_or_group, _meant(o)), value_text(o)) for o in counting}
        )
    keys = dict.fromkeys(key for own in values for key in own)
    is_left_out = any("." not in key and any(key not in own for own in values) for key in keys)
    usual = default_options() if is_left_out else {}
    values = [{key: own.get(key, usual.get(key, "default")) for key in keys} for own in values]
    tasks = [next((value_text(o) for o in run if o.key_or_group == "task"), "") for run in runs]
    varied = [key for key in keys if _is_varied(key, values, tasks)]
    last = [key.rpartition(".")[2] for key in varied]
    short = {key: end if last.count(end) == 1 else key for key, end in zip(varied, last, strict=True)}
    return [{short[key]: masked_values(own[key], key) for key in varied} for own in values]


def _meant(override: Override) -> object:
    value = override.value()
    return value if isinstance(value, int | float) else str(value)


def _is_varied(key: str, values: Sequence[Mapping[str, str]], tasks: Sequence[str]) -> bool:
    """Return whether runs differ in a key; in one of the task's, whether runs of the same task do."""
    groups = tasks if key.startswith("task.") else [""] * len(tasks)
    return len({(group, own[key]) for group, own in zip(groups, values, strict=True)}) > len({*groups})


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
    last = {o.key_or_group: o for o in overrides}  # of a key that was typed twice, the last counts
    said = [
        masked(f"{o.key_or_group.rpartition('.')[2]}={value_text(o)}")
        for o in last.values()
        if is_told(o) and o.key_or_group not in left_out and room(o) != "pretrained"
    ]
    return said if len(said) <= MOST else [*said[: MOST - 1], f"{len(said) - MOST + 1} more settings"]


def settings_of(overrides: Iterable[Override]) -> list[Override]:
    """Return what was typed of a table beside its sweep, scale and seeds, and that changes what it shows.

    Sorted by key, but where data lies comes last: it tells least, and a name may have no room for it.
    """
    changing = [
        o
        for o in overrides
        if room(o) not in EXECUTING and o.key_or_group not in (*SEEDS, "sweep", "scale", "finetune.seed")
    ]
    return sorted(changing, key=lambda o: (_is_place(o.key_or_group), o.key_or_group))


def _is_place(key: str) -> bool:
    """Return whether a key says where data lies, and in which shape."""
    return key.startswith("data_mix.sources.") or key.endswith(".path")


def shown(override: Override) -> str:
    """Return an override as a table's title shows it, `data_mix.own.path=texts/mine`."""
    value, key = override.value(), override.key_or_group.replace("data_mix.sources.", "data_mix.")
    said = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return masked(f"{'~' if override.is_delete() else ''}{key}={said}")


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
