"""`result.json`: what a complete run found, written last and atomically, so that a run which has it has everything."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from roberta_lab.data.storage import read_json, write_json
from roberta_lab.model.metrics import Metric
from roberta_lab.tasks.result import EvaluationResult, FinetuningResult, TaskResult
from roberta_lab.training.rows import Cut, PretrainingResult

NAME = "result.json"
FOUND: dict[str, type[PretrainingResult | FinetuningResult | EvaluationResult]] = {  # by the kind of run
    "pretrain": PretrainingResult,
    "finetune": FinetuningResult,
    "evaluate": EvaluationResult,
}
VALIDATION = "val/"  # how the names of held-out metrics begin


class DamagedResult(ValueError):
    """A `result.json` that cannot be read; the message names the file and the way out."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run with what identifies it."""

    run_id: str
    label: str  # what the run is called on the console
    seconds: float  # of all attempts but killed ones, which could not note theirs
    found: PretrainingResult | FinetuningResult | EvaluationResult
    pretrain_run_id: str | None = None  # of the run whose weights were finetuned or scored

    @property
    def kind(self) -> str:
        """Return the command that made it: pretrain, finetune or evaluate."""
        return next(kind for kind, found in FOUND.items() if type(self.found) is found)

    @property
    def pretraining(self) -> PretrainingResult:
        """Return what a pretraining run found."""
        assert isinstance(self.found, PretrainingResult), self.run_id
        return self.found

    @property
    def finetuning(self) -> FinetuningResult:
        """Return what a finetuning run found."""
        assert isinstance(self.found, FinetuningResult), self.run_id
        return self.found

    @property
    def scored(self) -> TaskResult:
        """Return what a run of a task found."""
        assert isinstance(self.found, TaskResult), self.run_id
        return self.found

    def summary(self) -> str:
        """Return the figure of the run for the console: its perplexity, or its score with what it compares with."""
        if isinstance(self.found, PretrainingResult):
            if self.found.perplexity is None:
                return f"held-out {self.found.figure()}"
            return f"held-out perplexity {self.found.perplexity:.1f} (unigram {self.found.unigram_ppl:.1f})"
        marks = "".join(f", {mark.upper()}" for mark in self.found.marks)
        beside = f"majority {self.found.majority:.1f}"
        if isinstance(self.found, EvaluationResult):
            beside = f"95% {self.found.low:.1f} to {self.found.high:.1f}, chance {self.found.majority:.1f}"
        return f"{self.found.metric} {self.found.score:.1f} ({beside}){marks}"

    def to_json(self) -> dict[str, Any]:
        """Return the flat object that stands in `result.json`."""
        found = dataclasses.asdict(self.found)
        common = {"kind": self.kind, "run_id": self.run_id, "label": self.label, "seconds": self.seconds}
        if isinstance(self.found, PretrainingResult):
            metrics = found.pop("metrics")
            return {**common, **found, **metrics}
        if found.get("unreachable", ...) is None:
            del found["unreachable"]
        return {**common, **found, "pretrain_run_id": self.pretrain_run_id}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the result that `to_json` made. Raises KeyError and TypeError for anything else."""
        kind = FOUND[values["kind"]]
        names = {field.name for field in dataclasses.fields(kind)}
        own = {name: value for name, value in values.items() if name in names}
        if kind is PretrainingResult:
            own["metrics"] = {name: value for name, value in values.items() if name.startswith(VALIDATION)}
            if "declared" in own:
                own["declared"] = tuple(Metric(**metric) for metric in own["declared"])
            own["cuts"] = tuple(Cut(**cut) for cut in own.get("cuts", ()))
        identity = (values["run_id"], values["label"], values["seconds"])
        return cls(*identity, kind(**own), values.get("pretrain_run_id"))


def write(run: Path, result: RunResult) -> None:
    """Write the result into the run's folder: from here on the run is complete."""
    write_json(run / NAME, result.to_json())


def is_complete(run: Path) -> bool:
    """Return whether the run in a folder has its result."""
    return (run / NAME).is_file()


def read(run: Path) -> RunResult | None:
    """Return the result of the run in a folder; None while it is not complete. Raises DamagedResult."""
    if not is_complete(run):
        return None
    try:
        return RunResult.from_json(read_json(run / NAME))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{run / NAME} cannot be read ({type(error).__name__}: {error})"
        raise DamagedResult(f"{said}; delete it, and the same command makes it again.") from None
