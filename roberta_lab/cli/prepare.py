"""`prepare`: everything between text and token store, made once and found again."""

from __future__ import annotations

import json

from roberta_lab.config import Config
from roberta_lab.data.corpus.preparation import prepared_for


def main(config: Config, overrides: list[str]) -> None:
    """Prints what lies where."""
    prepared = prepared_for(config)
    for path in (prepared.corpus, prepared.tokenizer, prepared.store):
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        counts = ", ".join(f"{number:,} {name}" for name, number in manifest["counts"].items())
        print(f"{path.parent.name:<10} {path}  {counts}")
    print("next: roberta-lab inspect, or roberta-lab pretrain")
