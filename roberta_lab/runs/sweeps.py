"""A sweep's rows as Hydra jobs. Rows are correlated settings, so a Cartesian product cannot say them; the launcher stays Hydra's.

Sweep files are written in the paper's own terms. A scale replaces what a machine cannot hold (`scale.stands_for`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from roberta_lab.config import Config, ConfigError, ScaleConfig, SweepConfig, nearest
from roberta_lab.runs.options import groups, sources_of
from roberta_lab.runs.overrides import key_of, spelled_out

COLUMNS = {"task": "sweep.tasks", "finetune.seed": "sweep.finetune_seeds"}  # set per column, and by which list


@dataclass(frozen=True)
class Job:
    """One run of a sweep, and where in its table it belongs. `task` and `finetune_seed` are None for pretraining."""

    row: str
    seed: int
    task: str | None  # the paper's name of the column
    finetune_seed: int | None
    overrides: tuple[str, ...]


def rows_of(sweep: SweepConfig) -> dict[str, list[str]]:
    """The rows that `sweep.only` leaves, in the sweep's order."""
    if sweep.only is None:
        return sweep.rows
    if not sweep.only:
        raise ConfigError(f"sweep.only=[]: no rows. Allowed: some of {', '.join(sweep.rows)}.")
    for name in sweep.only:
        if name not in sweep.rows:
            raise ConfigError(
                f"sweep.only={name}: no such row in {sweep.name}.{nearest(name, list(sweep.rows))} Allowed: {', '.join(sweep.rows)}."
            )
    return {name: overrides for name, overrides in sweep.rows.items() if name in sweep.only}


def expand(config: Config, command: str, user: Sequence[str]) -> list[Job]:
    """Every job of the sweep for `command`, each with the overrides that address its run: base, row, then the user's.

    Raises: ConfigError when the user sets what the rows or the columns differ in.
    """
    sweep = config.sweep
    assert sweep is not None
    differing = _differing(sweep)
    for override in user:
        whole = key_of(override) == "finetune" and any(key.startswith("finetune.") for key in differing)
        if (whole or _decides(override) in differing) and _source_of(override) is None:
            raise ConfigError(
                f"{override}: the rows of sweep={sweep.name} differ in it; take some rows with sweep.only=[...]."
            )
        if key_of(override) in COLUMNS:
            raise ConfigError(
                f"{override}: the columns of sweep={sweep.name} set it; choose them with {COLUMNS[key_of(override)]}=[...]."
            )
    seeds = [int(o.partition("=")[2]) for o in user if key_of(o) == "seed"][-1:] or sweep.seeds
    columns: list[tuple[str | None, int | None]] = [(None, None)]
    if command == "finetune":
        _check_tasks(sweep, config.scale)
        columns = list(itertools.product(sweep.tasks, sweep.finetune_seeds))
    jobs: list[Job] = []
    for (row, own), seed, (task, finetune_seed) in itertools.product(rows_of(sweep).items(), seeds, columns):
        paper = spelled_out([*sweep.base, *own, *([f"task={task}"] if task else [])])
        settings = [*_at_scale(paper, config.scale, user), f"seed={seed}", f"sweep.row={row}"]
        if finetune_seed is not None:
            settings.append(f"finetune.seed={finetune_seed}")
        given = {key_of(o) for o in user}
        reaching = [_encoder_at_scale(o, config.scale) for o in user if _reaches(o, settings, sweep)]
        overrides = [o for o in settings if key_of(o) not in given] + reaching
        jobs.append(Job(row, seed, task, finetune_seed, tuple(overrides)))
    for override in user:
        if _source_of(override) and jobs and not any(override in job.overrides for job in jobs):
            raise ConfigError(f"{override}: no row of sweep={sweep.name} reads the source {_source_of(override)!r}.")
    return jobs


def _at_scale(paper: list[str], scale: ScaleConfig, user: Sequence[str]) -> list[str]:
    """The overrides with what stands for them at this scale, but for those that the user sets."""
    given = {key_of(o) for o in user}
    # Of a key that base and row set, the row's alone: nothing of the other's stand-in stays.
    last = {key_of(o): o for o in paper}
    chosen = [_encoder_at_scale(o, scale) for o in last.values() if key_of(o) not in given]
    return [own for o in chosen for own in _stand_in(o, scale).split()]


def _stand_in(override: str, scale: ScaleConfig) -> str:
    """What replaces an override; 1e-5 is 1.0e-5."""
    key, _, value = override.partition("=")
    for paper, ours in scale.stands_for.items():
        name, _, said = paper.partition("=")
        if name == key and (said == value or _number(said) == _number(value) is not None):
            return ours
    return override


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _encoder_at_scale(override: str, scale: ScaleConfig) -> str:
    """`finetune.init_from=mnli` with the task that MNLI's column has at this scale; other overrides as they are."""
    key, _, task = override.partition("=")
    if key_of(override) != "finetune.init_from":
        return override
    stand_in = scale.stands_for.get(f"task={task}", f"task={task}").split()[0]
    return f"{key}={stand_in.removeprefix('task=')}"


def _reaches(override: str, settings: list[str], sweep: SweepConfig) -> bool:
    """Whether a user's override is meant for a row: where a corpus lies matters only to rows that read it."""
    name = _source_of(override)
    mix = [o.partition("=")[2] for o in settings if key_of(o) == "data_mix"]
    if name is None or not mix or "data_mix" not in _differing(sweep):
        return True
    return name in sources_of(mix[-1])


def _source_of(override: str) -> str | None:
    """`++data_mix.sources.books.path=x` -> books."""
    parts = key_of(override).split(".")
    return parts[2] if parts[:2] == ["data_mix", "sources"] and len(parts) > 3 else None


def _differing(sweep: SweepConfig) -> set[str]:
    """What rows of the sweep differ in: groups, keys of finetuning."""
    return {_decides(o) for overrides in sweep.rows.values() for o in overrides}


def _decides(override: str) -> str:
    """What an override decides: a group, of which a row chooses an option as a whole; of `finetune`, which has none, the key."""
    key = key_of(override)
    return key if key.startswith("finetune.") else key.split(".")[0]


def _check_tasks(sweep: SweepConfig, scale: ScaleConfig) -> None:
    """Each task is there, or the scale has a stand-in for it."""
    paper = [override.removeprefix("task=") for override in scale.stands_for if override.startswith("task=")]
    allowed = [*groups()["task"], *paper]
    for task in sweep.tasks:
        if task not in allowed:
            raise ConfigError(
                f"sweep.tasks={task}: no such task.{nearest(task, allowed)} Allowed: {', '.join(allowed)}."
            )
