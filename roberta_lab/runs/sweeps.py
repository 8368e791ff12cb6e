"""The rows and columns of a sweep file as overrides: each combination with a seed addresses one run.

Rows are settings that belong together, which a product of options cannot say. Sweep files are written in the paper's own
terms; a scale replaces what a machine cannot hold (`scale.stands_for`).
"""

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from roberta_lab.config import Config, ConfigError, ScaleConfig, SizeConfig, SweepConfig, nearest
from roberta_lab.runs.experiments import spelled_out
from roberta_lab.runs.identity import KINDS, kind_of_task
from roberta_lab.runs.options import content, default_options, files, groups, sources_of
from roberta_lab.runs.overrides import Override, assign, parse, same_value, value_text, without

RECIPE = "finetune"  # the group of recipes of finetuning
COLUMNS = {"task": "sweep.tasks", "finetune.seed": "sweep.finetune_seeds"}  # keys that columns set, and their lists


@dataclass(frozen=True)
class Place:
    """The row and column of a run in its table, and the overrides that address it."""

    row: str
    task: str | None  # the paper's name of the column; None for pretraining
    overrides: tuple[Override, ...]


def expand(config: Config, command: str, user: Sequence[Override]) -> list[Place]:
    """Return every run of `config.sweep` for a command, each with base, row and the user's overrides, at the config's scale.

    Raises: ConfigError when the user sets what the rows or the columns differ in.
    """
    sweep = config.sweep
    assert sweep is not None
    user = spelled_out(user)
    _check_user(sweep, user)
    given, places = {o.key_or_group for o in user}, []
    sized = at_scale(sweep, config.scale, given)
    seeds = [config.seed] if "seed" in given else sized.seeds
    columns = _columns(sized, config.scale, command)
    recipes = default_options()[RECIPE], files(RECIPE)
    for (row, own), seed, (task, finetune_seed) in itertools.product(rows_of(sweep).items(), seeds, columns):
        paper = [*_in_paper(sweep, own), *parse([f"task={task}"] if task else [])]
        settings = [*_at_scale(paper, config.scale, given), assign("seed", seed), assign("sweep.row", row)]
        if finetune_seed is not None:
            settings.append(assign("finetune.seed", finetune_seed))
        reaching = [_encoder_at_scale(o, config.scale) for o in user if _reaches(o, settings, sweep)]
        chosen = [*(o for o in settings if o.key_or_group not in given), *reaching]
        places.append(Place(row, task, tuple(_recipe_of_task(chosen, *recipes) if task else chosen)))
    for override in user:
        if (name := _source_of(override)) and places and not any(override in place.overrides for place in places):
            raise ConfigError(f"{override.input_line}: no row of sweep={sweep.name} reads the source {name!r}.")
    return places


def at_scale(sweep: SweepConfig, scale: ScaleConfig, given: set[str]) -> SweepConfig:
    """Return the sweep with the tasks and seeds that it has at a scale, but for those that the user asks for."""
    size = sweep.at_scale.get(scale.name, SizeConfig())
    own = {key: value for key, value in vars(size).items() if value is not None and f"sweep.{key}" not in given}
    if "sweep.tasks" not in given:
        own["tasks"] = [task for task in own.get("tasks", sweep.tasks) if task not in scale.leaves_out]
    return replace(sweep, **own)


def groups_of_rows(
    config: Config, user: Sequence[Override], groups: Sequence[str] | None = None
) -> dict[str, list[Override]]:
    """Return what each row of the sweep, whatever `sweep.only` leaves, and the user set of some groups, at the config's scale.

    Without groups it is all that pretraining is composed of.
    """
    sweep, user = config.sweep, spelled_out(user)
    assert sweep is not None
    given, found = {o.key_or_group for o in user}, {}
    for row, own in sweep.rows.items():
        settings = (*_at_scale(_in_paper(sweep, own), config.scale, given), *user)
        if groups is None:
            found[row] = without(settings, "task", RECIPE, "sweep", "scale")
        else:
            found[row] = [o for o in settings if o.key_or_group.split(".")[0] in groups]
    return found


def _in_paper(sweep: SweepConfig, own: Sequence[str]) -> list[Override]:
    """Return the overrides of base and of a row, in the paper's own numbers."""
    return [*spelled_out(parse(sweep.base)), *spelled_out(parse(own))]


def _recipe_of_task(overrides: Sequence[Override], default: str, known: Container[str]) -> list[Override]:
    """Return the overrides with the option that their recipe has for their task, `bert_squad1`, where there is one."""
    chosen = {o.key_or_group: value_text(o) for o in overrides if o.key_or_group in ("task", RECIPE)}
    own = f"{chosen.get(RECIPE, default)}_{chosen['task']}"
    if own not in known:
        return [*overrides]
    return [*(o for o in overrides if o.key_or_group != RECIPE), assign(RECIPE, own)]


def _columns(sweep: SweepConfig, scale: ScaleConfig, command: str) -> list[tuple[str | None, int | None]]:
    """Return the tasks that a command scores, each with its finetuning seeds; one without a task for pretraining."""
    kind = KINDS.get(command)
    if kind is None or not kind.has_task:
        return [(None, None)]
    _check_tasks(sweep, scale)
    tasks = [task for task in sweep.tasks if kind_of_task(_family(_at_this_scale(task, scale))) == command]
    return list(itertools.product(tasks, sweep.finetune_seeds if kind.has_seed else [None]))


def _family(task: str) -> str:
    return str(content("task", task)["family"])


def rows_of(sweep: SweepConfig) -> dict[str, list[str]]:
    """Return the rows that `sweep.only` leaves, in the sweep's order."""
    if sweep.only is None:
        return sweep.rows
    allowed = f"Allowed: {', '.join(sweep.rows)}."
    if not sweep.only:
        raise ConfigError(f"sweep.only=[]: no rows. {allowed.replace('Allowed:', 'Allowed: some of')}")
    for name in sweep.only:
        if name not in sweep.rows:
            hint = nearest(name, list(sweep.rows))
            raise ConfigError(f"sweep.only={name}: no such row in {sweep.name}.{hint} {allowed}")
    return {name: overrides for name, overrides in sweep.rows.items() if name in sweep.only}


def _at_scale(paper: Sequence[Override], scale: ScaleConfig, given: set[str]) -> list[Override]:
    """Return the overrides with what stands for them at this scale, without those whose keys the user sets.

    A key that both base and row set is the row's alone: nothing of the other's stand-in stays.
    """
    last_of_each = {o.key_or_group: o for o in paper if o.key_or_group not in given}.values()
    chosen = [_encoder_at_scale(o, scale) for o in last_of_each]
    return [own for o in chosen for own in _stand_in(o, scale)]


def _stand_in(override: Override, scale: ScaleConfig) -> tuple[Override, ...]:
    for paper, ours in scale.stands_for.items():
        [replaced] = parse([paper])
        if same_value(replaced, override):
            return parse(ours.split())
    return (override,)


def _encoder_at_scale(override: Override, scale: ScaleConfig) -> Override:
    """Return `finetune.init_from=mnli` with the task that MNLI's column has at this scale; other overrides as they are."""
    if override.key_or_group != "finetune.init_from":
        return override
    key, _, task = (override.input_line or "").partition("=")
    return parse([f"{key}={_at_this_scale(task, scale)}"])[0]


def _at_this_scale(task: str, scale: ScaleConfig) -> str:
    """Return the task that stands in for another at a scale; the task itself where none does."""
    return scale.stands_for.get(f"task={task}", f"task={task}").split()[0].removeprefix("task=")


def _check_user(sweep: SweepConfig, user: Sequence[Override]) -> None:
    differing, sweep_is = _differing(sweep), f"sweep={sweep.name}"
    for override in user:
        key, said = override.key_or_group, override.input_line
        whole = key == RECIPE and any(name.startswith("finetune.") for name in differing)
        if (whole or _decides(override) in differing) and _source_of(override) is None:
            raise ConfigError(f"{said}: the rows of {sweep_is} differ in it; take some rows with sweep.only=[...].")
        if key in COLUMNS:
            raise ConfigError(f"{said}: the columns of {sweep_is} set it; choose them with {COLUMNS[key]}=[...].")


def _reaches(override: Override, settings: Sequence[Override], sweep: SweepConfig) -> bool:
    """Return whether a user's override is meant for a row: where a corpus lies matters only to rows that read it."""
    name = _source_of(override)
    mixes = [value_text(o) for o in settings if o.key_or_group == "data_mix"]
    if name is None or not mixes or "data_mix" not in _differing(sweep):
        return True
    return name in sources_of(mixes[-1])


def _source_of(override: Override) -> str | None:
    """Return the source of the mix that an override is about: books of `++data_mix.sources.books.path=x`."""
    parts = override.key_or_group.split(".")
    return parts[2] if parts[:2] == ["data_mix", "sources"] and len(parts) > 3 else None


def _differing(sweep: SweepConfig) -> set[str]:
    """Return the groups, and the keys of finetuning, in which rows of the sweep differ."""
    return {_decides(o) for overrides in sweep.rows.values() for o in spelled_out(parse(overrides))}


def _decides(override: Override) -> str:
    """Return what an override decides: a group as a whole; of `finetune`, whose keys columns and rows set one by one, a key."""
    key = override.key_or_group
    return key if key.startswith("finetune.") else key.split(".")[0]


def _check_tasks(sweep: SweepConfig, scale: ScaleConfig) -> None:
    """Raise ConfigError for a task that is not there and for which the scale has no stand-in."""
    paper = [override.removeprefix("task=") for override in scale.stands_for if override.startswith("task=")]
    allowed = [*groups()["task"], *paper]
    for task in sweep.tasks:
        if task not in allowed:
            hint = nearest(task, allowed)
            raise ConfigError(f"sweep.tasks={task}: no such task.{hint} Allowed: {', '.join(allowed)}.")
