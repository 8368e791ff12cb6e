"""`pretrain`: one run, from where an earlier attempt left it, or nothing if it is complete."""

from __future__ import annotations

import time

from roberta_lab.config import Config
from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.runs import identity, run_folder
from roberta_lab.runs.command_line import folded


def main(config: Config, overrides: list[str]) -> None:
    """Prepares the data if need be, then trains; the run's directory follows from the science of the config."""
    path = identity.directory(config, "pretrain")
    if run_folder.is_complete(path):
        print(run_folder.complete_line(run_folder.label(config), path))
        return
    prepared = prepared_for(config)
    with run_folder.opened(path, config, overrides, prepared.fingerprints()) as is_mine:
        if not is_mine:
            print(run_folder.complete_line(run_folder.label(config), path))
            return
        from roberta_lab.runs.results import RunResult
        from roberta_lab.runs.tracking import Tracker
        from roberta_lab.training.pretraining import pretrain  # torch and Lightning: only when there is work

        start = time.monotonic()
        name, result = run_folder.label(config), None
        log = Tracker(config, path, "pretrain", name, identity.science(config))
        try:
            found = pretrain(config, prepared, path, log, name)
            result = RunResult(path.name, name, time.monotonic() - start, found)
        finally:
            log.close(result)
        run_folder.finish(path, result)
    print(f"{name}: {result.summary()}, {path}")
    if config.sweep is None:
        print(f"next: {folded('finetune', [*overrides, 'task=pydoc_topic'])}")
