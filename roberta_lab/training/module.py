"""The LightningModule of every pretraining run: its losses over a whole step, its dropout, its validation."""

import math
from contextlib import nullcontext
from typing import Any, cast

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from roberta_lab.axes.input_format import format_of
from roberta_lab.axes.nsp import nsp_is_on
from roberta_lab.axes.rng import stream_key
from roberta_lab.config import Config
from roberta_lab.data.batch import Batch
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.model.objective import LossSums, batch_loss, loss_sums
from roberta_lab.model.optimizer import build_optimizer, linear_schedule
from roberta_lab.training.trainer import seed_dropout


class PretrainingModule(L.LightningModule):
    """MLM with or without NSP. The loss of a step is that of its whole batch, however it is cut into micro-batches."""

    def __init__(self, config: Config, vocab_size: int, pad_id: int) -> None:
        super().__init__()
        self.config = config
        paired = format_of(config.input_format).pairs
        torch.manual_seed(stream_key(config.seed, "init") >> 1)
        self.model = PretrainingModel(
            config.model, vocab_size, config.input_format.max_length, 2 if paired else 0, nsp_is_on(config), pad_id
        )
        self.model.encoder.checkpointing = config.trainer.activation_checkpointing
        if config.trainer.compile:  # layer by layer: all have the same code, so it is compiled once
            for layer in self.model.encoder.layers:
                layer.compile(dynamic=True)
        self.tokens_seen = 0  # by all ranks
        self.step_tokens = 0  # of this step so far, by this rank
        self.sums: list[LossSums] = []  # of this step's micro-batches so far; read at its end, to wait for the GPU once

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. Lightning sets the private `_current_fx_name` some twenty times a step, and torch searches
        its tables of parameters each time: this saves about 1.4 microseconds of each. No public switch turns it off."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Key dropout by the position in the data, so that an interruption cannot change it."""
        seed_dropout(self.device, stream_key(self.config.seed, "dropout", batch["position"]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the micro-batch's share of the loss of its step, () float32."""
        sums = loss_sums(self.model, batch)
        self.divisors = batch["batch_masked"], batch["batch_sequences"]
        loss = batch_loss(sums, *self.divisors)
        self.sums.append(sums.detached())
        self.step_tokens += batch["num_tokens"]
        # Lightning divides by the number of micro-batches, DDP takes the mean over ranks; the loss has its divisor already
        return loss * (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def gradients_again(self) -> None:
        """Compute the gradients of the step at hand once more; the losses and tokens counted for it stay as they are."""
        data: PretrainingData = self.trainer.datamodule  # type: ignore[attr-defined]  # set by `fit`, not declared
        sums, step_tokens, strategy = self.sums.copy(), self.step_tokens, self.trainer.strategy
        per_step = data.micro_batches.per_step
        self.zero_grad()
        for i in range(per_step):
            number = self.trainer.global_step * per_step + i
            batch = data.transfer_batch_to_device(data.micro_batches[number], self.device, 0)
            self.on_train_batch_start(batch, number)
            last = i == per_step - 1  # after which ranks exchange their gradients
            with strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) and not last else nullcontext():
                strategy.backward(cast(Tensor, strategy.training_step(batch, number)) / per_step, None)
        self.sums, self.step_tokens = sums, step_tokens

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW and the linear schedule, moved on after each optimizer step (RoBERTa, Section 2.4)."""
        o, b = self.config.optimizer, self.config.batch_size
        optimizer = build_optimizer(self.model.named_parameters(), b.peak_lr, (o.beta1, o.beta2), o.eps, o.weight_decay)
        schedule = LambdaLR(optimizer, lambda step: linear_schedule(step, o.warmup_steps, b.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, saved: dict[str, Any]) -> None:
        saved["tokens_seen"] = self.tokens_seen

    def on_load_checkpoint(self, saved: dict[str, Any]) -> None:
        self.tokens_seen = saved["tokens_seen"]
        checkpoint.recount(saved["loops"]["fit_loop"], saved["global_step"] * self.trainer.accumulate_grad_batches)

    def end_step(self, stop: bool) -> tuple[dict[str, float], bool]:
        """Count the step's tokens; return its losses (means over the whole batch), and whether any rank was asked to stop.

        The ranks exchange a few numbers. The device is waited for here anyway, since a loss that is not finite ends the run.
        """
        parts = torch.stack([torch.stack((s.mlm, s.nsp, s.nsp_correct.float())) for s in self.sums]).tolist()
        numbers = torch.tensor([*map(sum, zip(*parts, strict=True)), self.step_tokens, stop], dtype=torch.float64)
        mlm, nsp, correct, tokens, stopping = self._sum_over_ranks(numbers).tolist()
        masked, sequences = self.divisors
        self.tokens_seen += int(tokens)
        self.sums, self.step_tokens = [], 0
        losses = {"train/mlm_loss": mlm / max(masked, 1)}
        if self.model.nsp_classifier is not None:
            losses |= {"train/nsp_loss": nsp / sequences, "train/nsp_acc": correct / sequences}
        return losses, stopping > 0

    def _sum_over_ranks(self, numbers: Tensor) -> Tensor:
        """Return the sums over all ranks; in float64, tokens are counted exactly."""
        if self.trainer.world_size == 1:
            return numbers
        return self.trainer.strategy.reduce(numbers.to(self.device), reduce_op="sum")

    @torch.no_grad()
    def validate(self, data: PretrainingData) -> dict[str, float]:
        """Return the held-out losses on the fixed masks: sums over all batches, divided once.

        Perplexity is exp(total negative log-likelihood / masked tokens). Bits per byte count the masked text without
        white space, which not every tokenizer keeps, so they compare between tokenizers.
        """
        self.model.eval()
        totals = torch.zeros(6, dtype=torch.float64)
        with self.trainer.precision_plugin.val_step_context():
            for batch in data.validation_batches(data.micro_batches.rank):
                moved = data.transfer_batch_to_device(batch, self.device, 0)
                sums = [float(value) for value in loss_sums(self.model, moved)]
                totals += totals.new_tensor([*sums, len(batch["cu_seq_lens"]) - 1, data.num_bytes(batch)])
        self.model.train()
        mlm, masked, nsp, correct, sequences, num_bytes = self._sum_over_ranks(totals).tolist()
        found = {"val/mlm_loss": mlm / masked, "val/ppl": float(np.exp(mlm / masked))}
        if num_bytes:
            found["val/bits_per_nonspace_byte"] = mlm / math.log(2) / num_bytes
        if self.model.nsp_classifier is not None:
            found |= {"val/nsp_loss": nsp / sequences, "val/nsp_acc": correct / sequences}
        return found
