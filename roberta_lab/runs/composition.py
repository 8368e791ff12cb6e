"""Typed configs, composed by Hydra: of the overrides of a command, and of the runs of a sweep, which share most of theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from roberta_lab.config import Config, SweepConfig
from roberta_lab.runs import identity, references, search_path
from roberta_lab.runs.compose import build, check
from roberta_lab.runs.options import CONF, Outside, outside
from roberta_lab.runs.overrides import Override, room, texts, value_text, without
from roberta_lab.runs.sweeps import Place, groups_of_rows

COMMON_BATCH = "trainer.common_batch"


@contextmanager
def composing() -> Iterator[None]:
    """Make Hydra ready to compose, also inside a job of its own or in a notebook that uses it; leave it as it was."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    search_path.register()  # again: after a job in this process, joblib's launcher lets Hydra forget its plugins
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def composed(overrides: Sequence[Override]) -> Config:
    """Return the typed config that Hydra composes of the overrides; to be called while `composing`."""
    return build(compose("config", texts(overrides)))


@cache
def _once(words: tuple[str, ...], places: Outside) -> Config:  # in other places the words may mean others
    return build(compose("config", [*words]))


def config_of(place: Place, sweep: SweepConfig) -> Config:
    """Return what `composed` would, for a run in a row of a sweep.

    Composing takes a sixth of a second, so a process composes once what jobs share: pretraining settings, each task, and
    each setting of finetuning, none of which touches the others. Tables name the options of a row in different orders. A job
    of which one part looks a value up in another is composed whole.
    """
    sweep = replace(sweep, row=place.row)
    if references.look_elsewhere(place.overrides):
        return replace(_once(tuple(texts(place.overrides)), outside()), sweep=sweep)
    shared = without(place.overrides, "seed", "finetune.seed", "sweep")
    shared.sort(key=lambda o: "~" if "." in o.key_or_group else o.key_or_group)  # values last, in their order
    other = without(shared, "task", "finetune")
    scale = [o for o in other if room(o) == "scale"]
    of_task = [o for o in without(shared, "finetune") if o not in other]
    of_tuning = [o for o in without(shared, "task") if o not in other]
    pretraining, task, tuning = (
        _once(tuple(texts(overrides)), outside()) for overrides in (other, [*of_task, *scale], [*of_tuning, *scale])
    )
    seeds = {o.key_or_group: int(str(o.value())) for o in place.overrides if o.key_or_group in references.SEEDS}
    finetune = replace(tuning.finetune, seed=seeds.get("finetune.seed", tuning.finetune.seed))
    config = replace(pretraining, seed=seeds["seed"], sweep=sweep, task=task.task, finetune=finetune)
    check(config)
    return config


def common_batch(config: Config, user: Sequence[Override], rows: Mapping[str, Config]) -> int:
    """Return the largest number that divides the batch of every row of a table, also of those that `sweep.only` leaves out.

    `rows` are the configs that are there. It is 0 where no row is pretrained, and where the user says how steps are cut.
    """
    assert config.sweep is not None
    said = {o.key_or_group: value_text(o) for o in user}
    if COMMON_BATCH in said or said.get("trainer.micro_batch_size", "null") not in ("null", "auto"):
        return 0
    scale = [o for o in user if room(o) == "scale"]
    of_batch = groups_of_rows(config, user, ("batch_size", "optimizer", "pretrained"))
    if references.look_elsewhere(o for row, own in of_batch.items() if row not in rows for o in own):
        of_batch = groups_of_rows(config, user)
    every = [
        rows[row] if row in rows else _once(tuple(texts([*scale, *own])), outside()) for row, own in of_batch.items()
    ]
    return math.gcd(*(row.batch_size.sequences for row in every if identity.starts_from_run(row)))
