"""The LightningModule of every ablation, and the callback that logs, validates and saves at the end of optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from roberta_lab import checkpoint
from roberta_lab.composition import nsp_is_on
from roberta_lab.config import PAIRED_FORMATS, Config
from roberta_lab.datamodule import PretrainingData
from roberta_lab.model import PretrainingModel
from roberta_lab.objective import batch_loss, loss_sums
from roberta_lab.optimizer import build_optimizer, linear_schedule
from roberta_lab.rng import stream_key

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


class PretrainingModule(L.LightningModule):
    """MLM with or without NSP. The loss of a step is that of its whole batch, however it is cut into micro-batches."""

    def __init__(self, config: Config, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        paired = config.input_format.name in PAIRED_FORMATS
        torch.manual_seed(stream_key(config.seed, "init") >> 1)
        self.model = PretrainingModel(
            config.model, vocab_size, config.input_format.max_length, 2 if paired else 0, nsp_is_on(config)
        )
        self.tokens_seen = 0
        self.sums = torch.zeros(3)  # of this step so far: mlm / masked, nsp / sequences, correct / sequences

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Dropout is drawn from the position in the data, so that an interruption cannot change it."""
        torch.manual_seed(stream_key(self.config.seed, "dropout", batch["position"]) >> 1)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        sums = loss_sums(self.model, batch)
        masked, sequences = batch["batch_masked"], batch["batch_sequences"]
        loss = batch_loss(sums, masked, sequences)
        parts = [sums.mlm.detach() / max(masked, 1), sums.nsp.detach() / sequences, sums.nsp_correct / sequences]
        self.sums = self.sums.to(loss.device) + torch.stack(parts)
        self.tokens_seen += batch["num_tokens"]
        return loss * self.trainer.accumulate_grad_batches  # which Lightning divides by

    def configure_optimizers(self) -> dict[str, Any]:
        o, b = self.config.optimizer, self.config.batch_size
        optimizer = build_optimizer(self.model.named_parameters(), b.peak_lr, (o.beta1, o.beta2), o.eps, o.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: linear_schedule(step, o.warmup_steps, b.steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, saved: dict[str, Any]) -> None:
        saved["tokens_seen"] = self.tokens_seen

    def on_load_checkpoint(self, saved: dict[str, Any]) -> None:
        self.tokens_seen = saved["tokens_seen"]

    @torch.no_grad()
    def validate(self, data: PretrainingData) -> dict[str, float]:
        """Held-out loss on the fixed masks: sums over all batches, divided once. ppl = exp(total NLL / masked tokens)."""
        self.model.eval()
        totals = torch.zeros(4, dtype=torch.float64)
        sequences = 0
        with self.trainer.precision_plugin.val_step_context():
            for batch in data.validation_batches():
                sequences += len(batch["input_ids"])
                sums = loss_sums(self.model, {k: v.to(self.device) for k, v in batch.items()})
                totals += torch.stack([s.double().cpu() for s in sums])
        self.model.train()
        mlm, masked, nsp, correct = totals.tolist()
        found = {"val/mlm_loss": mlm / masked, "val/ppl": math.exp(mlm / masked)}
        if self.model.nsp_classifier is not None:
            found |= {"val/nsp_loss": nsp / sequences, "val/nsp_acc": correct / sequences}
        return found


class StepEnd(L.Callback):
    """What happens when an optimizer step is complete, in this order: its row, validation, checkpoint.

    One place and one order, so that a run resumed from a checkpoint repeats exactly what came after it.
    """

    def __init__(
        self,
        config: Config,
        data: PretrainingData,
        write: Callable[[dict[str, Any]], None],
        flush: Callable[[], None],
        checkpoints: Path,
    ) -> None:
        self.config, self.data, self.write, self.flush, self.checkpoints = config, data, write, flush, checkpoints

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step, steps = trainer.global_step, self.config.batch_size.steps
        self.write(self._row(trainer, module, step))
        module.sums = torch.zeros(3)
        last = step == steps
        if last or step % max(1, steps // self.config.trainer.num_validations) == 0:
            self.write({"step": step, "tokens_seen": module.tokens_seen, **module.validate(self.data)})
        if last or step % self.config.trainer.checkpoint_every_steps == 0:
            self.flush()
            trainer.save_checkpoint(self.checkpoints / f"step-{step:09d}.ckpt")
            checkpoint.keep_newest(self.checkpoints)

    def _row(self, trainer: L.Trainer, module: PretrainingModule, step: int) -> dict[str, Any]:
        mlm, nsp, correct = module.sums.tolist()
        if not math.isfinite(mlm + nsp):
            raise FloatingPointError(f"the loss of step {step} is {mlm + nsp}; the last checkpoint is from before it")
        sequences = self.config.batch_size.sequences
        row = {
            "step": step,
            "tokens_seen": module.tokens_seen,
            "epoch": step * sequences / self.data.micro_batches.plan.num_examples,
            "lr": self.config.batch_size.peak_lr
            * linear_schedule(step - 1, self.config.optimizer.warmup_steps, self.config.batch_size.steps),
            "train/mlm_loss": mlm,
        }
        if module.model.nsp_classifier is not None:
            row |= {"train/nsp_loss": nsp, "train/nsp_acc": correct}
        return row


def trainer(config: Config, data: PretrainingData, callback: StepEnd, directory: Path) -> L.Trainer:
    """Lightning's trainer with everything off that the project does itself, exactly."""
    return L.Trainer(
        default_root_dir=directory,
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=PRECISIONS[config.precision.dtype],
        accumulate_grad_batches=data.accumulation,
        max_steps=config.batch_size.steps,
        max_epochs=1,
        callbacks=[callback],
        plugins=[checkpoint.SealedCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
    )
