"""`pretrain`: one run, from where an earlier attempt left it, or nothing if it is complete."""

from __future__ import annotations

import time

from roberta_lab import run
from roberta_lab.command_line import folded
from roberta_lab.config import Config
from roberta_lab.corpus.preparation import prepared_for


def main(config: Config, overrides: list[str]) -> None:
    """Prepares the data if need be, then trains; the run's directory follows from the science of the config."""
    path = run.directory(config, "pretrain")
    if run.is_complete(path):
        print(run.complete_line(run.label(config), path))
        return
    prepared = prepared_for(config)
    with run.opened(path, config, overrides, prepared.fingerprints()) as is_mine:
        if not is_mine:
            print(run.complete_line(run.label(config), path))
            return
        from roberta_lab.pretraining import pretrain  # torch and Lightning: only when there is work

        start = time.monotonic()
        result = pretrain(config, prepared, path)
        run.finish(path, {**result, "run_id": path.name}, time.monotonic() - start)
    print(
        f"{run.label(config)}: held-out perplexity {result['val/ppl']:.1f} (unigram {result['unigram_ppl']:.1f}), {path}"
    )
    if config.sweep is None:
        print(f"next: {folded('finetune', [*overrides, 'task=pydoc_topic'])}")
