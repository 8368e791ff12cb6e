"""What the training loop costs beside the step itself: milliseconds per micro-batch, with progress bar and metrics file on.

    python benchmarks/overhead.py [--steps 1500] [--turns 5]

A model so small that a step takes about a millisecond is trained by `pretrain`'s own Trainer, callback and tracker, and by a bare
loop over the same micro-batches with the same loss, optimizer and schedule. Both make the batches themselves; the difference is
the framework's. With accumulation 1, so every micro-batch ends a step and writes a row.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from side_by_side import one_thread, setting, table

from roberta_lab.axes.data_mix import training_documents
from roberta_lab.axes.examples import Vocabulary
from roberta_lab.axes.sentence_store import TokenStore
from roberta_lab.config import Config
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.data.token_store import Part, open_store, write
from roberta_lab.runs.compose import build
from roberta_lab.runs.identity import science
from roberta_lab.runs.options import CONF
from roberta_lab.runs.registration import register
from roberta_lab.runs.tracking import Tracker
from roberta_lab.training.module import PretrainingModule, counts_of_step
from roberta_lab.training.pretraining import build_pretraining_trainer, progress_bar
from roberta_lab.training.step_end import StepEnd
from roberta_lab.training.trainer import fit

VOCABULARY = Vocabulary(200, 199, (0, 1, 2, 3, 199))
WARM = 100  # micro-batches before the clock starts
TINY = ["model.layers=1", "model.hidden=16", "model.heads=2", "model.ffn=32", "input_format.max_length=16"]


def config_of(steps: int) -> Config:
    """A run of so many steps of four short inputs, logged and shown, validated and saved once at its end."""
    register()
    overrides = [*TINY, "batch_size.sequences=4", f"batch_size.steps={steps}", "logger.wandb=off", "data_mix=own"]
    overrides += ["trainer.num_validations=1", f"trainer.checkpoint_every_steps={steps}", "data_mix.train_tokens=null"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", [*overrides, "input_format=full_sentences"]))


def store_in(folder: Path) -> TokenStore:
    """A thousand documents of random text."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 12, 5000)
    tokens = draw.integers(4, 199, int(lengths.sum()))
    part = Part(tokens, lengths, np.full(1000, 5), draw.integers(0, 1 << 62, 1000), np.zeros(1000, int))
    write(folder, [part], 200, {"sources": ["own"]})
    return open_store(folder)


def data_of(config: Config, store: TokenStore) -> PretrainingData:
    return PretrainingData(config, training_documents(store, config.data_mix), store.select(500), VOCABULARY)


class Clock(L.Callback):
    """When micro-batch WARM began, and when the last one ended."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM:
            self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.end = time.perf_counter()


def looped(config: Config, store: TokenStore) -> float:
    """Seconds per micro-batch in the Trainer."""
    data, module, clock = data_of(config, store), PretrainingModule(config, VOCABULARY.size, 1), Clock()
    with tempfile.TemporaryDirectory() as folder:
        log = Tracker(config, Path(folder), "pretrain", "overhead", science(config))
        log.resume(0)
        with progress_bar(config, 0, "overhead") as bar:
            callback = StepEnd(config, data, log, Path(folder) / "checkpoints", bar, speed=log.speed)
            loop = build_pretraining_trainer(config, data, callback, Path(folder))
            loop.callbacks.insert(0, clock)  # its last batch ends before the run is validated and saved
            fit(loop, module, datamodule=data)
        log.close(None)
    return (clock.end - clock.start) / (config.batch_size.steps - WARM)


def bare(config: Config, store: TokenStore) -> float:
    """Seconds per micro-batch in a loop of our own."""
    data, module = data_of(config, store), PretrainingModule(config, VOCABULARY.size, 1)
    made = module.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    start = 0.0
    for i in range(config.batch_size.steps):
        if i == WARM:
            start = time.perf_counter()
        batch = data.micro_batches[i]
        optimizer.zero_grad()
        loss = module.objective.loss(module.objective.sums(module.model, batch), counts_of_step(batch))
        loss.backward()
        optimizer.step()
        schedule.step()
    return (time.perf_counter() - start) / (config.batch_size.steps - WARM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    one_thread()
    torch.set_num_threads(1)
    config = config_of(options.steps)
    with tempfile.TemporaryDirectory() as folder:
        store = store_in(Path(folder) / "store")
        turns = [(bare(config, store) * 1e3, looped(config, store) * 1e3) for _ in range(options.turns)]
    without, within = zip(*turns, strict=True)
    extra = [b - a for a, b in turns]
    rows = [
        [name, f"{median(found):.2f}", f"{min(found):.2f} to {max(found):.2f}"]
        for name, found in (("bare loop", without), ("roberta_lab's loop", within), ("difference", extra))
    ]
    print(table(("ms per micro-batch", "median", "spread"), rows))
    print(f"\n{setting('torch', 'lightning')}")


if __name__ == "__main__":
    main()
