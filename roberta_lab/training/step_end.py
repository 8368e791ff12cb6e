"""The end of an optimizer step of pretraining: its row, validation, checkpoint, and a stop at a boundary if asked."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from roberta_lab.config import Config
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint
from roberta_lab.model.optimizer import linear_schedule
from roberta_lab.training.rows import Row, RowLog

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StepEnd(L.Callback):
    """What happens when an optimizer step is complete, in this order: its row, validation, checkpoint, and a stop if asked.

    One place and one order, so that a run resumed from a checkpoint repeats exactly what came after it.
    """

    def __init__(self, config: Config, data: PretrainingData, rows: RowLog, checkpoints: Path) -> None:
        self.config, self.data, self.rows, self.checkpoints = config, data, rows, checkpoints
        self.stop_asked = False
        self.parent = multiprocessing.parent_process()  # of a job beside others: the command, without which it stops

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """From here on SIGINT and SIGTERM only set a flag: the step in progress is finished and saved. Here, because
        Lightning sets handlers of its own before."""

        def ask(number: int, frame: Any) -> None:
            self.stop_asked = True

        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                signal.signal(number, ask)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step, steps = trainer.global_step, self.config.batch_size.steps
        if self.parent is not None and os.getppid() != self.parent.pid:
            self.stop_asked = True
        losses, stopping = module.end_step(self.stop_asked)
        if stopping:
            self.stop_asked = True
        self.rows.write(self._row(module, step, losses))
        last = step == steps
        if last or step % max(1, steps // self.config.trainer.num_validations) == 0:
            self.rows.write(Row(step, {"tokens_seen": module.tokens_seen, **module.validate(self.data)}))
        if last or stopping or step % self.config.trainer.checkpoint_every_steps == 0:
            self._refuse_broken(module, step)
            self.rows.flush()
            trainer.save_checkpoint(self.checkpoints / f"step-{step:09d}.ckpt")
            if trainer.is_global_zero:
                checkpoint.keep_newest(self.checkpoints)
        trainer.should_stop = trainer.should_stop or stopping

    def _refuse_broken(self, module: Any, step: int) -> None:
        """A checkpoint of weights that are no numbers would make every later attempt fail."""
        if not all(bool(p.isfinite().all()) for p in module.parameters()):
            raise FloatingPointError(
                f"the weights after step {step} are not finite; the last checkpoint is from before"
            )

    def _row(self, module: Any, step: int, losses: list[float]) -> Row:
        mlm, nsp, correct = losses
        if not math.isfinite(mlm + nsp):
            raise FloatingPointError(f"the loss of step {step} is {mlm + nsp}; the last checkpoint is from before it")
        row = {
            "tokens_seen": module.tokens_seen,
            "epoch": self.data.micro_batches.batches.epochs(step),
            "lr": self.config.batch_size.peak_lr
            * linear_schedule(step - 1, self.config.optimizer.warmup_steps, self.config.batch_size.steps),
            "train/mlm_loss": mlm,
        }
        if module.model.nsp_classifier is not None:
            row |= {"train/nsp_loss": nsp, "train/nsp_acc": correct}
        return Row(step, row)


@contextmanager
def stopping_at_a_step(callback: StepEnd) -> Iterator[None]:
    """Gives SIGINT and SIGTERM back to whoever had them, after `StepEnd` took them at the start of training."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
