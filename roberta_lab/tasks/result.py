"""The results of runs that score a task, finetuned or without training, and the names of the files in their folders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODEL_FOLDER, WEIGHTS_FILE = "model", "finetuned.ckpt"  # with finetune.save_model


def predictions_file(run: Path, split: str) -> Path:
    """Return where a run's predictions of a split lie: `predictions.jsonl` is dev's."""
    return run / ("predictions.jsonl" if split == "dev" else f"predictions.{split}.jsonl")


@dataclass(frozen=True)
class TaskResult:
    """What every run of a task found; scores are from 0 to 100."""

    task: str
    stands_for: str  # the paper's task in whose column the score is shown; empty: its own
    caution: str  # what a reader of its scores must know
    metric: str
    score: float  # of dev, by the metric; of finetuning, of the best epoch
    majority: float  # what the best constant prediction scores; of evaluations, what a model that knows nothing does
    metrics: Mapping[str, float]  # all dev scores
    at_chance: bool  # no better than that
    num_dev: int

    @property
    def marks(self) -> tuple[str, ...]:
        """Return what a reader must see beside the score."""
        return ("at chance",) if self.at_chance else ()


@dataclass(frozen=True)
class FinetuningResult(TaskResult):
    """The figures of a complete finetuning run."""

    diverged: bool  # the loss never fell
    best_epoch: int
    epochs: int
    num_train: int
    finetune_seed: int
    examples_per_second: float
    others: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # split -> its scores
    inputs: Mapping[str, int] = field(default_factory=dict)  # split -> model inputs
    unreachable: Mapping[str, Mapping[str, int]] | None = None  # of spans: split -> reason -> answers out of reach

    @property
    def marks(self) -> tuple[str, ...]:
        return (*super().marks, *(("diverged",) if self.diverged else ()))


@dataclass(frozen=True)
class EvaluationResult(TaskResult):
    """The figures of a complete evaluation without training; `num_dev` counts what was compared, such as pairs."""

    low: float  # 95% interval of the score
    high: float
    items_per_second: float
