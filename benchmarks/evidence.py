"""Keeps what complete runs found, without weights: small files from which `roberta-lab table` writes their tables again.

    python benchmarks/evidence.py OUTPUTS docs/evidence/runs

A run that is kept has its config, overrides, provenance and result as they were. Of `metrics.jsonl` it has the rows with held-out
figures, and every EVERY-th row of training; of predictions the classes alone, `classes.txt`, a digit for each dev item in its
order. `whole.json` has the SHA-256 and the size of the files that these come from: two runs with the same hash had the same bits
in every row. What is there already is left as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from roberta_lab.data import verified
from roberta_lab.runs import results

EVERY = 50  # steps of training of which one row is kept
AS_THEY_ARE = ("config.yaml", "overrides.yaml", "provenance.json", results.NAME)
METRICS, PREDICTIONS = "metrics.jsonl", "predictions.jsonl"


def thinned(rows: str) -> str:
    """Return the rows of `metrics.jsonl` that are kept, unchanged: those with held-out figures, each EVERY-th, and the last."""
    lines = rows.splitlines(keepends=True)
    kept = []
    for line in lines:
        row = json.loads(line)
        is_held_out = any(name.startswith(results.VALIDATION) for name in row)
        if is_held_out or row["step"] % EVERY == 0 or line is lines[-1]:
            kept.append(line)
    return "".join(kept)


def classes(predictions: str) -> str | None:
    """Return a digit for each prediction: its class, or of a minimal pair 1 where the good sentence won, 2 for a tie; None for others."""
    found = [json.loads(line) for line in predictions.splitlines()]
    values = [_won(one["good"], one["bad"]) if "good" in one else one["prediction"] for one in found]
    is_whole = all(isinstance(one, int) and 0 <= one < 10 for one in values)
    return "".join(str(int(one)) for one in values) + "\n" if is_whole else None


def _won(good: float, bad: float) -> int:
    return 2 if good == bad else int(good > bad)


def keep(run: Path, kept: Path) -> None:
    """Write what is kept of a complete run. Raises Damaged."""
    results.read(run)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as place:
        new = Path(place, kept.name)
        new.mkdir()
        for name in AS_THEY_ARE:
            shutil.copyfile(run / name, new / name)
        whole = {name: (run / name).read_bytes() for name in (METRICS, PREDICTIONS) if (run / name).is_file()}
        (new / METRICS).write_text(thinned(whole[METRICS].decode()))
        if PREDICTIONS in whole and (found := classes(whole[PREDICTIONS].decode())) is not None:
            (new / "classes.txt").write_text(found)
        sums = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in whole.items()}
        (new / "whole.json").write_text(json.dumps(sums, indent=2) + "\n")
        verified.seal(new, results.SEALED)
        new.rename(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("to", type=Path)
    options = parser.parse_args()
    for kind in results.FOUND:
        for run in sorted((options.outputs / kind).glob("*")):
            if results.is_complete(run) and not (kept := options.to / kind / run.name).exists():
                keep(run, kept)
                print(kept)


if __name__ == "__main__":
    main()
