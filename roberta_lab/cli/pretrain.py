"""`pretrain`: train one run, from the last checkpoint of an earlier attempt; a complete run is not repeated."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from roberta_lab.config import Config, ConfigError, NonFiniteStep, starters, stopping
from roberta_lab.data.claims import claim
from roberta_lab.data.corpus.preparation import Prepared, prepared_for
from roberta_lab.data.corpus.tokens import cut_of
from roberta_lab.data.storage import Json, replacing_folder
from roberta_lab.model.objectives import objective_of
from roberta_lab.runs import data_checks, identity, results, run_folder
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import zero_shot

if TYPE_CHECKING:
    from roberta_lab.training.step_end import Score


def main(job: Job) -> Json:
    """Prepare the data if they are missing, then train in the folder that belongs to the settings of the config.

    A run that may leave steps out (`trainer.on_nonfinite=skip`) becomes another one at the first of them.
    """
    leaves_out, trainer = identity.without_steps(job.config), job.config.trainer
    if trainer.on_nonfinite == "stop" or job.path == leaves_out:
        return _train(job, job.config)
    try:
        return _train(job, replace(job.config, trainer=replace(trainer, on_nonfinite="stop")))
    except NonFiniteStep as error:
        print(f"{error}\n{job.label}: goes on without this step, as a run of its own: {leaves_out}", flush=True)
    _copy(job.path, leaves_out)
    return _train(replace(job), job.config)  # a new job: the path of this one was the other run's


def _copy(stopped: Path, leaves_out: Path) -> None:
    """Make the folder of the run that leaves steps out of the one that stopped, unless another process has made it.

    While the stopped run is claimed nobody else copies it, nor trains in it. Raises RunInUse.
    """
    with claim(stopped):
        if leaves_out.is_dir():
            return
        with replacing_folder(leaves_out) as folder:
            kept_back = shutil.ignore_patterns(".*", "owner.json", "nonfinite-*")
            shutil.copytree(stopped, folder, ignore=kept_back, dirs_exist_ok=True)


def _train(job: Job, config: Config) -> Json:
    """Train the run of a job as the config says, unless it is complete, and return its answer."""
    path, name = job.path, job.label
    if results.is_complete(path):
        data_checks.expect_own_text([job])
        return run_folder.found_complete(name, path)
    starters.check(config.trainer)
    if config.evaluate.every is not None:
        _check_task(config)
    prepared = prepared_for(config)
    with run_folder.opened(path, config, job.words, prepared.fingerprints()) as is_mine:
        if not is_mine:
            return run_folder.found_complete(name, path)
        with stopping.finishing():  # what is trained is written
            result = _pretrain(config, prepared, path, name)
    from roberta_lab.reports.page import landing, run_page  # jinja: only when there is work

    run_page.write_own(path)
    print(f"{name}: {result.summary()}, {path}")
    if job.is_alone:
        landing.write_landing(Path(config.paths.outputs))
        print(f"next: {folded('finetune', [*job.overrides, 'task=pydoc_topic'])}")
    return run_folder.answer(path)


def _pretrain(config: Config, prepared: Prepared, path: Path, name: str) -> RunResult:
    """Train the run in its claimed folder, write `result.json`, and return the result."""
    from roberta_lab.runs.tracking import Tracker
    from roberta_lab.runs.wandb import media
    from roberta_lab.training.pretraining import pretrain  # torch and Lightning: only when there is work

    start = time.monotonic()
    if cut := cut_of(prepared.store, config.data_mix):
        print(f"{name} {cut}", flush=True)
    score, result = _score(config, prepared), None
    log = Tracker(config, path, "pretrain", name, identity.science(config))
    try:
        found = pretrain(config, prepared, path, log, name, log.note_cut, score, log.speed)
        result = RunResult(path.name, name, time.monotonic() - start, found)
        log.show(partial(media.filled_masks, config, prepared, path))
    finally:
        log.close(result)
    run_folder.finish(path, config, result)
    return result


def _check_task(config: Config) -> None:
    """Raise ConfigError when pretraining cannot score the task that `evaluate.every` asks for, or read its files."""
    said = f"evaluate.every={config.evaluate.every}"
    if not zero_shot.is_yardstick(config.task.family):
        allowed = "Allowed: a task that is scored without finetuning, task=blimp task.path=FOLDER"
        raise ConfigError(f"{said} scores task={config.task.name}, which must be finetuned. {allowed}.")
    if "mlm" not in objective_of(config).reads:
        raise ConfigError(f"{said}: objective={config.objective.name} trains no MLM head, by which tasks are scored.")
    zero_shot.get(config.task.family).read(config.task)  # a mistake in its files is said before anything is prepared


def _score(config: Config, prepared: Prepared) -> Score | None:
    """Return what scores `task` every `evaluate.every` steps; None if that is never."""
    if config.evaluate.every is None:
        return None
    from roberta_lab.tasks.zero_shot.evaluation import during_pretraining

    return during_pretraining(config, prepared.tokenizer)
