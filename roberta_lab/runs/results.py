"""`result.json`: what a complete run found, written last and atomically, so that a run which has it has everything."""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from roberta_lab.config import Damaged
from roberta_lab.data import claims, verified
from roberta_lab.data.foreign import NO_JSON
from roberta_lab.data.storage import as_json
from roberta_lab.data.storage import write as write_file
from roberta_lab.model.metrics import Metric
from roberta_lab.tasks.result import MODEL_FOLDER, EvaluationResult, FinetuningResult, TaskResult
from roberta_lab.training.rows import Cut, PretrainingResult

NAME = "result.json"
FOUND: dict[str, type[PretrainingResult | FinetuningResult | EvaluationResult]] = {  # by the kind of run
    "pretrain": PretrainingResult,
    "finetune": FinetuningResult,
    "evaluate": EvaluationResult,
}
SEALED = (  # how the names of the files begin that have hashes; checkpoints and examples seal themselves
    *("config.yaml", "overrides.yaml", "provenance.json", "metrics.", "predictions", NAME),
    *("submission/", f"{MODEL_FOLDER}/"),
)
MAY_LACK = ("predictions", "metrics.csv", "submission/")  # files that may be removed to save room
_STEPS = re.compile(r"^batch_size:\n(?:  .*\n)*?  steps: (\d+)$", re.MULTILINE)  # as `OmegaConf.to_yaml` writes it
VALIDATION = "val/"  # how the names of held-out metrics begin


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
            found["cuts"] = [cut.to_json() for cut in self.found.cuts]
            if not found["num_skipped"]:
                del found["num_skipped"]
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
    """Write the hashes of the run's files, then the result: from here on the run is complete.

    Raises RunInUse and Damaged when its folder is not this process's any more.
    """
    claims.check(run)
    text = as_json(result.to_json())
    verified.seal(run, SEALED, {NAME: text.encode()})
    write_file(run / NAME, text, durable=True)


def is_complete(run: Path) -> bool:
    """Return whether the run in a folder has its result."""
    return (run / NAME).is_file()


def read(run: Path) -> RunResult | None:
    """Return the result of the run in a folder; None while it is not complete.

    All files of the run that say what it is and what it found are checked. Raises Damaged for any that is not as it was written.
    """
    if not is_complete(run):
        return None
    verified.check_folder(run, leave_out=(f"{MODEL_FOLDER}/",), may_lack=MAY_LACK)
    way_out = "delete it, and the same command makes it again"
    try:
        result = RunResult.from_json(json.loads(verified.check(run / NAME).read_bytes()))
    except (*NO_JSON, KeyError, TypeError, AttributeError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise Damaged.at(run / NAME, f"cannot be read ({said})", way_out) from None
    if isinstance(result.found, PretrainingResult) and (steps := _steps(run)) not in (None, result.found.steps):
        raise Damaged.at(run / NAME, f"is of {result.found.steps:,} steps, its config of {steps:,}", way_out)
    return result


def _steps(run: Path) -> int | None:
    """Return the steps of a pretraining run by its config; None where that does not say."""
    try:
        found = _STEPS.search(verified.check(run / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(found[1]) if found is not None else None
