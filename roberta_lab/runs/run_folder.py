"""The folder of a run: claimed by one process, opened with its config and provenance, and finished with its result."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from roberta_lab.config import Config, ConfigError
from roberta_lab.config.secrets import masked_values, masked_words
from roberta_lab.data.storage import Json, claim, read_json
from roberta_lab.runs import outside, provenance, results
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import submission
from roberta_lab.tasks.result import MODEL_FOLDER, WEIGHTS_FILE
from roberta_lab.training.rows import PretrainingResult


def complete_line(label: str, path: Path) -> str:
    """Return the line that says that a run is complete, and whether the code has changed since: ids do not cover it."""
    since = provenance.code_since(path)
    return f"{label}: complete, {path}" + (f" (by {since}; delete the folder to make it again)" if since else "")


def answer(path: Path) -> dict[str, Json]:
    """Return what a command answers of a complete run: its `result.json`, and where it lies."""
    return {**read_json(path / results.NAME), "directory": str(path)}


def found_complete(label: str, path: Path) -> dict[str, Json]:
    """Say that a run is complete, and return its answer."""
    print(complete_line(label, path))
    return answer(path)


def is_finetuned(config: Config, path: Path) -> bool:
    """Return whether a finetuning run has everything that is asked for and that only training gives."""
    tune, has_files = config.finetune, (path / submission.FOLDER).is_dir()
    predicted = not tune.submission or has_files or submission.is_predicted(path, config.task)
    return results.is_complete(path) and (not tune.save_model or has_model(path)) and predicted


def has_all(config: Config, path: Path) -> bool:
    """Return whether a finetuning run has everything that is asked for, the files of a submission too."""
    return is_finetuned(config, path) and (not config.finetune.submission or (path / submission.FOLDER).is_dir())


def has_model(path: Path) -> bool:
    """Return whether a finetuning run kept its weights: sealed, and as a folder that transformers loads."""
    return (path / WEIGHTS_FILE).is_file() and (path / MODEL_FOLDER).is_dir()


@contextmanager
def opened(
    path: Path, config: Config, overrides: list[str], data: dict[str, str], has_all: Callable[[], bool] = lambda: True
) -> Iterator[bool]:
    """Claim the folder and note config, overrides and provenance in it; yield whether there is work to do.

    There is none, and nothing is touched, when another process completed the run before this one had the claim. A complete
    run that lacks what is asked for now (`has_all`) is made again; its maker removes `result.json` once everything is ready.
    Raises RunInUse, and ConfigError when the data are others than those that the run started with.
    """
    overrides = [*outside.words(), *overrides]
    with claim(path):
        if results.is_complete(path) and has_all():
            yield False
            return
        check_data(path, data)
        noted = masked_values(OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))
        (path / "config.yaml").write_text(OmegaConf.to_yaml(noted))
        (path / "overrides.yaml").write_text(OmegaConf.to_yaml(masked_words(overrides)))
        provenance.begin_attempt(path, data, masked_words(["roberta-lab", path.parent.name, *overrides]))
        start = time.monotonic()
        try:
            yield True
        finally:
            noted = provenance.read(path)
            if noted is not None and "end" not in noted["attempts"][-1]:
                provenance.end_attempt(path, time.monotonic() - start)


def check_data(path: Path, data: dict[str, str]) -> None:
    """Raise ConfigError when the run in a folder was made of other data: its token ids would mean other text."""
    noted = provenance.read(path)
    if noted is not None and noted["data"] != data:
        started = f"{path} was started on other data ({noted['data']}) than is prepared now ({data})"
        raise ConfigError(f"{started}; move it away to start anew.")


def finish(path: Path, result: RunResult) -> None:
    """Note the end of the attempt, which took `result.seconds`, and write the result with the seconds and cuts of all attempts."""
    attempts = provenance.end_attempt(path, result.seconds)
    found = result.found
    if isinstance(found, PretrainingResult):
        found = replace(found, cuts=provenance.cuts(attempts))
    seconds = sum(attempt.get("seconds", 0.0) for attempt in attempts)
    results.write(path, replace(result, seconds=seconds, found=found))
