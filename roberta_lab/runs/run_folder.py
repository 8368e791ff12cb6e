"""The folder of a run: claimed by one process, opened with its config and provenance, and finished with its result."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from roberta_lab.config import Config, ConfigError, Damaged, RunInUse
from roberta_lab.config.secrets import masked_values, masked_words
from roberta_lab.data import claims, verified
from roberta_lab.data.claims import claim
from roberta_lab.data.storage import Json, sweep, write
from roberta_lab.runs import outside, provenance, results, tracking
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import submission
from roberta_lab.tasks.result import MODEL_FOLDER, WEIGHTS_FILE, FinetuningResult
from roberta_lab.training.rows import HANDED, METRICS, PretrainingResult

# what a run's folder holds, by name: of these, what killed processes left half-written is removed
WRITTEN = ("*.json", "*.jsonl", "*.csv", "*.yaml", "*.ckpt", "*.html", MODEL_FOLDER, submission.FOLDER, HANDED)


def complete_line(label: str, path: Path) -> str:
    """Return the line that says that a run is complete, and whether the code has changed since: ids do not cover it."""
    since = provenance.code_since(path)
    return f"{label}: complete, {path}" + (f" (by {since}; delete the folder to make it again)" if since else "")


def answer(path: Path) -> dict[str, Json]:
    """Return what a command answers of a complete run: its `result.json`, and where it lies. Raises Damaged."""
    results.read(path)
    return {**verified.read_json(path / results.NAME), "directory": str(path)}


def found_complete(label: str, path: Path) -> dict[str, Json]:
    """Say that a run is complete, and return its answer."""
    found = answer(path)
    print(complete_line(label, path))
    return found


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
    run that lacks what is asked for now (`has_all`) is made again: its `result.json` goes, before its hashes and the note of
    who made it change. So the caller first gets everything ready that may fail.
    Raises RunInUse, and ConfigError when the data are others than those that the run started with.
    """
    overrides = [*outside.words(), *overrides]
    with claim(path):
        if results.is_complete(path) and has_all():
            yield False
            return
        check_data(path, data)
        sweep(path, *WRITTEN)
        (path / results.NAME).unlink(missing_ok=True)
        (path / verified.HASHES).unlink(missing_ok=True)
        noted = masked_values(OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True))
        write(path / "config.yaml", OmegaConf.to_yaml(noted))
        write(path / "overrides.yaml", OmegaConf.to_yaml(masked_words(overrides)))
        verified.seal(path, ("config.yaml", "overrides.yaml"))
        provenance.begin_attempt(path, data, masked_words(["roberta-lab", path.parent.name, *overrides]))
        start = time.monotonic()
        try:
            yield True
        finally:
            _end_attempt(path, time.monotonic() - start)


def _end_attempt(path: Path, seconds: float) -> None:
    """Note the end of an attempt that did not finish; nothing where the folder is not this process's any more."""
    with suppress(Damaged, RunInUse, OSError):  # the error at hand is said
        claims.check(path)
        noted = provenance.read(path)
        if noted is not None and "end" not in noted["attempts"][-1]:
            provenance.end_attempt(path, seconds)


def check_data(path: Path, data: dict[str, str]) -> None:
    """Raise ConfigError when the run in a folder was made of other data: its token ids would mean other text."""
    noted = provenance.read(path)
    if noted is not None and noted["data"] != data:
        started = f"{path} was started on other data ({noted['data']}) than is prepared now ({data})"
        raise ConfigError(f"{started}; move it away to start anew.")


def finish(path: Path, config: Config, result: RunResult) -> None:
    """Note the end of the attempt, which took `result.seconds`, and write the result with the seconds and cuts of all attempts.

    Raises Damaged unless the last row of its metrics is the run's last one.
    """
    _check_end(path, config, result)
    claims.check(path)
    attempts = provenance.end_attempt(path, result.seconds)
    found = result.found
    if isinstance(found, PretrainingResult):
        found = replace(found, cuts=provenance.cuts(attempts))
    seconds = sum(attempt.get("seconds", 0.0) for attempt in attempts)
    results.write(path, replace(result, seconds=seconds, found=found))


def _check_end(path: Path, config: Config, result: RunResult) -> None:
    rows, found = tracking.read(path / METRICS), result.found
    last: Mapping[str, float] = rows[-1] if rows else {"step": 0}
    if isinstance(found, PretrainingResult):
        said, steps = f"ends at step {last['step']:,} of {config.batch_size.steps:,}", config.batch_size.steps
        is_end = last["step"] == found.steps == steps
    elif isinstance(found, FinetuningResult):
        said = f"ends at epoch {last.get('epoch', 0):g} of {found.epochs}"
        is_end = last.get("epoch") == found.epochs
    else:
        said, is_end = "has no row", bool(rows)
    if not is_end:
        raise Damaged.at(path / METRICS, f"{said}: no result is written", "the same command goes on")
