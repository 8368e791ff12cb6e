"""Jobs: what a command with its overrides means, composed and identified once.

`jobs_of` turns a command and overrides into typed jobs; `job_of` gives the job that Hydra is about to run.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig

from roberta_lab.config import Config, ConfigError, ranges
from roberta_lab.config.console import say
from roberta_lab.config.paths import user_path
from roberta_lab.data.claims import wait_until_free
from roberta_lab.data.corpus.sources.remote import is_url
from roberta_lab.runs import identity, names, results, run_folder
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.compose import build, encoder_config
from roberta_lab.runs.composition import COMMON_BATCH, common_batch, composed, config_of
from roberta_lab.runs.experiments import spelled_out
from roberta_lab.runs.overrides import Override, assign, parse, texts, without, without_sweep
from roberta_lab.runs.sweeps import expand


@dataclass(frozen=True)
class Job:
    """One run of a command: its typed config, and the overrides that address it."""

    kind: str  # the command: one of `identity.KINDS`, which make a run, or another
    config: Config
    overrides: tuple[Override, ...]
    row: str = ""  # of a sweep
    task: str | None = None  # the paper's name of the column
    setting: tuple[Override, ...] = ()  # of the grid of finetuning, where one is searched
    is_encoder: bool = False  # a run that others start from (`finetune.init_from`)
    called: str | None = None  # in a multirun: what tells it from the other jobs; empty where only seeds do
    as_json: bool = False  # whether its answer is printed (`--json`): else nothing large is kept for it

    @cached_property
    def path(self) -> Path:
        """Return the run's folder."""
        return identity.directory(self.config, self.kind if self.kind in identity.KINDS else "pretrain")

    @property
    def has_task(self) -> bool:
        """Return whether it is a run that scores a task."""
        return self.kind in identity.KINDS and identity.KINDS[self.kind].has_task

    @property
    def seed(self) -> int:
        """Return the seed of pretraining."""
        return self.config.seed

    @property
    def finetune_seed(self) -> int | None:
        """Return the seed of finetuning; None for runs of other kinds."""
        return self.config.finetune.seed if self.has_task and identity.KINDS[self.kind].has_seed else None

    @property
    def words(self) -> list[str]:
        """Return the overrides as they are typed."""
        return texts(self.overrides)

    @property
    def name(self) -> str:
        """Return `static seed 1`, or `static seed 1, mnli 2` for the second finetuning seed."""
        return f"{self.row} seed {self.seed}{self._column(self.task)}{f', {self.setting_name}' if self.setting else ''}"

    @property
    def setting_name(self) -> str:
        """Return `lr=2e-05, batch=32` for a run of a grid; empty for others."""
        return ", ".join(text.removeprefix("finetune.") for text in texts(self.setting))

    def _column(self, task: str | None) -> str:
        """Return what a name says of the task: `, mnli 2`, without finetuning `, blimp`; nothing for pretraining."""
        seed = "" if self.finetune_seed is None else f" {self.finetune_seed}"
        return f", {task}{seed}" if self.has_task else ""

    @property
    def label(self) -> str:
        """Return what the run is called on the console, in its result and in W&B: what tells it from others, seed and task."""
        config, said = self.config, self.called or self.row
        if self.has_task and not identity.starts_from_run(config):
            start = Path(config.pretrained.path).name or "random weights"
            label = ", ".join(part for part in (start, self.called) if part)
        else:
            usual = ", ".join([f"{config.input_format.name} {config.masking.name}", *names.typed(self.overrides)])
            label = f"{said or usual} seed {self.seed}"
        return label + self._column(config.task.name)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return the folders that may be the run's, the one of a run that leaves steps out last."""
        may_skip = self.kind == "pretrain" and self.config.trainer.on_nonfinite == "skip"
        return identity.folders_of_skipping(self.config) if may_skip else (self.path,)

    @property
    def is_alone(self) -> bool:
        """Return whether it is the whole command, neither a row of a sweep nor one of a multirun."""
        return self.config.sweep is None and self.called is None

    @property
    def is_complete(self) -> bool:
        """Return whether the run is there with everything that is asked for."""
        is_tuned = self.kind == "finetune"
        return run_folder.has_all(self.config, self.path) if is_tuned else results.is_complete(self.path)

    @property
    def is_trained(self) -> bool:
        """Return whether the run is there with everything that only training gives."""
        is_tuned = self.kind == "finetune"
        return run_folder.is_finetuned(self.config, self.path) if is_tuned else results.is_complete(self.path)

    @property
    def reads_text(self) -> bool:
        """Return whether its data mix is part of its id: not of a run that starts elsewhere and needs no corpus."""
        return not self.has_task or identity.starts_from_run(self.config) or identity.needs_corpus(self.config)

    @cached_property
    def needs(self) -> tuple[Path, ...]:
        """Return the folders of the runs that this one starts from: of pretraining, of `finetune.init_from`."""
        if not self.has_task:
            return ()
        pretrained = [identity.directory(self.config, "pretrain")] if identity.starts_from_run(self.config) else []
        return (*pretrained, *([self.encoder.path] if self.encoder is not None else []))

    @cached_property
    def encoder(self) -> Job | None:
        """Return the run of `finetune.init_from`, with its weights; a table need not show it. None without one."""
        if self.kind != "finetune" or not self.config.finetune.init_from:
            return None
        config = encoder_config(self.config)
        return Job(
            "finetune", config, _encoder_overrides(config, self.overrides), self.row, config.task.name, is_encoder=True
        )

    def asking(self, other: Job) -> Job:
        """Return this job with `save_model` and `submission` switched on where `other` asks for them."""
        tune, more = self.config.finetune, other.config.finetune
        asked = {name for name in identity.ASKED if getattr(more, name) and not getattr(tune, name)}
        if self.kind != "finetune" or not asked:
            return self
        keys = [f"finetune.{name}" for name in sorted(asked)]
        save_model, submission = tune.save_model or more.save_model, tune.submission or more.submission
        finetune = replace(tune, save_model=save_model, submission=submission)
        overrides = (*without(self.overrides, *keys), *(assign(key, True) for key in keys))
        return replace(self, overrides=overrides, config=replace(self.config, finetune=finetune))

    def line(self, user: Sequence[Override]) -> list[Override]:
        """Return the overrides that make this run alone; `user` are those of the whole sweep, without `sweep`."""
        sweep = self.config.sweep
        if sweep is None:
            return [*self.overrides]
        if self.is_encoder:  # no column of the sweep is sure to be this run
            alone, trainer = without_sweep(self.overrides), self.config.trainer
            if trainer.world_size > 1:  # of the sweep's pretraining; a task is finetuned on one
                alone = [*without(alone, "trainer.devices", "trainer.nodes"), assign("trainer.devices", 1)]
            return alone
        chosen = [assign("sweep", sweep.name), assign("sweep.only", [self.row])]
        if not any(o.key_or_group == "seed" for o in user):
            chosen.append(assign("sweep.seeds", [self.seed]))
        if self.has_task:
            chosen.append(assign("sweep.tasks", [self.task]))
        if self.kind == "finetune":
            chosen += [assign("sweep.finetune_seeds", [self.finetune_seed]), *self.setting]
            set_by_rows = {o.key_or_group for row in sweep.rows.values() for o in spelled_out(parse(row))}
            asked = [f"finetune.{name}" for name in identity.ASKED if getattr(self.config.finetune, name)]
            chosen += [assign(key, True) for key in asked if key not in set_by_rows]
        keys = {o.key_or_group for o in chosen}
        return [*chosen, *(o for o in user if o.key_or_group not in keys)]

    def command(self, user: Sequence[Override]) -> str:
        """Return what to type for this run alone, as `line` says it."""
        return typed(self.kind, self.line(user))


def by_folder(jobs: Iterable[Job]) -> dict[Path, Job]:
    """Return the jobs by folder, each once and with all that others of its folder ask of it.

    Raises ConfigError where two jobs of one folder read their text in two places: ids do not cover where it lies.
    """
    found = dict[Path, Job]()
    for job in jobs:
        if (first := found.get(job.path)) is None:
            found[job.path] = job
            continue
        if job.reads_text:
            _expect_one_place(first, job)
        found[job.path] = first.asking(job)
    return found


def _expect_one_place(first: Job, other: Job) -> None:
    sources = other.config.data_mix.sources
    for name, source in first.config.data_mix.sources.items():
        places = source.path, sources[name].path
        if len({place if is_url(place) else os.path.realpath(user_path(place)) for place in places}) > 1:
            said = f"data_mix.{name}.path is {' and '.join(places)} in one command"
            why = "where text lies is not part of a run's id, so both would be"
            raise ConfigError(f"{said}; {why} {first.path}. Allowed: a command and a paths.outputs for each.")


def pretrained_run(job: Job) -> Path:
    """Return the folder of a job's complete pretraining run, after waiting where another process makes it.

    Raises ConfigError with the command that makes it.
    """
    path = identity.directory(job.config, "pretrain")
    if not results.is_complete(path) and not (wait_until_free(path, say) and results.is_complete(path)):
        kept = without(job.overrides, "task", "finetune", "pretrained", "evaluate", "sweep.row", "export", "predict")
        raise ConfigError(f"the pretrained run {path} is not complete: {typed('pretrain', kept)}")
    return path


def _encoder_overrides(encoder: Config, overrides: Iterable[Override]) -> tuple[Override, ...]:
    """Return the overrides that make the run of `finetune.init_from`, with its weights, from those of a run that asks for it."""
    own = ("task", "finetune.init_from", "finetune.save_model", "finetune.submission")
    chosen = [assign("task", encoder.task.name)]
    if encoder.task.path:
        chosen.append(assign("task.path", encoder.task.path))
    if encoder.task.hub is not None and encoder.task.hub.revision:
        chosen.append(assign("task.hub.revision", encoder.task.hub.revision))
    return (*without(overrides, *own), *chosen, assign("finetune.save_model", True))


_known: dict[tuple[str, ...], Job] = {}  # command and words -> the job that they mean, for the command at hand


def forget() -> None:
    """Forget the jobs of an earlier command: files that their ids cover may have changed since."""
    _known.clear()


def jobs_of(kind: str, overrides: Sequence[Override], config: Config | None = None) -> list[Job]:
    """Return every job that a command with these overrides means, in order; to be called while `composing`.

    Without a sweep it is one. With one, it is a job for each row, seed and column of the kind; pretraining leaves out rows
    that start from a folder or from random weights. All rows cut their steps alike (`trainer.common_batch`), since with dropout
    on the cut changes a run. `config` is what the overrides compose to, where that is known.
    """
    config = composed(overrides) if config is None else config
    if config.sweep is None:
        return [_remember(Job(kind, config, tuple(overrides)))]
    places = expand(config, kind, overrides)
    if not places:
        return []
    configs = [config_of(place, config.sweep) for place in places]
    common = common_batch(config, overrides, {place.row: own for place, own in zip(places, configs, strict=True)})
    jobs: list[Job] = []
    for place, own in zip(places, configs, strict=True):
        words = (*place.overrides, assign(COMMON_BATCH, common)) if common else place.overrides
        own = replace(own, trainer=replace(own.trainer, common_batch=common or own.trainer.common_batch))
        jobs += map(_remember, _searched(Job(kind, own, words, place.row, place.task)))
    return [job for job in jobs if job.has_task or identity.starts_from_run(job.config)]


def _searched(job: Job) -> Iterator[Job]:
    """Yield a job for each setting of its recipe's grid, where its sweep asks for that; else the job itself.

    Of a key that its overrides set, the grid has that value alone.
    """
    sweep, tune, given = job.config.sweep, job.config.finetune, {o.key_or_group for o in job.overrides}
    assert sweep is not None
    grid = tune.grid if job.kind == "finetune" and sweep.finetune_grid else None
    axes = {key: values for key, values in (grid or {}).items() if f"finetune.{key}" not in given}
    if not axes:
        yield job
        return
    for values in itertools.product(*axes.values()):
        typed_values = {key: type(getattr(tune, key))(value) for key, value in zip(axes, values, strict=True)}
        setting = tuple(assign(f"finetune.{key}", value) for key, value in typed_values.items())
        config = replace(job.config, finetune=replace(tune, **typed_values))
        ranges.check(config.finetune, "finetune")
        yield replace(job, config=config, overrides=(*job.overrides, *setting), setting=setting)


def _remember(job: Job) -> Job:
    _known.setdefault((job.kind, *job.words), job)  # columns with the same stand-in have the same words
    return job


def job_of(kind: str, words: Sequence[str], tree: DictConfig) -> Job:
    """Return the job of a tree that Hydra has composed of these words; what `jobs_of` made of them is taken as it is."""
    known = _known.get((kind, *words))
    if known is not None:
        return known
    config = build(tree)
    row = config.sweep.row if config.sweep is not None else None
    job = Job(kind, config, parse(words), row or "")
    return _remember(replace(job, task=config.task.name) if job.has_task else job)
