"""`prepare`: everything between text and token store, made once and found again."""

from __future__ import annotations

import json

from roberta_lab.data.corpus.preparation import prepared_for
from roberta_lab.runs.jobs import Job


def main(job: Job) -> None:
    """Prepare what is missing, and print what lies where."""
    prepared = prepared_for(job.config)
    for path in (prepared.corpus, prepared.tokenizer, prepared.store):
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        counts = ", ".join(f"{number:,} {name}" for name, number in manifest["counts"].items())
        print(f"{path.parent.name:<10} {path}  {counts}")
    print("next: roberta-lab inspect, or roberta-lab pretrain")
