"""The LightningModule of every ablation, and one pretraining run with it, on one process or several."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as L
import torch
from tqdm import tqdm

from roberta_lab.axes import tokenizer
from roberta_lab.axes.batch_size import Rank
from roberta_lab.axes.data_mix import training_documents
from roberta_lab.config import Config
from roberta_lab.data import token_store
from roberta_lab.data.corpus.preparation import Prepared
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint
from roberta_lab.training import micro_batch, ranks
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.result import PretrainingResult
from roberta_lab.training.rows import NoRows, Row, RowLog
from roberta_lab.training.step_end import StepEnd, stopping_at_a_step
from roberta_lab.training.trainer import build_trainer, fit, threads


def run_trainer(config: Config, data: PretrainingData, callback: StepEnd, directory: Path) -> L.Trainer:
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


def pretrain(config: Config, prepared: Prepared, directory: Path, rows: RowLog, label: str) -> PretrainingResult:
    """Train in `directory` from its newest whole checkpoint to the end, and return the run's result.

    This process writes everything; with several devices it is rank 0, and the others only train.

    Args:
        rows: where the rows of metrics go; told the step from which the run goes on.
        label: what the progress bar calls the run.

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
    rows.resume(start)
    job = config, prepared, directory, newest
    with progress(config, start, rows, label) as shown, ranks.started(config.trainer, follow, *job) as rank:
        module, data = train(rank, *job, shown)
    rows.flush()
    return _result(config, module, data, rows.read())


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
        fit(run_trainer(config, data, callback, directory), module, datamodule=data, ckpt_path=newest)
    if callback.stop_asked:
        raise KeyboardInterrupt
    return module, data


def _result(config: Config, module: PretrainingModule, data: PretrainingData, rows: list[Row]) -> PretrainingResult:
    validation = [row for row in rows if "val/ppl" in row][-1]
    return PretrainingResult(
        steps=validation.step,
        tokens_seen=module.tokens_seen,
        epochs=data.micro_batches.batches.epochs(validation.step),
        unigram_ppl=data.unigram_perplexity(),
        parameters=sum(p.numel() for p in module.parameters()),
        plan=data.micro_batches.plan.counts,
        metrics={name: value for name, value in validation.items() if name.startswith("val/")},
    )


class ShownRows:
    """A row log that also moves a progress bar."""

    def __init__(self, rows: RowLog, bar: tqdm) -> None:
        self.rows, self.bar = rows, bar

    def write(self, row: Row) -> None:
        self.rows.write(row)
        if "train/mlm_loss" in row:
            self.bar.update(row.step - self.bar.n)
        else:
            self.bar.set_postfix({"val/ppl": f"{row['val/ppl']:.1f}"}, refresh=False)

    def resume(self, step: int) -> None:
        self.rows.resume(step)

    def flush(self) -> None:
        self.rows.flush()

    def read(self) -> list[Row]:
        return self.rows.read()


@contextmanager
def progress(config: Config, start: int, rows: RowLog, label: str) -> Iterator[RowLog]:
    """Show a bar over optimizer steps, or in a file a line every ten seconds; yield the log that moves it."""
    beside_others = multiprocessing.parent_process() is not None
    every = 0.2 if sys.stderr.isatty() and not beside_others else 10.0
    with tqdm(
        desc=label,
        initial=start,
        total=config.batch_size.steps,
        unit="step",
        mininterval=every,
        disable=not config.trainer.progress,
    ) as bar:
        yield ShownRows(rows, bar)
