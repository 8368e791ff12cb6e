"""`finetune`: train on one task, from the pretraining run of the same overrides, a model folder, or random weights."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from roberta_lab.config import Config, ConfigError, TaskConfig, stopping
from roberta_lab.config.console import say
from roberta_lab.config.formatting import visible
from roberta_lab.data import claims, verified
from roberta_lab.data.corpus.preparation import Prepared, embedded, prepared_for
from roberta_lab.data.storage import Json
from roberta_lab.runs import data_checks, identity, results, run_folder
from roberta_lab.runs.jobs import Job, pretrained_run
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import families, submission
from roberta_lab.tasks.items import TaskData
from roberta_lab.tasks.result import MODEL_FOLDER, WEIGHTS_FILE, predictions_file

if TYPE_CHECKING:
    from roberta_lab.tasks.finetuning import Finetuned
    from roberta_lab.tasks.initial_model import InitialModel


@dataclass(frozen=True)
class Sources:
    """The inputs of a finetuning run, found and checked before any work."""

    prepared: Prepared | None  # the corpus with its tokenizer, if either is needed
    pretrained: Path | None  # folder of a complete pretraining run
    encoder: Path | None  # folder of the complete finetuning run of `finetune.init_from`, with its weights

    def fingerprints(self) -> dict[str, str]:
        """Return hashes of the data, and the id of the encoder's run: a later attempt must have the same."""
        found = self.prepared.fingerprints() if self.prepared else {}
        return found | ({"init_from": self.encoder.name} if self.encoder else {})


def main(job: Job) -> Json:
    """Finetune once, or report that the run is complete. An interrupted run starts again from its first step."""
    config, path, name = job.config, job.path, job.label
    _check(config)
    if job.is_alone and config.trainer.devices > 1:
        several = f"trainer.devices={config.trainer.devices}: a task is finetuned on one device. Allowed: 1;"
        raise ConfigError(f"{several} several runs go side by side with -m and trainer.jobs.")
    data_checks.expect_own_text([job])
    if run_folder.has_all(config, path) or _complete_submission(config, path):
        return run_folder.found_complete(name, path)
    # a mistake in the task's files is said before anything is prepared; what is made of the corpus has none
    data = _data(config) if families.get(config.task.family).files else None
    sources = _sources(job)
    data = data or _data(config)
    start = _start(config, sources)
    has_all = partial(run_folder.has_all, config, path)
    if job.is_alone and not config.finetune.save_model:
        print("weights are not kept; finetune.save_model=true keeps them, for predict, init_from and transformers")
    with run_folder.opened(path, config, job.words, sources.fingerprints(), has_all) as is_mine:
        if not is_mine:
            return run_folder.found_complete(name, path)
        with stopping.finishing():  # what is trained is scored and written
            result = _finetune(config, sources, start, data, path, name)
    from roberta_lab.reports.page import landing

    print(f"{name}: {result.summary()}, {path}")
    if job.is_alone:
        landing.write_landing(Path(config.paths.outputs))
        print(f"next: {path}/predictions.jsonl, or the same with finetune.seed={config.finetune.seed + 1}")
    return run_folder.answer(path)


def _complete_submission(config: Config, path: Path) -> bool:
    """Write the missing submission of a trained run. Return False if predictions are missing too (`task.num_dev`)."""
    if not run_folder.is_finetuned(config, path):
        return False
    data = _data(config)
    if not all(predictions_file(path, s).is_file() for s in submission.splits(config.task, data)):
        return False
    with claims.claim(path):
        results.read(path)
        submission.write_all(path, config.task, data)
        if (path / verified.HASHES).is_file():
            verified.seal(path, results.SEALED)
    return True


def _check(config: Config) -> None:
    """Raise ConfigError for settings that contradict each other, or a submission that the task does not have."""
    if config.pretrained.start == "none" and config.pretrained.path:
        raise ConfigError("pretrained=none contradicts pretrained.path; leave one of them out.")
    if config.finetune.submission:
        submission.check(config.task)


def _sources(job: Job) -> Sources:
    """Return the inputs of the run. Raises ConfigError when a run that it starts from is missing or has other data."""
    config = job.config
    source = pretrained_run(job) if identity.starts_from_run(config) else None
    encoder = job.encoder
    if encoder is not None and not encoder.is_trained:
        claims.wait_until_free(encoder.path, say)
    if encoder is not None and not encoder.is_trained:
        missing = f"the run of finetune.init_from={encoder.config.task.name} is not there with its weights"
        raise ConfigError(f"{missing}: {encoder.command([])}")
    prepared = prepared_for(config) if identity.reads_mix(config) else None
    if source is not None and prepared is not None:
        run_folder.check_data(source, prepared.fingerprints())
    return Sources(prepared, source, encoder.path if encoder is not None else None)


def _start(config: Config, sources: Sources) -> InitialModel:
    """Return the model that the run starts from. Raises ConfigError, also where the run's device is not there; Damaged."""
    from roberta_lab.model import checkpoint
    from roberta_lab.tasks.initial_model import InitialModel, encoder_weights
    from roberta_lab.training.devices import device_of

    device_of(config.trainer.accelerator)
    if config.pretrained.path:
        start = InitialModel.from_folder(config.pretrained.path)
    else:
        assert sources.prepared is not None
        start = InitialModel.from_run(config, sources.pretrained, sources.prepared.tokenizer)
    if sources.encoder is None:
        return start
    saved = checkpoint.load(sources.encoder / WEIGHTS_FILE)
    return replace(start, weights=encoder_weights(saved["weights"], "encoder."))


def _data(config: Config) -> TaskData:
    """Return the task's items. Raises ConfigError when no split of them has the submission that is asked for."""
    data = families.load(config.task, Path() if families.get(config.task.family).files else embedded(config))
    if config.finetune.submission:
        submission.splits(config.task, data)
    elif config.task.num_dev is not None:  # a short trial: predictions of an unlabelled test split would take long
        scored = {split: items for split, items in data.others.items() if items and items[0].gold is not None}
        data = replace(data, others=scored)
    return data


def _finetune(
    config: Config, sources: Sources, start: InitialModel, data: TaskData, path: Path, name: str
) -> RunResult:
    """Train, score and save the run in its claimed folder, write `result.json`, and return the result."""
    from roberta_lab.reports.page import run_page
    from roberta_lab.runs.tracking import Tracker
    from roberta_lab.runs.wandb import media
    from roberta_lab.tasks.finetuning import finetune
    from roberta_lab.tasks.metrics import chance_scores
    from roberta_lab.training.devices import device_name

    start_time = time.monotonic()
    for note in data.notes:
        print(visible(note))
    if start.note:
        print(visible(f"pretrained.path={config.pretrained.path}: {start.note}"))
    print(_input_sizes(config.task, data, start.max_length))
    log, result = Tracker(config, path, "finetune", name, identity.finetune_science(config)), None
    log.resume(0)
    log.note({"device": device_name(config.trainer.accelerator)})
    log.note_chance(partial(chance_scores, config.task, data))
    try:
        found = finetune(config, start, data, path, log.write)
        made_from = sources.pretrained.name if sources.pretrained else None
        result = RunResult(path.name, name, time.monotonic() - start_time, found.result, made_from)
        log.show(partial(media.predictions, config, data, path))
        if config.finetune.save_model:
            _save(config, start, found, path, result, data)
        if config.finetune.submission:
            submission.write_all(path, config.task, data)
    finally:
        log.close(result)
    result = replace(result, seconds=time.monotonic() - start_time)
    run_folder.finish(path, config, result)
    run_page.write_own(path, data, config.task)
    return result


def _input_sizes(task: TaskConfig, data: TaskData, max_length: int) -> str:
    """Return the number of items per split for the console, and a note if the model reads less than `task.max_length`."""
    line = f"{task.name}: {', '.join(f'{len(items):,} {s}' for s, items in data.splits.items())} items"
    if max_length < task.max_length:
        line += f", of at most {max_length} tokens: the model has no more (task.max_length={task.max_length})"
    return line


def _save(config: Config, start: InitialModel, found: Finetuned, path: Path, result: RunResult, data: TaskData) -> None:
    """Save the best epoch's weights twice: as a checkpoint of this project, and as a folder that transformers loads."""
    from roberta_lab.model import checkpoint
    from roberta_lab.tasks import huggingface

    assert found.weights is not None
    facts: dict[str, object] = {"head": found.head, "labels": list(found.labels), "num_labels": found.num_labels}
    facts["is_pair"] = any(getattr(item, "text_b", None) is not None for item in data.train)
    checkpoint.save({"weights": found.weights, **facts}, path / WEIGHTS_FILE)
    facts |= {"run_id": path.name, "science": identity.finetune_science(config), "result": result.to_json()}
    huggingface.write(path / MODEL_FOLDER, start, found.weights, found.head, found.labels, facts)
