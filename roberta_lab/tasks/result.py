"""The results of runs that score a task, finetuned or without training, and the names of the files in their folders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHANCE_LEVEL = 0.025  # how often a useless run may pass for one that learned something
MODEL_FOLDER, WEIGHTS_FILE = "model", "finetuned.ckpt"  # with finetune.save_model


def predictions_file(run: Path, split: str) -> Path:
    """Return where a run's predictions of a split lie: `predictions.jsonl` is dev's."""
    return run / ("predictions.jsonl" if split == "dev" else f"predictions.{split}.jsonl")


def at_chance(share_no_better: float, num_tried: int) -> bool:
    """Return whether the best of so many predictions on dev may be luck, by `metrics.share_no_better`."""
    return not share_no_better < CHANCE_LEVEL / num_tried


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
    at_chance: bool  # no better than that; of finetuning, as the best of its epochs
    num_dev: int

    def is_at_chance(self, num_settings: int = 1) -> bool:
        """Return whether the score is no better than chance where it is the best of so many settings."""
        return self.at_chance

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
    # of resamples of dev, in which the score is no better than the constant prediction's; None in results of older code
    share_no_better: float | None = None
    unreachable: Mapping[str, Mapping[str, int]] | None = None  # of spans: split -> reason -> answers out of reach

    def is_at_chance(self, num_settings: int = 1) -> bool:
        """Return whether the run is no better than a constant prediction where it is the best of so many settings.

        A useless run has one chance for each epoch that was scored on dev, and each setting: so the level is divided by their
        number (Bonferroni), which is right for independent scores and strict for those that are alike.
        """
        if self.share_no_better is None:
            return self.at_chance
        return at_chance(self.share_no_better, self.epochs * num_settings)

    @property
    def marks(self) -> tuple[str, ...]:
        return (*super().marks, *(("diverged",) if self.diverged else ()))


@dataclass(frozen=True)
class EvaluationResult(TaskResult):
    """The figures of a complete evaluation without training; `num_dev` counts what was compared, such as pairs."""

    low: float  # 95% interval of the score
    high: float
    items_per_second: float
