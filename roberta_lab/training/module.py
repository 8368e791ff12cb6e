"""The LightningModule of every pretraining run: its losses over a whole step, its dropout, its validation."""

import math
from contextlib import nullcontext
from typing import Any, cast

import lightning.pytorch as L
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
from roberta_lab.model import checkpoint, common_score, schedule
from roberta_lab.model.encoder import Layers, PretrainingModel, initialize
from roberta_lab.model.objective import Counts, Sums, own_counts
from roberta_lab.model.objectives import objective_of
from roberta_lab.model.optimizer import build_optimizer
from roberta_lab.training import liveness, noise, nonfinite
from roberta_lab.training.trainer import RetryingHalfPrecision, joint_norm, scale_of, seed_dropout


class PretrainingModule(L.LightningModule):
    """An objective on a model. The loss of a step is divided by the counts of its whole batch, not of each micro-batch.

    With dropout off it is the same however the step is cut; dropout is keyed by the micro-batch, so another cut drops other units.
    """

    def __init__(self, config: Config, vocab_size: int, pad_id: int) -> None:
        super().__init__()
        self.config, self.objective = config, objective_of(config)
        token_types, length = 2 if format_of(config.input_format).pairs else 0, config.input_format.max_length
        key = stream_key(config.seed, "init")
        torch.manual_seed(key >> 1)  # for parts of an objective's heads that `initialize` does not know
        heads = self.objective.heads(config.model, vocab_size)
        self.model = PretrainingModel(config.model, vocab_size, length, token_types, nsp_is_on(config), pad_id, heads)
        initialize(self.model, config.model.init_std, key)  # the same under every format, objective and `nsp`
        self.model.freeze_heads(self.objective.reads)
        for layers in (part for part in self.model.modules() if isinstance(part, Layers)):  # those of heads too
            layers.checkpointing = config.trainer.activation_checkpointing
        self.is_graph = False  # the encoder's kernels are launched as one, into memory that is always the same
        self.tokens_seen = 0  # by all ranks
        self.step_tokens = 0  # of this step so far, by this rank
        self.sums: list[Sums] = []  # of this step's micro-batches so far; read at its end, to wait for the GPU once
        self.all_parameters = [*self.parameters()]  # listed once: a walk through all modules takes a while
        self.gradient_norm = torch.zeros(())  # of this step, of all ranks
        self.noise: noise.Noise | None = None  # of this step, where it is measured
        self.num_skipped = 0  # steps that were left out, since their gradients are no numbers
        self.is_skipped = False  # this step

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. Lightning sets the private `_current_fx_name` some twenty times a step, and torch searches
        its tables of parameters each time: this saves about 1.4 microseconds of each. No public switch turns it off."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Key dropout by the position in the data, counted in micro-batches: no interruption changes it, another cut does."""
        seed_dropout(self.device, stream_key(self.config.seed, "dropout", batch["position"]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the micro-batch's share of the loss of its step, () float32."""
        if self.is_graph:
            torch.compiler.cudagraph_mark_step_begin()
        sums = self.objective.sums(self.model, batch)
        self.counts = counts_of_step(batch)
        loss = self.objective.loss(sums, self.counts)
        self.sums.append({name: value.detach() for name, value in sums.items()})
        self.step_tokens += batch["num_tokens"]
        # Lightning divides by the number of micro-batches, DDP takes the mean over ranks; the loss has its divisor already
        return loss * (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the norm of the step's gradients, which all ranks share by now. One that is no number is not taken.

        fp16 looks itself, and computes gradients again with a smaller scale before it gives a step up.
        """
        gradients = [gradient for p in self.all_parameters if (gradient := p.grad) is not None]
        self.gradient_norm = joint_norm(gradients) / scale_of(self.trainer, optimizer)
        norm = float(self.gradient_norm)  # waits for the device
        self.noise, self.is_skipped = None, False
        every, step = self.config.trainer.noise_scale_every, self.trainer.global_step
        if not math.isfinite(norm) and not isinstance(self.trainer.precision_plugin, RetryingHalfPrecision):
            self.leave_out_step()
        elif every is not None and (step + 1) % every == 0 and math.isfinite(norm):
            self.noise = noise.measure(self, self.data, step, norm)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Forget the gradients."""
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Forget the gradients; those of a graph are summed up in memory of their own, since its results are overwritten."""
        self.zero_grad(set_to_none=not self.is_graph)
        if self.is_graph:
            for parameter in self.all_parameters:
                if parameter.grad is None and parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)

    def leave_out_step(self) -> None:
        """Leave out the step at hand, whose gradients are no numbers: weights and averages of the optimizer stay as they are.

        Raises: NonFiniteStep, with its examples in a file, unless `trainer.on_nonfinite` is skip.
        """
        error = nonfinite.describe(self)
        if self.config.trainer.on_nonfinite == "stop":
            raise error
        self.num_skipped += 1
        self.is_skipped = True
        for parameter in self.all_parameters:
            parameter.grad = None

    @property
    def data(self) -> PretrainingData:
        """Return the data that `fit` was given."""
        data: PretrainingData = self.trainer.datamodule  # type: ignore[attr-defined]  # set by `fit`, not declared
        return data

    def gradients_again(self) -> None:
        """Compute the gradients of the step at hand once more; the losses and tokens counted for it stay as they are."""
        data = self.data
        sums, step_tokens, strategy = self.sums.copy(), self.step_tokens, self.trainer.strategy
        per_step = data.micro_batches.per_step
        self.forget_gradients()
        for i in range(per_step):
            number = self.trainer.global_step * per_step + i
            batch = data.transfer_batch_to_device(data.micro_batches[number], self.device, 0)
            self.on_train_batch_start(batch, number)
            last = i == per_step - 1  # after which ranks exchange their gradients
            with strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) and not last else nullcontext():
                strategy.backward(cast(Tensor, strategy.training_step(batch, number)) / per_step, None)
        self.sums, self.step_tokens = sums, step_tokens

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and its schedule, moved on after each optimizer step (RoBERTa, Section 2.4)."""
        o, peak_lr = self.config.optimizer, self.config.batch_size.peak_lr
        named, betas = self.model.named_parameters(), (o.beta1, o.beta2)
        optimizer = build_optimizer(named, peak_lr, betas, o.eps, o.weight_decay, o.name)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.lr_factor), "interval": "step"},
        }

    def lr_factor(self, step: int) -> float:
        """Return the factor on the peak learning rate at a step, counted from 0."""
        config = self.config
        return schedule.factor(config.schedule.name, step, config.optimizer.warmup_steps, config.batch_size.steps)

    def on_save_checkpoint(self, saved: dict[str, Any]) -> None:
        saved["tokens_seen"] = self.tokens_seen
        if self.num_skipped:
            saved["num_skipped"] = self.num_skipped

    def on_load_checkpoint(self, saved: dict[str, Any]) -> None:
        self.tokens_seen, self.num_skipped = saved["tokens_seen"], saved.get("num_skipped", 0)
        checkpoint.recount(saved["loops"]["fit_loop"], saved["global_step"] * self.trainer.accumulate_grad_batches)

    def end_step(self, stop: bool) -> tuple[dict[str, float], bool]:
        """Count the step's tokens; return its losses (means over the whole batch), and whether any rank was asked to stop.

        A step that was left out has the losses that are numbers, and a count of such steps so far.

        The ranks exchange a few numbers. The device is waited for here anyway, since a loss that is not finite ends the run.
        """
        names = self.objective.summed
        flat = torch.stack([*(sums[name] for sums in self.sums for name in names), self.gradient_norm])
        *values, gradient_norm = flat.tolist()
        totals = [sum(values[i :: len(names)]) for i in range(len(names))]
        numbers = torch.tensor([*totals, self.step_tokens, stop], dtype=torch.float64)
        *totals, tokens, stopping = self.sum_over_ranks(numbers).tolist()
        self.tokens_seen += int(tokens)
        self.sums, self.step_tokens = [], 0
        losses = self.objective.metrics(dict(zip(names, totals, strict=True)), self.counts, held_out=False)
        measured = self.noise.metrics() if self.noise is not None else {}
        found = {**losses, "train/grad_norm": gradient_norm, **measured}
        if self.is_skipped:
            found = {name: value for name, value in found.items() if math.isfinite(value)}
            found["train/skipped"] = self.num_skipped
        return found, stopping > 0

    def sum_over_ranks(self, numbers: Tensor) -> Tensor:
        """Return the sums over all ranks; in float64, tokens are counted exactly."""
        if self.trainer.world_size == 1:
            return numbers
        liveness.beat()  # before it waits for the others
        return self.trainer.strategy.reduce(numbers.to(self.device), reduce_op="sum")

    @torch.no_grad()
    def validate(self, data: PretrainingData) -> dict[str, float]:
        """Return the held-out metrics on the fixed masks: sums over all batches, divided once."""
        self.model.eval()
        names = [*self.objective.summed, "masked", "sequences", "tokens", "bytes"]
        totals = torch.zeros(len(names), dtype=torch.float64)
        with self.trainer.precision_plugin.val_step_context():
            for batch in data.validation_batches(data.micro_batches.rank):
                moved = data.transfer_batch_to_device(batch, self.device, 0)
                sums = {name: float(value) for name, value in self.objective.sums(self.model, moved).items()}
                found = {**sums, **own_counts(batch), "bytes": data.num_bytes(batch)}
                totals += totals.new_tensor([found[name] for name in names])
        self.model.train()
        numbers = dict(zip(names, self.sum_over_ranks(totals).tolist(), strict=True))
        return self.objective.metrics(numbers, numbers, held_out=True)

    def score_common(self, data: PretrainingData) -> dict[str, float]:
        """Return the figures on the common held-out set; nothing for an objective without MLM, or data without that set."""
        if data.common is None or "mlm" not in self.objective.reads:
            return {}
        with self.trainer.precision_plugin.val_step_context():
            found = common_score.negative_log_likelihood(self.model, data.common.batches(data.micro_batches.rank))
        nats, masked = self.sum_over_ranks(torch.tensor(found, dtype=torch.float64)).tolist()
        return common_score.figures(nats, int(masked), data.common.num_bytes)


def counts_of_step(batch: Batch) -> Counts:
    """Return what the losses of a step are divided by: counts of its whole batch, over all ranks."""
    return {name: batch[f"batch_{name}"] for name in ("masked", "sequences", "tokens")}  # type: ignore[literal-required]
