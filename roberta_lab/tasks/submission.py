"""Files that others score: GLUE's leaderboard (tabs: index, prediction), and the official scripts of SQuAD.

`evaluate-v2.0.py DEV answers.json --na-prob-file na_odds.json` gives the best thresholds, and with `--na-prob-thresh 0.5`
every other score too; `evaluate-v1.1.py DEV predictions.json` those of SQuAD 1.1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roberta_lab.config import ConfigError, TaskConfig
from roberta_lab.data.storage import replacing_folder
from roberta_lab.tasks.items import Prediction, TaskData
from roberta_lab.tasks.metrics.squad import no_answer_probability

FOLDER = "submission"  # in the run's
GLUE_FILES = {
    **{("cola", "test"): "CoLA", ("sst2", "test"): "SST-2", ("mrpc", "test"): "MRPC", ("stsb", "test"): "STS-B"},
    **{("qqp", "test"): "QQP", ("mnli", "test"): "MNLI-m", ("mnli", "test_mm"): "MNLI-mm", ("mnli", "test_ax"): "AX"},
    **{("qnli", "test"): "QNLI", ("rte", "test"): "RTE", ("wnli", "test"): "WNLI"},
}


def check(task: TaskConfig) -> None:
    """Raises ConfigError for a task that has no such files."""
    if task.family not in WRITERS:
        raise ConfigError(f"finetune.submission: {task.name} has no such files. Allowed: {', '.join(WRITERS)} tasks.")


def splits(task: TaskConfig, data: TaskData) -> list[str]:
    """The splits that have files: GLUE's tests, SQuAD's dev and whatever is beside it. Raises ConfigError if none is there."""
    check(task)
    if task.family == "squad":
        return ["dev", *data.others]
    wanted = _tests(task)
    found = [split for split in wanted if split in data.others]
    if not found:
        raise ConfigError(f"finetune.submission: {task.name}'s files have no split {' or '.join(wanted)}.")
    return found


def _tests(task: TaskConfig) -> list[str]:
    """GLUE's splits that have a file."""
    return [split for name, split in GLUE_FILES if name == task.name]


def is_predicted(run: Path, task: TaskConfig) -> bool:
    """Whether a run has predicted what its files are made of; with `task.num_dev` it may have left GLUE's tests out."""
    splits = ["dev"] if task.family == "squad" else _tests(task)
    return any(predictions_file(run, split).is_file() for split in splits)


def write_all(run: Path, task: TaskConfig, data: TaskData) -> Path:
    """The files of all splits as the run's folder `submission/`, whole or not there; returns it.

    They are made of the predictions that the run has written. SQuAD's are in a folder per split, GLUE's side by side.
    """
    folder = run / FOLDER
    with replacing_folder(folder) as beside:
        for split in splits(task, data):
            lines = predictions_file(run, split).read_bytes().splitlines()  # of bytes: at line feeds only
            place = beside / split if task.family == "squad" else beside
            write(place, task, split, [json.loads(line) for line in lines], data.labels)
    return folder


def predictions_file(run: Path, split: str) -> Path:
    """Where a run's predictions of a split lie: `predictions.jsonl` is dev's."""
    return run / ("predictions.jsonl" if split == "dev" else f"predictions.{split}.jsonl")


def write(
    folder: Path, task: TaskConfig, split: str, predictions: Sequence[Prediction], labels: Sequence[str] = ()
) -> list[Path]:
    """The files of one split's predictions, in a folder that is made; raises ConfigError for a task that has none.

    Args:
        labels: of `TaskData`.
    """
    check(task)
    folder.mkdir(parents=True, exist_ok=True)
    return WRITERS[task.family](folder, task, split, predictions, labels)


def _glue(
    folder: Path, task: TaskConfig, split: str, predictions: Sequence[Prediction], labels: Sequence[str]
) -> list[Path]:
    """One file, of a test split."""
    if (task.name, split) not in GLUE_FILES:
        allowed = ", ".join(name for of, name in GLUE_FILES if of == task.name)
        raise ConfigError(f"finetune.submission: {task.name} has no file for {split}. Allowed: {allowed}.")
    path = folder / f"{GLUE_FILES[task.name, split]}.tsv"
    rows = [(p["id"], labels[p["prediction"]] if labels else _score(p["prediction"])) for p in predictions]
    path.write_text("".join(f"{a}\t{b}\n" for a, b in [("index", "prediction"), *rows]), encoding="utf-8")
    return [path]


def _score(value: float) -> str:
    """A score of STS-B, which lies from 0 to 5."""
    return f"{min(5.0, max(0.0, value)):.3f}"


def _squad(
    folder: Path, task: TaskConfig, split: str, predictions: Sequence[Prediction], labels: Sequence[str]
) -> list[Path]:
    """`predictions.json`, the final texts; with log-odds of no answer also `answers.json` and `na_odds.json`."""
    files: dict[str, dict[str, Any]] = {"predictions.json": {p["id"]: p["prediction"] for p in predictions}}
    if task.name == "squad2" and all("no_answer" in p for p in predictions):
        files["answers.json"] = {p["id"]: p.get("answer", p["prediction"]) for p in predictions}
        files["na_odds.json"] = {p["id"]: no_answer_probability(p) for p in predictions}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    return [folder / name for name in files]


WRITERS = {"glue": _glue, "squad": _squad}


MODEL, WEIGHTS = "model", "finetuned.ckpt"  # in the directory of a finetuning run, with finetune.save_model
