"""The LightningModule of every downstream task, and one finetuning run (RoBERTa, Sections 3.3 and 5; Table 10).

Heads differ, the rest is one: length-sorted batches from a keyed order, AdamW with linear warmup and decay, dev after each
epoch; the score of a run is that of its best epoch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from roberta_lab import tasks
from roberta_lab.config import PAIRED_FORMATS, Config
from roberta_lab.loop import build_trainer, fit, seed_dropout
from roberta_lab.model import Encoder, initialize
from roberta_lab.optimizer import build_optimizer, linear_schedule
from roberta_lab.rng import generator, stream_key
from roberta_lab.tasks.features import Feature, PairFormat, features, pad
from roberta_lab.tasks.items import Span, TaskData
from roberta_lab.tasks.metrics import exact_match, token_f1
from roberta_lab.tokenizer import Encoding

LOG_EVERY = 20  # steps
BUCKET_BATCHES = 16  # batches that are sorted by length together
DEV_BATCH = 64
MAX_ANSWER_TOKENS = 64

Prediction = dict[str, Any]


def encoder_weights(saved: dict[str, Any]) -> dict[str, Tensor]:
    """The encoder's part of a pretraining checkpoint, under the encoder's own names."""
    prefix = "model.encoder."
    return {k.removeprefix(prefix): v for k, v in saved["state_dict"].items() if k.startswith(prefix)}


class Head(nn.Module):
    """RoBERTa's classification head on `<s>`: dropout, dense, tanh, dropout, linear. (B, T, H) -> (B, num_outputs)."""

    def __init__(self, hidden: int, num_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense, self.out, self.dropout = (
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, num_outputs),
            nn.Dropout(dropout),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(hidden[:, 0])))))


class FinetuningModule(L.LightningModule):
    """The pretrained encoder with the head of a task. Weights that do not all load where they should are an error."""

    def __init__(
        self, config: Config, encoder_state: dict[str, Tensor], vocab_size: int, pad_id: int, num_steps: int
    ) -> None:
        super().__init__()
        self.config, self.num_steps = config, num_steps
        tune, task = config.finetune, config.task
        model = replace(config.model, dropout=tune.dropout, attention_dropout=tune.dropout)
        torch.manual_seed(stream_key(tune.seed, "finetune/init") >> 1)
        paired = config.input_format.name in PAIRED_FORMATS
        self.encoder = Encoder(model, vocab_size, config.input_format.max_length, 2 if paired else 0, pad_id)
        self.encoder.load_state_dict(encoder_state, strict=True)
        num_outputs = task.num_labels if task.head == "classification" else 1
        self.head = Head(model.hidden, num_outputs, model.dropout)  # for spans: is there an answer?
        self.span = nn.Linear(model.hidden, 2) if task.head == "span" else None  # start, end
        for part in (self.head, self.span):
            if part is not None:
                initialize(part, model.init_std)
        self.losses: list[Tensor] = []  # of each step, read when they are needed: nobody waits for a GPU

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Class logits (B, C) and, for spans, start and end logits (B, T, 2), -inf outside the context."""
        hidden = self.encoder(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
        logits = self.head(hidden)
        if self.config.task.head == "choice":
            logits = logits.view(len(batch["target"]), -1)
        if self.span is None:
            return logits, None
        return logits, self.span(hidden).masked_fill(~batch["context"][:, :, None], -math.inf)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy; for spans, that of both ends in windows that hold the answer, plus answerability (summed)."""
        logits, ends = self(batch)
        target = batch["target"]
        if ends is None:
            return F.cross_entropy(logits.float(), target[:, 0])
        answerable = F.binary_cross_entropy_with_logits(logits[:, 0].float(), target[:, 2].float())
        held = target[:, 2] == 1
        if not held.any():
            return answerable
        place = F.cross_entropy(ends[held].float(), target[held, :2])  # (n, T, 2) against (n, 2): both ends
        return answerable + place

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        seed_dropout(self.device, stream_key(self.config.finetune.seed, "finetune/dropout", batch_idx))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.losses.append(loss.detach())
        return loss

    def lr(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0."""
        return self.config.finetune.lr * self._schedule(step)

    def _schedule(self, step: int) -> float:
        return linear_schedule(step, round(self.config.finetune.warmup_ratio * self.num_steps), self.num_steps)

    def configure_optimizers(self) -> dict[str, Any]:
        tune, o = self.config.finetune, self.config.optimizer
        optimizer = build_optimizer(self.named_parameters(), tune.lr, (o.beta1, tune.beta2), o.eps, tune.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


# ---------------------------------------------------------------- batches
class Batches(Dataset):
    """Batch number i of a finetuning run: a pure function of (seed, i). Batches of one length have little padding."""

    def __init__(self, features: list[Feature], config: Config, pad_id: int) -> None:
        self.features, self.pad_id, self.config = features, pad_id, config
        self.lengths = np.array([max(len(s.ids) for s in feature.sequences) for feature in features])
        self.per_epoch = math.ceil(len(features) / config.finetune.batch)
        self._epoch = lru_cache(maxsize=1)(self._batches)

    def __len__(self) -> int:
        return self.per_epoch * self.config.finetune.epochs

    def _batches(self, epoch: int) -> list[np.ndarray]:
        size, draw = self.config.finetune.batch, generator(self.config.finetune.seed, "finetune/order", epoch)
        order = draw.permutation(len(self.features))
        buckets = np.split(order, range(size * BUCKET_BATCHES, len(order), size * BUCKET_BATCHES))
        ordered = np.concatenate([bucket[np.argsort(self.lengths[bucket], kind="stable")] for bucket in buckets])
        batches = np.split(ordered, range(size, len(ordered), size))
        return [batches[i] for i in draw.permutation(len(batches))]

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        epoch, number = divmod(i, self.per_epoch)
        return to_batch([self.features[j] for j in self._epoch(epoch)[number]], self.pad_id)


def to_batch(features: list[Feature], pad_id: int) -> dict[str, Tensor]:
    """Tensors of some features: input_ids, token_type_ids (S, T) int64, attention_mask, context (S, T) bool, target (B, .)."""
    ids, types, real = pad([sequence for feature in features for sequence in feature.sequences], pad_id)
    batch = {"input_ids": ids, "token_type_ids": types, "attention_mask": real}
    batch["target"] = np.array([feature.target for feature in features])
    if features[0].offsets:
        column = np.arange(ids.shape[1])
        starts, ends = np.array([feature.context for feature in features]).T
        batch["context"] = (column >= starts[:, None]) & (column < ends[:, None])
    return {name: torch.from_numpy(array) for name, array in batch.items()}


# ---------------------------------------------------------------- dev
@torch.no_grad()
def predict(module: FinetuningModule, data: list[Feature], pad_id: int) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """Each feature's logits, and for windows those of both ends, as (index, (C,), (T, 2)); short inputs first."""
    module.eval()
    order = np.argsort([len(feature.sequences[0].ids) for feature in data], kind="stable")
    for start in range(0, len(order), DEV_BATCH):
        chosen = order[start : start + DEV_BATCH]
        batch = {k: v.to(module.device) for k, v in to_batch([data[i] for i in chosen], pad_id).items()}
        with module.trainer.precision_plugin.val_step_context():
            logits, ends = module(batch)
        for row, i in enumerate(chosen):
            yield int(i), logits[row].float().cpu(), None if ends is None else ends[row].float().cpu()
    module.train()


def best_span(ends: Tensor, context: tuple[int, int]) -> tuple[int, int]:
    """The tokens (first, last) of the context with the largest sum of logits, last not before first. ends is (T, 2)."""
    first, last = ends[slice(*context)].unbind(1)
    scores = first[:, None] + last[None, :]
    allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(MAX_ANSWER_TOKENS - 1)
    place = int(scores.masked_fill(~allowed, -math.inf).argmax())
    return place // len(first), place % len(first)


def evaluate(module: FinetuningModule, items: TaskData, data: list[Feature], pad_id: int) -> list[Prediction]:
    """One prediction per dev item, with its scores by the task's metrics, 0 to 1 each."""
    predictions: list[Prediction] = [{"id": item.id} for item in items.dev]
    for i, logits, ends in predict(module, data, pad_id):
        feature, prediction = data[i], predictions[data[i].item]
        item = items.dev[feature.item]
        if ends is None:
            assert not isinstance(item, Span)
            label = int(logits.argmax())
            prediction |= {"prediction": label, "logits": logits.tolist(), "accuracy": float(label == item.label)}
        elif not float(logits[0]) <= prediction.get("answerable", -math.inf):  # the surest window; of NaN ones, any
            assert isinstance(item, Span)
            first, last = best_span(ends, feature.context)
            text = item.context[feature.offsets[first][0] : feature.offsets[last][1]] if logits[0] > 0 else ""
            prediction |= {"prediction": text, "answerable": float(logits[0])}
            prediction |= {"f1": token_f1(text, item.answer_text), "em": exact_match(text, item.answer_text)}
    return predictions


def mean_scores(predictions: list[Prediction]) -> dict[str, float]:
    """The means of each metric over the items, 0 to 100."""
    names = [name for name in ("accuracy", "f1", "em") if name in predictions[0]]
    return {name: 100 * sum(p[name] for p in predictions) / len(predictions) for name in names}


# ---------------------------------------------------------------- one run
class EpochEnd(L.Callback):
    """Logs losses, and at the end of each epoch evaluates on dev and keeps the best epoch's predictions."""

    def __init__(self, evaluate: Callable[[], list[Prediction]], metric: str, per_epoch: int, write: Callable) -> None:
        self.evaluate, self.metric, self.per_epoch, self.write = evaluate, metric, per_epoch, write
        self.best: dict[str, Any] = {"epoch": 0, "scores": {metric: -math.inf}, "predictions": []}

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step % LOG_EVERY == 0:
            recent = torch.stack(module.losses[-LOG_EVERY:]).tolist()
            row = {"step": step, "epoch": step / self.per_epoch, "lr": module.lr(step - 1)}
            self.write({**row, "train/loss": sum(recent) / len(recent)})
        if step % self.per_epoch == 0:
            predictions = self.evaluate()
            scores, epoch = mean_scores(predictions), step // self.per_epoch
            self.write({"step": step, "epoch": epoch, **{f"dev/{name}": score for name, score in scores.items()}})
            if scores[self.metric] > self.best["scores"][self.metric]:
                self.best = {"epoch": epoch, "scores": scores, "predictions": predictions}


def finetune(
    config: Config,
    encoder_state: dict[str, Tensor],
    encoding: Encoding,
    corpus: Path,
    directory: Path,
    write: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Trains on the task, writes `predictions.jsonl` of the best epoch into `directory`, and returns the run's result."""
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    task = config.task
    data = tasks.load(task, corpus)
    length = min(task.max_length, config.input_format.max_length)
    pairs = PairFormat(length, config.input_format.name in PAIRED_FORMATS)
    train, dev = (features(task.head, items, encoding, pairs) for items in (data.train, data.dev))
    batches = Batches(train, config, encoding.pad_id)
    module = FinetuningModule(config, encoder_state, encoding.vocab_size, encoding.pad_id, len(batches))
    callback = EpochEnd(lambda: evaluate(module, data, dev, encoding.pad_id), task.metric, batches.per_epoch, write)
    loader = DataLoader(batches, batch_size=None, shuffle=False, generator=torch.Generator().manual_seed(0))
    fit(build_trainer(config, directory, max_steps=len(batches), max_epochs=1, callbacks=[callback]), module, loader)
    with open(directory / "predictions.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(prediction) + "\n" for prediction in callback.best["predictions"])
    return _result(config, data, callback.best, torch.stack(module.losses).tolist())


def _result(config: Config, data: TaskData, best: dict[str, Any], losses: list[float]) -> dict[str, Any]:
    """Chance and divergence are said aloud: no better than the best constant by two standard errors; a loss that never fell."""
    score, part = best["scores"][config.task.metric], max(1, len(losses) // 10)
    gains = [p[config.task.metric] - b for p, b in zip(best["predictions"], data.baseline, strict=True)]
    error = 100 * float(np.std(gains)) / math.sqrt(len(gains))
    return {
        "kind": "finetune",
        "task": config.task.name,
        "stands_for": config.task.stands_for,
        "caution": config.task.caution,
        "metric": config.task.metric,
        "score": score,
        "majority": data.majority,
        "metrics": best["scores"],
        "at_chance": score <= data.majority + 2 * error,
        "diverged": not sum(losses[-part:]) / part < losses[0],  # also when it is no number
        "best_epoch": best["epoch"],
        "num_train": len(data.train),
        "num_dev": len(data.dev),
        "finetune_seed": config.finetune.seed,
    }
