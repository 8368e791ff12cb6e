"""`finetune`: one downstream run, from the pretrained run that the same overrides address."""

from __future__ import annotations

import time

from roberta_lab import run
from roberta_lab.config import Config
from roberta_lab.corpus.preparation import embedded, prepared_for


def main(config: Config, overrides: list[str]) -> None:
    """Finetunes once; a run that was interrupted starts again, for it is short."""
    path = run.directory(config, "finetune")
    name = f"{run.label(config)}, {config.task.name} {config.finetune.seed}"
    if run.is_complete(path):
        print(f"{name}: complete, {path}")
        return
    source = run.pretrained(config, overrides, own=("task", "finetune.", "sweep.row"))
    prepared = prepared_for(config)
    docs = embedded(config)
    run.check_data(source, prepared.fingerprints())
    with run.opened(path, config, overrides, prepared.fingerprints()) as is_mine:
        if not is_mine:
            print(f"{name}: complete, {path}")
            return
        from roberta_lab import checkpoint, tokenizer
        from roberta_lab.finetuning import encoder_weights, finetune
        from roberta_lab.tracking import Tracker

        start = time.monotonic()
        weights = encoder_weights(checkpoint.final(source, config.batch_size.steps))
        log = Tracker(config, path, "finetune", name, run.finetune_science(config))
        result = None
        try:
            found = finetune(config, weights, tokenizer.load(prepared.tokenizer), docs, path, log.write)
            result = {**found, "run_id": path.name, "pretrain_run_id": source.name, "label": name}
        finally:
            log.close(result)
        run.finish(path, result, time.monotonic() - start)
    print(f"{name}: {result['metric']} {result['score']:.1f} (majority {result['majority']:.1f}), {path}")
    if config.sweep is None:
        print(f"next: {path}/predictions.jsonl, or the same with finetune.seed={config.finetune.seed + 1}")
