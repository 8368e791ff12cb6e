"""The end of an optimizer step of pretraining: its row, validation, checkpoint, and a stop if one was asked for."""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeAlias

import lightning.pytorch as L
from torch import Tensor
from tqdm import tqdm

from roberta_lab.config import Config, NonFinite, stopping
from roberta_lab.config.formatting import short
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.data.position_loader import PositionLoader
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.training import liveness, perf
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.rows import Row, RowLog

Score: TypeAlias = Callable[
    [PretrainingModel], dict[str, float]
]  # leaves the model and all random numbers as they were


class StepEnd(L.Callback):
    """A callback that acts when an optimizer step is complete: row, validation, task, checkpoint, stop, always in this order.

    `score` gives the figures of a task that is scored as pretraining goes on (`evaluate.every`); ranks after the first have none.

    One place and one order, so that a run resumed from a checkpoint repeats exactly what came after it.
    """

    def __init__(
        self,
        config: Config,
        data: PretrainingData,
        rows: RowLog,
        checkpoints: Path,
        bar: tqdm | None = None,
        score: Score | None = None,
        speed: perf.PerfLog | None = None,
    ) -> None:
        self.config, self.data, self.rows, self.checkpoints, self.score = config, data, rows, checkpoints, score
        self.bar = tqdm(disable=True) if bar is None else bar
        self.speed, self.meter = speed or perf.NoPerf(), perf.Meter(config, data)
        self.shown: dict[str, str] = {}  # in the bar
        self.stop_asked = False

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Start the clock: the first step has the start of the loader in it."""
        assert isinstance(module, PretrainingModule)
        self.speed.begin(perf.setup_of(self.config, self.data))
        self.meter.reset()
        self.meter.begin(module.tokens_seen, 0.0)

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Count that there is a batch."""
        liveness.beat()

    def on_before_backward(self, trainer: L.Trainer, module: L.LightningModule, loss: Tensor) -> None:
        """Count a forward pass."""
        liveness.beat()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Do all that follows a step, when its last micro-batch is done."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        assert isinstance(module, PretrainingModule)
        step, steps = trainer.global_step, self.config.batch_size.steps
        self.stop_asked |= stopping.asked() > 0
        losses, stops = module.end_step(self.stop_asked)
        self.stop_asked |= stops
        self.rows.write(self._row(module, step, losses))
        waited = waited_of(trainer)
        self._measure(module, step, waited)
        self.bar.update(step - self.bar.n)
        last = step == steps
        if last or step % max(1, steps // self.config.trainer.num_validations) == 0:
            self._validate(module, step)
        scores = self.score is not None and (last or step % (self.config.evaluate.every or steps) == 0)
        saves = last or stops or step % self.config.trainer.checkpoint_every_steps == 0
        if scores or saves:
            with liveness.alone() if trainer.is_global_zero else nullcontext():
                if self.score is not None and scores:
                    self.rows.write(Row(step, {"tokens_seen": module.tokens_seen, **self.score(module.model)}))
                if saves:
                    self._save(trainer, module, step)
        trainer.should_stop = trainer.should_stop or stops
        self.meter.begin(module.tokens_seen, waited)

    def _measure(self, module: PretrainingModule, step: int, waited: float) -> None:
        """Keep the speed of a step, and show it in the bar when that is drawn."""
        found = self.meter.end(module.tokens_seen, waited)
        self.speed.write(Row(step, found))
        if not self.bar.disable and time.time() - self.bar.last_print_t >= self.bar.mininterval:
            self.shown["tok/s"] = short(found[perf.TOKENS_PER_SECOND])
            if perf.MFU in found:
                self.shown["mfu"] = f"{found[perf.MFU]:.0%}"
            self.bar.set_postfix(self.shown, refresh=False)

    def _validate(self, module: PretrainingModule, step: int) -> None:
        found = module.validate(self.data) | module.score_common(self.data)
        if odd := [name for name, value in found.items() if not math.isfinite(value)]:
            raise NonFinite(f"{odd[0]} after step {step} is {found[odd[0]]}; the last checkpoint is from before it")
        self.rows.write(Row(step, {"tokens_seen": module.tokens_seen, **found}))
        first = f"val/{module.objective.declared[0].name}"
        self.shown[first] = f"{found[first]:.1f}"
        self.bar.set_postfix(self.shown, refresh=False)

    def _save(self, trainer: L.Trainer, module: PretrainingModule, step: int) -> None:
        """Save a checkpoint, after the rows. Raises NonFinite for weights that would break each later attempt."""
        if not all(bool(p.isfinite().all()) for p in module.parameters()):
            raise NonFinite(f"the weights after step {step} are no numbers; the last checkpoint is from before it")
        self.rows.flush()
        trainer.save_checkpoint(self.checkpoints / f"step-{step:09d}.ckpt")
        if trainer.is_global_zero:
            checkpoint.keep_newest(self.checkpoints)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, saved: checkpoint.Saved) -> None:
        """Put the rows so far into a checkpoint, so that damage to their file costs nothing."""
        saved[checkpoint.ROWS] = checkpoint.packed(self.rows.saved())

    def _row(self, module: PretrainingModule, step: int, losses: dict[str, float]) -> Row:
        """Return the row of a step. Raises NonFinite when its loss is no number, unless the step was left out."""
        total = sum(value for name, value in losses.items() if name.endswith("_loss"))
        if not math.isfinite(total):
            raise NonFinite(f"the loss of step {step} is {total}; the last checkpoint is from before it")
        epoch = self.data.micro_batches.batches.epochs(step)
        lr = self.config.batch_size.peak_lr * module.lr_factor(step - 1)
        return Row(step, {"tokens_seen": module.tokens_seen, "epoch": epoch, "lr": lr, **losses})


def waited_of(trainer: L.Trainer) -> float:
    """Return the seconds that the loop has waited for its loader."""
    loader = trainer.train_dataloader
    return loader.waited if isinstance(loader, PositionLoader) else 0.0
