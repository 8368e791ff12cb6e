"""The LightningModule of every downstream task, and one finetuning run (RoBERTa, Sections 3.3 and 5; Table 10).

Heads differ, the rest is one: length-sorted batches from a keyed order, AdamW with linear warmup and decay, dev after each
epoch, an early end when its score stops rising; the score of a run is that of its best epoch.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from roberta_lab.axes.rng import generator, stream_key
from roberta_lab.config import Config, Stopped, TaskConfig, stopping
from roberta_lab.data import storage
from roberta_lab.model import schedule
from roberta_lab.model.optimizer import build_optimizer
from roberta_lab.tasks import heads
from roberta_lab.tasks.feature_table import FeatureTable, cached
from roberta_lab.tasks.features import PairFormat
from roberta_lab.tasks.initial_model import InitialModel
from roberta_lab.tasks.items import Item, Predictions, TaskData
from roberta_lab.tasks.metrics import constant_predictions, score, share_no_better
from roberta_lab.tasks.result import FinetuningResult, at_chance, predictions_file
from roberta_lab.tasks.task_model import TaskModel, predict
from roberta_lab.training import gpu_code
from roberta_lab.training.devices import device_of
from roberta_lab.training.rows import Row
from roberta_lab.training.trainer import RetryingHalfPrecision, build_trainer, fit, joint_norm, seed_dropout, threads

LOG_EVERY = 20  # steps
FEWEST_STEPS = 20  # fewer steps do not show whether the loss fell
BUCKET_BATCHES = 64  # batches that are sorted by length together

Write = Callable[[Row], None]
Evaluate = Callable[[str], tuple[Predictions, dict[str, float]]]  # a split's predictions and scores


class FinetuningModule(L.LightningModule):
    """The encoder of an initial model with the head of a task; what has no weights yet is drawn from the seed."""

    def __init__(self, config: Config, start: InitialModel, head: str, num_labels: int, num_steps: int) -> None:
        super().__init__()
        self.config, self.num_steps, tune = config, num_steps, config.finetune
        encoder = start.encoder(tune.dropout, stream_key(tune.seed, "finetune/encoder"))
        encoder.layers.checkpointing = config.trainer.activation_checkpointing
        torch.manual_seed(stream_key(tune.seed, "finetune/head") >> 1)
        self.model = TaskModel(encoder, head, num_labels, encoder.config)
        self.losses: list[Tensor] = []  # of each step; reading them waits for a GPU, so that is done rarely
        self.broken_at: int | None = (
            None  # the step whose gradients were no numbers: it was not taken, and none follows
        )

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        seed_dropout(self.device, stream_key(self.config.finetune.seed, "finetune/dropout", batch_idx))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.model.loss(batch)
        self.losses.append(loss.detach())
        self.at_hand = batch, batch_idx
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """End the run before a step whose gradients are no numbers. fp16 looks itself, with smaller scales too."""
        if isinstance(self.trainer.precision_plugin, RetryingHalfPrecision):
            return
        norm = joint_norm([gradient for p in self.parameters() if (gradient := p.grad) is not None])
        if not math.isfinite(float(norm)):
            self.leave_out_step()

    def leave_out_step(self) -> None:
        """Leave out the step at hand, whose gradients are no numbers, and end training: the result says that it diverged."""
        self.broken_at, self.trainer.should_stop = self.trainer.global_step + 1, True
        self.zero_grad()

    def gradients_again(self) -> None:
        """Compute the gradients of the batch at hand once more, with the same dropout: fp16's loss scale was too large."""
        batch, batch_idx = self.at_hand
        self.zero_grad()
        self.on_train_batch_start(batch, batch_idx)
        self.trainer.strategy.backward(self.training_step(batch, batch_idx), None)
        del self.losses[-1]

    def lr_factor(self, step: int) -> float:
        """Return the factor on the peak learning rate at optimizer step `step`, counted from 0."""
        warmup_steps = round(self.config.finetune.warmup_ratio * self.num_steps)
        return schedule.factor("linear", step, warmup_steps, self.num_steps)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        tune, o = self.config.finetune, self.config.optimizer
        optimizer = build_optimizer(self.named_parameters(), tune.lr, (o.beta1, tune.beta2), o.eps, tune.weight_decay)
        lr = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr, "interval": "step"}}


class Batches(Dataset):
    """Batch number i of a finetuning run: a pure function of (seed, i). Batches of one length have little padding."""

    def __init__(self, table: FeatureTable, config: Config, pad_id: int) -> None:
        self.table, self.pad_id, self.config = table, pad_id, config
        self.per_epoch = math.ceil(len(table) / config.finetune.batch)
        self._epoch = lru_cache(maxsize=1)(self.rows)

    def __len__(self) -> int:
        return self.per_epoch * self.config.finetune.epochs

    def rows(self, epoch: int) -> list[np.ndarray]:
        """Return the features of each batch of an epoch."""
        size, draw = self.config.finetune.batch, generator(self.config.finetune.seed, "finetune/order", epoch)
        order, lengths = draw.permutation(len(self.table)), self.table.longest
        buckets = np.split(order, range(size * BUCKET_BATCHES, len(order), size * BUCKET_BATCHES))
        ordered = np.concatenate([bucket[np.argsort(lengths[bucket], kind="stable")] for bucket in buckets])
        batches = np.split(ordered, range(size, len(ordered), size))
        return [batches[i] for i in draw.permutation(len(batches))]

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        epoch, number = divmod(i, self.per_epoch)
        batch = self.table.batch(self._epoch(epoch)[number], self.pad_id)
        return {name: torch.from_numpy(array) for name, array in batch.items()}


@dataclass
class Best:
    """The epoch with the best dev score; of equal ones the first."""

    epoch: int
    scores: dict[str, float]
    predictions: Predictions
    weights: dict[str, Tensor] | None  # of TaskModel, if they are needed once more


class EpochEnd(L.Callback):
    """A callback that logs losses, evaluates on dev after each epoch, keeps the best epoch, and stops after `patience` epochs without a better score."""

    def __init__(self, config: Config, evaluate: Evaluate, per_epoch: int, write: Write, keep: bool) -> None:
        self.config, self.evaluate, self.per_epoch, self.write, self.keep = config, evaluate, per_epoch, write, keep
        self.best: Best | None = None
        self.epochs = 0
        self.seconds = 0.0  # of evaluation

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        assert isinstance(module, FinetuningModule)
        step = trainer.global_step
        if (number := stopping.asked()) and step < module.num_steps:
            stopping.stop(number)
        if step % LOG_EVERY == 0:
            recent = torch.stack(module.losses[-LOG_EVERY:]).tolist()
            lr = self.config.finetune.lr * module.lr_factor(step - 1)
            self.write(Row(step, {"epoch": step / self.per_epoch, "lr": lr, "train/loss": sum(recent) / len(recent)}))
        if step % self.per_epoch and module.broken_at is None:
            return
        begin = time.monotonic()
        predictions, scores = self.evaluate("dev")
        self.epochs += 1
        self.write(Row(step, {"epoch": self.epochs, **{f"dev/{name}": value for name, value in scores.items()}}))
        metric, patience = self.config.task.metric, self.config.finetune.patience
        if self.best is None or scores[metric] > self.best.scores[metric]:
            state = module.model.state_dict()
            weights = {k: v.detach().cpu().clone() for k, v in state.items()} if self.keep else None
            self.best = Best(self.epochs, scores, predictions, weights)
        elif patience is not None and self.epochs - self.best.epoch >= patience:
            trainer.should_stop = True
        self.seconds += time.monotonic() - begin


@dataclass(frozen=True)
class Finetuned:
    """The outcome of a run: its result, and the best epoch's weights (of `TaskModel`) if they were kept."""

    result: FinetuningResult
    head: str  # a name that `heads.load` knows
    labels: tuple[str, ...]
    num_labels: int
    weights: dict[str, Tensor] | None


def finetune(config: Config, start: InitialModel, data: TaskData, directory: Path, write: Write) -> Finetuned:
    """Train on the task and write the best epoch's predictions into `directory`.

    `predictions.jsonl` is dev's, `predictions.SPLIT.jsonl` that of each other split, also where it has no labels.
    """
    kind, num_labels = heads.load(config.task.head), config.task.num_labels or len(data.labels)
    head, splits = kind.variant(config.task, data), data.splits
    task, pad_id = replace(config.task, num_labels=num_labels), start.encoding.pad_id
    pairs, cache = PairFormat.for_task(task, start.max_length, start.paired), Path(config.paths.cache)
    tables = {split: cached(task.head, items, start.encoding, pairs, cache) for split, items in splits.items()}
    if cut := _cut(splits, tables):
        print(f"{task.name}: {cut} lose the end of a text, longer than {pairs.max_length} tokens", flush=True)
    batches = Batches(tables["train"], config, pad_id)
    module = FinetuningModule(config, start, head, num_labels, len(batches))

    def evaluate(split: str) -> tuple[Predictions, dict[str, float]]:
        context = module.trainer.precision_plugin.val_step_context
        found = predict(module.model, task, splits[split], tables[split], pad_id, context)
        return found, _finite(score(task, splits[split], found))

    callback = EpochEnd(config, evaluate, batches.per_epoch, write, config.finetune.save_model or bool(data.others))
    loader = DataLoader(batches, batch_size=None, shuffle=False, generator=torch.Generator().manual_seed(0))
    trainer = build_trainer(config, directory, max_steps=len(batches), max_epochs=1, callbacks=[callback])
    with threads(config.trainer.threads or torch.get_num_threads()), gpu_code.kernels(config):
        begin = time.monotonic()
        try:
            fit(trainer, module, loader)
        except Stopped as error:
            lost = f"{trainer.global_step} of {len(batches)} steps of finetuning on {task.name}, which keeps no checkpoints, are lost"
            stopping.stop(error.number, f"{lost}; the same command starts that run anew")
        seconds = time.monotonic() - begin - callback.seconds
        best = callback.best
        assert best is not None, "there is an epoch"
        evaluated = {"dev": (best.predictions, best.scores)}
        if best.weights is not None:
            module.model.load_state_dict(best.weights)
            module.model.to(device_of(config.trainer.accelerator))  # Lightning leaves it on the CPU
            evaluated |= {split: evaluate(split) for split in data.others}
    for split, (found, _) in evaluated.items():
        lines = (json.dumps(prediction, ensure_ascii=False) + "\n" for prediction in found)
        storage.write(predictions_file(directory, split), "".join(lines))  # in place of a link, too
    reasons = {split: kind.unreachable(task, items, tables[split]) for split, items in splits.items()}
    result = replace(
        _result(config, task, data, best, callback.epochs, torch.stack(module.losses).tolist(), module.broken_at),
        examples_per_second=len(tables["train"]) * callback.epochs / max(seconds, 1e-9),
        others={split: scores for split, (_, scores) in evaluated.items() if split != "dev" and scores},
        inputs={split: table.lengths.size for split, table in tables.items()},
        unreachable={split: dict(Counter(why.values())) for split, why in reasons.items() if why is not None} or None,
    )
    return Finetuned(result, head, data.labels, num_labels, best.weights)


def _cut(splits: Mapping[str, Sequence[Item]], tables: Mapping[str, FeatureTable]) -> str:
    """Return how many items of each split are cut; nothing if none is."""
    counts = {split: tables[split].num_cut for split in splits}
    return ", ".join(f"{n:,} of {len(splits[split]):,} {split} items" for split, n in counts.items() if n)


def _finite(scores: dict[str, float]) -> dict[str, float]:
    """Return the scores with 0 in place of what is no number, as predictions that are no numbers give."""
    return {name: value if math.isfinite(value) else 0.0 for name, value in scores.items()}


def diverged(losses: Sequence[float]) -> bool:
    """Return whether the loss ended as no number, or no lower than it began: means of the last and first tenth of the steps.

    A run may blow up within the first tenth already; so twice the very first loss is high, too. A loss of 0 is fine,
    and in runs of fewer than `FEWEST_STEPS` steps only what is no number counts.
    """
    part = max(1, len(losses) // 10)
    first, last = sum(losses[:part]) / part, sum(losses[-part:]) / part
    if not math.isfinite(last):
        return True
    return len(losses) >= FEWEST_STEPS and last > 0 and last >= min(first, 2 * losses[0])


def _result(
    config: Config,
    task: TaskConfig,
    data: TaskData,
    best: Best,
    epochs: int,
    losses: list[float],
    broken_at: int | None = None,
) -> FinetuningResult:
    """Return the result, with two marks: no better than the best constant prediction, and a loss that never fell."""
    constant = constant_predictions(task, data)
    share = share_no_better(task, data.dev, best.predictions, constant, num_tried=epochs)
    return FinetuningResult(
        task=task.name,
        stands_for=task.stands_for,
        caution=task.caution,
        metric=task.metric,
        score=best.scores[task.metric],
        majority=score(task, data.dev, constant)[task.metric.removeprefix("best_")],
        metrics=best.scores,
        at_chance=at_chance(share, epochs),
        share_no_better=share,
        diverged=broken_at is not None or diverged(losses),
        best_epoch=best.epoch,
        epochs=epochs,
        num_train=len(data.train),
        num_dev=len(data.dev),
        finetune_seed=config.finetune.seed,
        examples_per_second=0.0,
    )
