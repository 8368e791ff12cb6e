"""`evaluate`: score a pretrained model as it is, of the run of the same overrides, a folder, or with random weights."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from roberta_lab.config import Config, ConfigError
from roberta_lab.config.formatting import visible
from roberta_lab.data.corpus.preparation import Prepared, prepared_for
from roberta_lab.data.storage import Json
from roberta_lab.model.objectives import objective_of
from roberta_lab.runs import data_checks, identity, results, run_folder
from roberta_lab.runs.jobs import Job, pretrained_run
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import zero_shot

if TYPE_CHECKING:
    from roberta_lab.tasks.zero_shot.masked_model import MaskedModel


def main(job: Job) -> Json:
    """Score once, or report that the run is complete. An interrupted run starts again."""
    config, path, name = job.config, job.path, job.label
    _check(config)
    if results.is_complete(path):
        data_checks.expect_own_text([job])
        return run_folder.found_complete(name, path)
    items = zero_shot.get(config.task.family).read(config.task)
    source = pretrained_run(job) if identity.starts_from_run(config) else None
    prepared = prepared_for(config) if identity.reads_mix(config) else None
    data = prepared.fingerprints() if prepared is not None else {}
    if source is not None:
        run_folder.check_data(source, data)
    with run_folder.opened(path, config, job.words, data) as is_mine:
        if not is_mine:
            return run_folder.found_complete(name, path)
        from roberta_lab.runs.tracking import Tracker
        from roberta_lab.tasks.zero_shot.evaluation import evaluate  # torch: only when there is work
        from roberta_lab.training.rows import Row

        start, result, model = time.monotonic(), None, _model(config, source, prepared)
        if model.note:
            print(visible(f"pretrained.path={config.pretrained.path}: {model.note}"))
        for note in items.notes(model.encoding, model.max_length):
            print(f"{config.task.name}: {note}")
        log = Tracker(config, path, "evaluate", name, identity.evaluate_science(config))
        log.resume(-1)
        try:
            found = evaluate(config, model, items, path, name)
            log.write(Row(0, {f"{found.task}/{metric}": value for metric, value in found.metrics.items()}))
            made_from = source.name if source is not None else None
            result = RunResult(path.name, name, time.monotonic() - start, found, made_from)
        finally:
            log.close(result)
        run_folder.finish(path, config, replace(result, seconds=time.monotonic() - start))
    from roberta_lab.reports.page import landing, run_page  # jinja: only when there is work

    run_page.write_own(path)
    print(f"{name}: {result.summary()}, {path}")
    if config.sweep is None:
        landing.write_landing(Path(config.paths.outputs))
        print(f"next: {path}/predictions.jsonl, or scores by field and paradigm in {path}/result.json")
    return run_folder.answer(path)


def _check(config: Config) -> None:
    """Raise ConfigError for settings that contradict each other, or a model that fills no masks."""
    if config.pretrained.start == "none" and config.pretrained.path:
        raise ConfigError("pretrained=none contradicts pretrained.path; leave one of them out.")
    if identity.starts_from_run(config) and "mlm" not in objective_of(config).reads:
        raise ConfigError(
            f"objective={config.objective.name} trains no MLM head, by which {config.task.name} is scored."
        )


def _model(config: Config, source: Path | None, prepared: Prepared | None) -> MaskedModel:
    from roberta_lab.tasks.zero_shot.masked_model import MaskedModel

    if config.pretrained.path:
        return MaskedModel.from_folder(config.pretrained.path)
    assert prepared is not None
    if source is None:
        return MaskedModel.random(config, prepared.tokenizer)
    return MaskedModel.from_run(config, source, prepared.tokenizer)
