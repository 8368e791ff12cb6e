"""`finetune`: one downstream run, from the pretrained run that the same overrides address, a folder, or random weights."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roberta_lab.config import Config, ConfigError, TaskConfig
from roberta_lab.data import storage
from roberta_lab.data.corpus.preparation import Prepared, embedded, prepared_for
from roberta_lab.runs import identity, run_folder
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.jobs import Job, pretrained_run
from roberta_lab.runs.overrides import without_sweep
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import families, submission
from roberta_lab.tasks.items import TaskData
from roberta_lab.tasks.result import MODEL_FOLDER, WEIGHTS_FILE, predictions_file

if TYPE_CHECKING:
    from roberta_lab.tasks.finetuning import Finetuned
    from roberta_lab.tasks.initial_model import InitialModel


@dataclass(frozen=True)
class Sources:
    """What a finetuning run is made from, found and checked before any work."""

    prepared: Prepared | None  # the corpus with its tokenizer, if either is needed
    pretrained: Path | None  # a complete pretraining run
    encoder: Path | None  # a complete finetuning run with its weights, of `finetune.init_from`

    def fingerprints(self) -> dict[str, str]:
        """Of the data: the run goes on only with the same."""
        found = self.prepared.fingerprints() if self.prepared else {}
        return found | ({"init_from": self.encoder.name} if self.encoder else {})


def main(job: Job) -> None:
    """Finetune once; a run that was interrupted starts again, for it is short."""
    config, path, name = job.config, job.path, job.label
    _check(config)
    if run_folder.has_all(config, path) or _submitted(config, path):
        print(run_folder.complete_line(name, path))
        return
    sources = _sources(job)
    has_all = partial(run_folder.has_all, config, path)
    with run_folder.opened(path, config, job.words, sources.fingerprints(), has_all) as is_mine:
        if not is_mine:
            print(run_folder.complete_line(name, path))
            return
        result = _finetune(config, sources, path, name)
    _say(config, name, path, result)


def _submitted(config: Config, path: Path) -> bool:
    """Makes the submission that a trained run lacks; False if the run has not predicted all of it (`task.num_dev`)."""
    if not run_folder.is_finetuned(config, path):
        return False
    data = _data(config)
    if not all(predictions_file(path, s).is_file() for s in submission.splits(config.task, data)):
        return False
    with storage.claim(path):
        submission.write_all(path, config.task, data)
    return True


def _check(config: Config) -> None:
    if config.pretrained.start == "none" and config.pretrained.path:
        raise ConfigError("pretrained=none contradicts pretrained.path; leave one of them out.")
    if config.finetune.submission:
        submission.check(config.task)


def _sources(job: Job) -> Sources:
    config = job.config
    source = pretrained_run(job) if identity.starts_from_run(config) else None
    encoder = _encoder_of(job)
    prepared = prepared_for(config) if identity.reads_mix(config) else None
    if source is not None and prepared is not None:
        run_folder.check_data(source, prepared.fingerprints())
    return Sources(prepared, source, encoder)


def _encoder_of(job: Job) -> Path | None:
    """Return the complete run of the same settings on the task `finetune.init_from`; None where none is asked for.

    Raises: ConfigError with the command that makes it.
    """
    encoder = job.encoder
    if encoder is None:
        return None
    if not encoder.is_trained:
        command = typed("finetune", without_sweep(encoder.overrides))
        missing = f"the run of finetune.init_from={encoder.config.task.name} is not there with its weights"
        raise ConfigError(f"{missing}: {command}")
    return encoder.path


def _start(config: Config, sources: Sources) -> InitialModel:
    from roberta_lab.model import checkpoint
    from roberta_lab.tasks.initial_model import InitialModel, encoder_weights

    if config.pretrained.path:
        start = InitialModel.from_folder(config.pretrained.path)
    else:
        assert sources.prepared is not None
        tokenizer = sources.prepared.tokenizer
        if sources.pretrained is None:
            start = InitialModel.from_random(config, tokenizer)
        else:
            start = InitialModel.from_run(config, sources.pretrained, tokenizer)
    if sources.encoder is None:
        return start
    saved = checkpoint.load(sources.encoder / WEIGHTS_FILE)
    return replace(start, weights=encoder_weights(saved["weights"], "encoder."))


def _data(config: Config) -> TaskData:
    """The task's items; raises ConfigError when no split of them is one that a submission is asked of."""
    data = families.load(config.task, Path() if families.get(config.task.family).files else embedded(config))
    if config.finetune.submission:
        submission.splits(config.task, data)
    elif config.task.num_dev is not None:  # a quick look: nobody asks for predictions of all of test
        scored = {split: items for split, items in data.others.items() if items and items[0].gold is not None}
        data = replace(data, others=scored)
    return data


def _finetune(config: Config, sources: Sources, path: Path, name: str) -> RunResult:
    """The run itself, between claim and `result.json`."""
    from roberta_lab.runs.tracking import Tracker
    from roberta_lab.tasks.finetuning import finetune

    begin = time.monotonic()
    data = _data(config)
    for note in data.notes:
        print(note)
    start = _start(config, sources)
    print(_inputs(config.task, data, start.max_length))
    (path / "result.json").unlink(missing_ok=True)  # complete, but without the weights that are asked for now
    log, result = Tracker(config, path, "finetune", name, identity.finetune_science(config)), None
    log.resume(0)
    try:
        found = finetune(config, start, data, path, log.write)
        made_from = sources.pretrained.name if sources.pretrained else None
        result = RunResult(path.name, name, time.monotonic() - begin, found.result, made_from)
        if config.finetune.save_model:
            _save(config, start, found, path, result, data)
        if config.finetune.submission:
            submission.write_all(path, config.task, data)
    finally:
        log.close(result)
    result = replace(result, seconds=time.monotonic() - begin)
    run_folder.finish(path, result)
    return result


def _inputs(task: TaskConfig, data: TaskData, most: int) -> str:
    """For the console: the items of each split, and when the model is too short for `task.max_length` tokens."""
    sizes = {"train": len(data.train), "dev": len(data.dev), **{s: len(items) for s, items in data.others.items()}}
    cut = f", of at most {most} tokens: the model has no more (task.max_length={task.max_length})"
    return f"{task.name}: {', '.join(f'{n:,} {s}' for s, n in sizes.items())} items" + cut * (most < task.max_length)


def _save(config: Config, start: InitialModel, found: Finetuned, path: Path, result: RunResult, data: TaskData) -> None:
    """The best epoch's weights: sealed, as this project reads them; and as a folder that transformers loads."""
    from roberta_lab.model import checkpoint
    from roberta_lab.tasks import huggingface

    assert found.weights is not None
    facts: dict[str, Any] = {"head": found.head, "labels": list(found.labels), "num_labels": found.num_labels}
    facts["is_pair"] = any(getattr(item, "text_b", None) is not None for item in data.train)
    checkpoint.save({"weights": found.weights, **facts}, path / WEIGHTS_FILE)
    facts |= {"run_id": path.name, "science": identity.finetune_science(config), "result": result.to_json()}
    huggingface.write(path / MODEL_FOLDER, start, found.weights, found.head, found.labels, facts)


def _say(config: Config, name: str, path: Path, result: RunResult) -> None:
    print(f"{name}: {result.summary()}, {path}")
    if config.sweep is None:
        print(f"next: {path}/predictions.jsonl, or the same with finetune.seed={config.finetune.seed + 1}")
