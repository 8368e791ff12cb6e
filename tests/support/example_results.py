"""Results of runs that were never made, for tests of what is done with results."""

from roberta_lab.runs.results import RunResult
from roberta_lab.tasks.result import FinetuningResult
from roberta_lab.training.rows import PretrainingResult


def pretrained(run_id: str = "a1", ppl: float = 9.0, **figures: float) -> RunResult:
    """Return the result of a pretraining run with this held-out perplexity."""
    figures = {"val/ppl": ppl, **figures}
    found = PretrainingResult(2, 20, 1.5, 30.0, 1000, {"documents": 3}, figures)
    return RunResult(run_id, "static seed 1", 2.5, found)


def finetuned(
    run_id: str = "b2", score: float = 60.0, pretrain_run_id: str | None = None, **changes: object
) -> RunResult:
    """Return the result of a finetuning run with this score."""
    values: dict = {
        **{"task": "sst2", "stands_for": "", "caution": "", "metric": "accuracy", "score": score, "majority": 50.0},
        **{"metrics": {"accuracy": score}, "at_chance": False, "diverged": False, "best_epoch": 2, "epochs": 3},
        **{"num_train": 10, "num_dev": 5, "finetune_seed": 1, "examples_per_second": 7.0, **changes},
    }
    return RunResult(run_id, "static seed 1, sst2 1", 2.5, FinetuningResult(**values), pretrain_run_id)
