"""A pretraining run of twelve steps of a tiny model on data in memory, which can die after some rows."""

from pathlib import Path
from typing import Any

import numpy as np
from fake_store import FakeStore

from roberta_lab.axes.examples import Vocabulary
from roberta_lab.config import (
    BatchSizeConfig,
    Config,
    InputFormatConfig,
    MaskingConfig,
    ModelConfig,
    NspConfig,
    OptimizerConfig,
    PrecisionConfig,
    ScheduleConfig,
    TrainerConfig,
)
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint
from roberta_lab.runs.tracking import MetricsFile, read
from roberta_lab.training import gpu_code
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.pretraining import build_pretraining_trainer
from roberta_lab.training.rows import Row
from roberta_lab.training.step_end import Score, StepEnd

VOCABULARY = Vocabulary(60, 59, (0, 1, 2, 3, 59), np.arange(60) % 3 == 0)


class Store:
    """Thirty documents of ten sentences of five to nine tokens."""

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        self.sentence_lengths = draw.integers(5, 10, 300).astype(np.int32)
        self.sentence_starts = np.concatenate([[0], np.cumsum(self.sentence_lengths)[:-1]]).astype(np.int64)
        self.document_ends = np.arange(10, 301, 10)
        self.tokens = draw.integers(4, 59, self.sentence_lengths.sum()).astype(np.uint16)

    def gather_tokens(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return np.concatenate([self.tokens[s : s + n] for s, n in zip(starts, lengths, strict=True)])

    def documents(self, first: int, last: int) -> FakeStore:
        some = slice(10 * first, 10 * last)
        ends = np.arange(10, 10 * (last - first) + 1, 10)
        return FakeStore(self.tokens, self.sentence_starts[some], self.sentence_lengths[some], ends)


def make(micro_batch_size: int = 4, dropout: float = 0.1, **options: Any) -> Config:
    return Config(
        model=ModelConfig(1, 16, 2, 32, dropout, dropout),
        input_format=InputFormatConfig(options.get("input_format", "segment_pair"), 32),
        masking=MaskingConfig(
            options.get("masking", "static"), num_patterns=2, positions=options.get("positions", "uniform")
        ),
        nsp=NspConfig("auto", options.get("pairs", "random"), options.get("weight", 1.0)),
        batch_size=BatchSizeConfig(8, 12, 1e-2),
        optimizer=OptimizerConfig(warmup_steps=2, name=options.get("optimizer", "adamw")),
        schedule=ScheduleConfig(options.get("schedule", "linear")),
        precision=PrecisionConfig(options.get("precision", "fp32")),
        trainer=TrainerConfig("cpu", micro_batch_size=micro_batch_size, checkpoint_every_steps=3, num_validations=4),
    )


class Rows(MetricsFile):
    """The rows of a run that dies when it should write the row after `stop_after`."""

    def __init__(self, path: Path, up_to_step: int, stop_after: int | None) -> None:
        super().__init__(path, up_to_step)
        self.stop_after = stop_after

    def write(self, row: Row) -> None:
        if self.stop_after is not None and row["step"] > self.stop_after:
            raise KeyboardInterrupt
        super().write(row)


def train(
    config: Config,
    directory: Path,
    stop_after: int | None = None,
    score: Score | None = None,
    has_fixed_shapes: bool = False,
) -> tuple[list[dict], dict]:
    """Runs to the end, or dies after some rows; returns the rows in the file and the final weights."""
    directory.mkdir(exist_ok=True)
    newest = checkpoint.newest(directory / "checkpoints")
    rows = Rows(directory / "metrics.jsonl", checkpoint.step_of(newest) if newest else 0, stop_after)
    module = PretrainingModule(config, 60, 1)
    fields = module.objective.fields
    data = PretrainingData(config, Store(), Store(), VOCABULARY, fields=fields, has_fixed_shapes=has_fixed_shapes)
    gpu_code.compile_model(module.model, config, has_fixed_shapes, 60)
    callback = StepEnd(config, data, rows, directory / "checkpoints", score=score)
    try:
        build_pretraining_trainer(config, data, callback, directory).fit(module, datamodule=data, ckpt_path=newest)
    except (KeyboardInterrupt, SystemExit):
        assert stop_after is not None
    finally:
        rows.close()
    return read(rows.path), module.state_dict()
