"""The LightningModule of every ablation, and one pretraining run with it, on one process or several."""

from __future__ import annotations

import math
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from tqdm import tqdm

from roberta_lab import checkpoint, micro_batch, ranks, token_store, tokenizer
from roberta_lab.composition import nsp_is_on
from roberta_lab.config import Config
from roberta_lab.corpus.preparation import Prepared
from roberta_lab.data_mix import training_documents
from roberta_lab.datamodule import PretrainingData
from roberta_lab.input_format import format_of
from roberta_lab.loop import build_trainer, fit, seed_dropout, threads
from roberta_lab.model import PretrainingModel
from roberta_lab.objective import LossSums, batch_loss, loss_sums
from roberta_lab.optimizer import build_optimizer, linear_schedule
from roberta_lab.ranks import Rank
from roberta_lab.rng import stream_key
from roberta_lab.run import label, science
from roberta_lab.step_end import RowLog, StepEnd, stopping_at_a_step
from roberta_lab.tracking import NoRows, Row, Tracker, read


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
        if config.trainer.compile:  # layer by layer: all have the same code, compiled once
            for layer in self.model.encoder.layers:
                layer.compile(dynamic=True)
        self.tokens_seen = 0  # by all ranks
        self.step_tokens = 0  # of this step so far, by this rank
        self.sums: list[LossSums] = []  # of this step's micro-batches so far, read at its end: nobody waits for a GPU

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the hook it is in some twenty times a step, by way of torch's search for parameters."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Dropout is drawn from the position in the data, so that an interruption cannot change it."""
        seed_dropout(self.device, stream_key(self.config.seed, "dropout", batch["position"]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        sums = loss_sums(self.model, batch)
        self.divisors = batch["batch_masked"], batch["batch_sequences"]
        loss = batch_loss(sums, *self.divisors)
        self.sums.append(sums.detached())
        self.step_tokens += batch["num_tokens"]
        # Lightning divides by the number of micro-batches, DDP takes the mean over ranks; the loss has its divisor already
        return loss * (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def gradients_again(self) -> None:
        """Of the whole step at hand, as before; what is logged of it stands."""
        assert self.trainer.datamodule is not None
        sums, step_tokens, strategy = self.sums.copy(), self.step_tokens, self.trainer.strategy
        micro_batches = self.trainer.datamodule.micro_batches
        self.zero_grad()
        for i in range(micro_batches.per_step):
            number = self.trainer.global_step * micro_batches.per_step + i
            batch = self.trainer.datamodule.transfer_batch_to_device(micro_batches[number], self.device, 0)
            self.on_train_batch_start(batch, number)
            last = i == micro_batches.per_step - 1
            with strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) and not last else nullcontext():
                strategy.backward(strategy.training_step(batch, number) / micro_batches.per_step, None)
        self.sums, self.step_tokens = sums, step_tokens

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
        checkpoint.recount(saved["loops"]["fit_loop"], saved["global_step"] * self.trainer.accumulate_grad_batches)

    def end_step(self, stop: bool) -> tuple[list[float], bool]:
        """The step's losses over all ranks, and whether one of them was asked to stop; counts the step's tokens.

        One small exchange: it comes when the device is waited for anyway, since a loss that is no number ends the run.
        """
        parts = torch.stack([torch.stack((s.mlm, s.nsp, s.nsp_correct.float())) for s in self.sums]).tolist()
        numbers = torch.tensor([*map(sum, zip(*parts, strict=True)), self.step_tokens, stop], dtype=torch.float64)
        mlm, nsp, correct, tokens, stopping = self.over_ranks(numbers).tolist()
        masked, sequences = self.divisors
        self.tokens_seen += int(tokens)
        self.sums, self.step_tokens = [], 0
        return [mlm / max(masked, 1), nsp / sequences, correct / sequences], stopping > 0

    def over_ranks(self, numbers: Tensor) -> Tensor:
        """The sums over all ranks, float64, which counts tokens exactly."""
        if self.trainer.world_size == 1:
            return numbers
        return self.trainer.strategy.reduce(numbers.to(self.device), reduce_op="sum")

    @torch.no_grad()
    def validate(self, data: PretrainingData) -> dict[str, float]:
        """Held-out loss on the fixed masks: sums over all batches, divided once. ppl = exp(total NLL / masked tokens); bits per
        byte of the masked text without white space, which not every tokenizer keeps: they compare between tokenizers."""
        self.model.eval()
        totals = torch.zeros(6, dtype=torch.float64)
        with self.trainer.precision_plugin.val_step_context():
            for batch in data.validation_batches(data.micro_batches.rank):
                sums = loss_sums(self.model, data.transfer_batch_to_device(batch, self.device, 0))
                totals += totals.new_tensor([*map(float, sums), len(batch["cu_seq_lens"]) - 1, data.num_bytes(batch)])
        self.model.train()
        mlm, masked, nsp, correct, sequences, num_bytes = self.over_ranks(totals).tolist()
        found = {"val/mlm_loss": mlm / masked, "val/ppl": float(np.exp(mlm / masked))}
        if num_bytes:
            found["val/bits_per_nonspace_byte"] = mlm / math.log(2) / num_bytes
        if self.model.nsp_classifier is not None:
            found |= {"val/nsp_loss": nsp / sequences, "val/nsp_acc": correct / sequences}
        return found


def trainer(config: Config, data: PretrainingData, callback: StepEnd, directory: Path) -> L.Trainer:
    """One epoch of all the run's micro-batches; `callback` does what is to be done at the end of steps."""
    return build_trainer(
        config,
        directory,
        data.micro_batches.rank,
        accumulate_grad_batches=data.accumulation,
        max_steps=config.batch_size.steps,
        max_epochs=1,
        callbacks=[callback],
    )


def pretrain(config: Config, prepared: Prepared, directory: Path) -> dict[str, Any]:
    """Trains in `directory` from its newest whole checkpoint to the end, and returns the run's result.

    This process writes everything; with several devices it is rank 0, and the others only train.

    Raises: KeyboardInterrupt after SIGINT or SIGTERM, when the step they fell in is finished and saved; RankDied.
    """
    ranks.check_devices(config.trainer)
    if config.trainer.micro_batch_size == "auto":
        encoding = tokenizer.load(prepared.tokenizer)
        size, pad_id = encoding.vocab_size, encoding.pad_id
        config = micro_batch.settled(config, size, lambda: PretrainingModule(config, size, pad_id).model)
    checkpoint.remove_unfinished(directory / "checkpoints")
    newest = checkpoint.newest(directory / "checkpoints")
    start = checkpoint.step_of(newest) if newest else 0
    log = Tracker(config, directory, "pretrain", label(config), science(config), start)
    result = None
    try:
        job = config, prepared, directory, newest
        with progress(config, start, log), ranks.started(config.trainer, follow, *job) as rank:
            module, data = train(rank, *job, log)
        log.flush()
        result = _result(config, module, data, read(log.file.path))
    finally:
        log.close(result)
    return result


def follow(rank: Rank, config: Config, prepared: Prepared, directory: Path, newest: Path | None) -> None:
    """What the ranks after the first do; the rows are the first one's."""
    train(rank, config, prepared, directory, newest, NoRows())


def train(
    rank: Rank, config: Config, prepared: Prepared, directory: Path, newest: Path | None, rows: RowLog
) -> tuple[PretrainingModule, PretrainingData]:
    """One rank's part of a run, from a checkpoint to the end or to a stop, which raises KeyboardInterrupt."""
    with threads(config.trainer.threads or max(1, torch.get_num_threads() // rank.world_size)):
        return _train(rank, config, prepared, directory, newest, rows)


def _train(
    rank: Rank, config: Config, prepared: Prepared, directory: Path, newest: Path | None, rows: RowLog
) -> tuple[PretrainingModule, PretrainingData]:
    encoding = tokenizer.load(prepared.tokenizer)
    train, validation = (token_store.open_store(prepared.store / split) for split in ("train", "validation"))
    data = PretrainingData(
        config,
        training_documents(train, config.data_mix),
        validation.select(config.data_mix.validation_tokens),
        encoding.vocabulary,
        rank,
    )
    module = PretrainingModule(config, encoding.vocab_size, encoding.pad_id)
    callback = StepEnd(config, data, rows, directory / "checkpoints")
    with stopping_at_a_step(callback):
        fit(trainer(config, data, callback, directory), module, datamodule=data, ckpt_path=newest)
    if callback.stop_asked:
        raise KeyboardInterrupt
    return module, data


def _result(config: Config, module: PretrainingModule, data: PretrainingData, rows: list[dict]) -> dict[str, Any]:
    validation = [row for row in rows if "val/ppl" in row][-1]
    return {
        "kind": "pretrain",
        "label": label(config),
        "steps": validation["step"],
        "tokens_seen": module.tokens_seen,
        "epochs": data.micro_batches.batches.epochs(validation["step"]),
        "unigram_ppl": data.unigram_perplexity(),
        "parameters": sum(p.numel() for p in module.parameters()),
        "plan": data.micro_batches.plan.counts,
        **{name: value for name, value in validation.items() if name.startswith("val/")},
    }


@contextmanager
def progress(config: Config, start: int, log: Tracker) -> Iterator[None]:
    """A bar over optimizer steps; in a file, a line every ten seconds."""
    beside_others = multiprocessing.parent_process() is not None
    every = 0.2 if sys.stderr.isatty() and not beside_others else 10.0
    with tqdm(
        desc=label(config),
        initial=start,
        total=config.batch_size.steps,
        unit="step",
        mininterval=every,
        disable=not config.trainer.progress,
    ) as bar:

        def show(row: Row) -> None:
            if "train/mlm_loss" in row:
                bar.update(row["step"] - bar.n)
            else:
                bar.set_postfix({"val/ppl": f"{row['val/ppl']:.1f}"}, refresh=False)

        log.observers.append(show)
        yield
