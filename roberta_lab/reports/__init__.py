"""From runs to the table beside the published numbers: rows, figures, Markdown, CSV and one HTML page."""

from __future__ import annotations

import json
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.reports import render
from roberta_lab.reports.figures import Points, curves
from roberta_lab.reports.rows import Record, Table, table
from roberta_lab.tracking import read


def write_table(config: Config, records: list[Record], folder: Path) -> tuple[Table, list[Path]]:
    """Writes table.md, table.csv and index.html into `folder`; returns the table and the files."""
    assert config.sweep is not None
    made = table(config.sweep, config.scale.name, records)
    meta = provenance(config, records, folder)
    texts = {
        "table.md": render.markdown(made, meta),
        "table.csv": render.csv_text(made),
        "index.html": render.html(made, learning_curves(made, records, folder), meta),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return made, [folder / name for name in texts]


def learning_curves(made: Table, records: list[Record], folder: Path) -> dict[str, str]:
    """Held-out perplexity and training loss by tokens seen, a line per row (its first pretraining seed)."""
    rows: dict[str, list[dict]] = {}
    for record in records:
        if record.kind == "pretrain" and record.result:
            rows.setdefault(record.row, read(folder / record.directory / "metrics.jsonl"))
    if not rows:
        return {}
    held_out: dict[str, Points] = {
        name: [(m["tokens_seen"], m["val/ppl"]) for m in metrics if "val/ppl" in m] for name, metrics in rows.items()
    }
    losses: dict[str, Points] = {name: _smoothed(metrics) for name, metrics in rows.items()}
    unigram = next((row.unigram_ppl for row in made.rows if row.unigram_ppl is not None), None)
    drawn = (
        ("Held-out perplexity", held_out, "perplexity", ("unigram", unigram) if unigram is not None else None),
        ("Training loss of MLM", losses, "mean over 1/50 of the run", None),
    )
    return {title: curves(series, title, "tokens seen", y, reference) for title, series, y, reference in drawn}


def _smoothed(metrics: list[dict]) -> Points:
    rows = [m for m in metrics if "train/mlm_loss" in m]
    size = max(1, len(rows) // 50)
    windows = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [(w[-1]["tokens_seen"], sum(m["train/mlm_loss"] for m in w) / len(w)) for w in windows]


def provenance(config: Config, records: list[Record], folder: Path) -> dict[str, str]:
    """What the runs noted of code, packages, hardware, data and dates, every attempt of a resumed run counted.

    Differing notes stand side by side.
    """
    notes: dict[str, dict[str, None]] = {}
    days: set[str] = set()
    for record in records:
        file = folder / record.directory / "provenance.json"
        if record.result is None or not file.is_file():
            continue
        said = json.loads(file.read_text(encoding="utf-8"))
        data = (
            f"{' + '.join(config.data_mix.sources)} (corpus {said['data']['corpus']}, tokens {said['data']['tokens']})"
        )
        for attempt in said["attempts"]:
            days |= {attempt[key][:10] for key in ("start", "end") if key in attempt}
            for key, value in {"data": data, **_circumstances(attempt)}.items():
                notes.setdefault(key, {})[value] = None
    seconds = sum(record.result["seconds"] for record in records if record.result)
    times = {"computing time": f"{seconds:,.0f} s over {sum(r.result is not None for r in records)} runs"}
    if days:
        times["date"] = " to ".join(dict.fromkeys((min(days), max(days))))
    return {"scale": config.scale.name, **{key: "; ".join(values) for key, values in notes.items()}, **times}


def _circumstances(attempt: dict) -> dict[str, str]:
    """Code, packages and hardware of one attempt, in words."""
    commit, hardware = attempt["git"]["commit"], attempt["hardware"]
    dirty = " with uncommitted changes" if attempt["git"]["dirty"] else ""
    return {
        "code": f"commit {commit}{dirty}" if commit else "no git",
        "packages": ", ".join(f"{name} {version}" for name, version in attempt["packages"].items()),
        "python": attempt["python"],
        "hardware": f"{hardware['platform']}, {hardware['cpus']} CPUs",
    }
