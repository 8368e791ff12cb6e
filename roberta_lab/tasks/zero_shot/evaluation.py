"""One evaluation of a pretrained model without finetuning, as a run of its own or in the course of pretraining."""

import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from roberta_lab.axes import tokenizer
from roberta_lab.config import Config
from roberta_lab.data import storage
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.tasks import zero_shot
from roberta_lab.tasks.result import EvaluationResult, predictions_file
from roberta_lab.tasks.zero_shot.base import Items
from roberta_lab.tasks.zero_shot.masked_model import MaskedModel
from roberta_lab.training.devices import device_of
from roberta_lab.training.trainer import threads


def evaluate(config: Config, model: MaskedModel, items: Items, run: Path, label: str) -> EvaluationResult:
    """Score a model, write `predictions.jsonl` into the run's folder, and return the result. Raises ConfigError."""
    task, begin = config.task, time.monotonic()
    model.model.to(device_of(config.trainer.accelerator))
    with threads(config.trainer.threads or torch.get_num_threads()), _bar(config, label) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        found = items.measure(model, config.evaluate, progress)
    seconds = time.monotonic() - begin
    lines = "".join(json.dumps(prediction, ensure_ascii=False) + "\n" for prediction in found.predictions)
    storage.write(predictions_file(run, "dev"), lines)
    return EvaluationResult(
        task=task.name,
        stands_for=task.stands_for,
        caution=task.caution,
        metric=task.metric,
        score=found.score,
        majority=found.chance,
        metrics=found.metrics,
        at_chance=found.low <= found.chance,
        num_dev=len(items),
        low=found.low,
        high=found.high,
        items_per_second=len(items) / max(seconds, 1e-9),
    )


def during_pretraining(config: Config, prepared: Path) -> Callable[[PretrainingModel], dict[str, float]]:
    """Return what scores a model that is being pretrained, as metrics by name: `blimp/accuracy`, from 0 to 100.

    It reads `evaluate.pairs` of each paradigm, draws nothing at random and leaves the model as it was. `prepared` is the
    folder of the tokenizer. Raises ConfigError.
    """
    task, encoding = config.task, tokenizer.load(prepared)
    items = zero_shot.get(task.family).read(replace(task, num_dev=config.evaluate.pairs))

    def score(model: PretrainingModel) -> dict[str, float]:
        was_training = model.training
        subject = MaskedModel(model.eval(), encoding, config.input_format.max_length)
        try:
            found = items.measure(subject, config.evaluate, lambda done, total: None)
        finally:
            model.train(was_training)
        return {f"{task.name}/{task.metric}": found.score}

    return score


def _bar(config: Config, label: str) -> tqdm:
    """Return a bar over scored tokens; in a file, or beside other runs, it is a line every ten seconds."""
    every = 0.2 if sys.stderr.isatty() and multiprocessing.parent_process() is None else 10.0
    return tqdm(desc=label, unit="token", mininterval=every, delay=2, disable=not config.trainer.progress)
