"""Text and configs for the benchmarks that train: JSON lines that both sides read, and a run of ours on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from roberta_lab.config import Config


def _modules() -> Iterator[tuple[str, str]]:
    """(name, text) of each module of the embedded corpus: the documentation that every Python environment holds."""
    from roberta_lab.data.corpus.sources import pydoc

    for name, records in groupby(pydoc.docstrings(0, 1), lambda record: record.module):
        yield name, "\n\n".join(record.text for record in records)


def jsonl(path: Path, megabytes: float) -> Path:
    """The embedded corpus as JSON lines, cut after so many megabytes."""
    size = 0
    with open(path, "w", encoding="utf-8") as out:
        for name, text in _modules():
            size += out.write(json.dumps({"id": name, "title": name, "text": text}) + "\n")
            if size > megabytes * 1e6:
                break
    return path


def composed(text: Path, folder: Path, overrides: Sequence[str]) -> Config:
    """The config of a run on a file of JSON lines, everything it writes under `folder`; one process, one thread, no W&B."""
    from hydra import initialize_config_dir

    from roberta_lab.runs.composition import composed
    from roberta_lab.runs.options import CONF
    from roberta_lab.runs.overrides import parse
    from roberta_lab.runs.registration import register

    register()
    own = [
        "data_mix=own",
        "data_mix.own.kind=jsonl",
        f"data_mix.own.path='{text.resolve()}'",
        "data_mix.train_tokens=null",
    ]
    circumstance = [
        f"paths.outputs='{folder / 'outputs'}'",
        "logger.wandb=off",
        "prepare.workers=1",
        "trainer.threads=1",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return composed(parse([*own, *circumstance, *overrides]))
