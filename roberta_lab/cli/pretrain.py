"""`pretrain`: train one run, from the last checkpoint of an earlier attempt; a complete run is not repeated."""

import time
from functools import partial

from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.runs import identity, provenance, results, run_folder
from roberta_lab.runs.command_line import folded
from roberta_lab.runs.jobs import Job


def main(job: Job) -> None:
    """Prepare the data if they are missing, then train in the folder that belongs to the settings of the config."""
    config, path, name = job.config, job.path, job.label
    if results.is_complete(path):
        print(run_folder.complete_line(name, path))
        return
    prepared = prepared_for(config)
    with run_folder.opened(path, config, job.words, prepared.fingerprints()) as is_mine:
        if not is_mine:
            print(run_folder.complete_line(name, path))
            return
        from roberta_lab.runs.results import RunResult
        from roberta_lab.runs.tracking import Tracker
        from roberta_lab.training.pretraining import pretrain  # torch and Lightning: only when there is work

        start = time.monotonic()
        result = None
        log = Tracker(config, path, "pretrain", name, identity.science(config))
        try:
            found = pretrain(config, prepared, path, log, name, partial(provenance.note_cut, path))
            result = RunResult(path.name, name, time.monotonic() - start, found)
        finally:
            log.close(result)
        run_folder.finish(path, result)
    print(f"{name}: {result.summary()}, {path}")
    if config.sweep is None:
        print(f"next: {folded('finetune', [*job.overrides, 'task=pydoc_topic'])}")
