"""Runs as tables read them: records with results of any kind, and folders of runs for the landing page."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from roberta_lab.config import (
    BatchSizeConfig,
    Config,
    DataMixConfig,
    MaskingConfig,
    ModelConfig,
    PathsConfig,
    ScaleConfig,
    SourceConfig,
    SweepConfig,
    TokenizerConfig,
)
from roberta_lab.reports.table.rows import Record

SWEEP = SweepConfig(
    name="table1_masking",
    title="Table 1",
    question="Which?",
    rows={"static": ["masking=static"], "dynamic": ["masking=dynamic"]},
    tasks=["squad2", "mnli"],
    finetune_seeds=[1, 2, 3],
    published="table1_masking",
)
META = {"data": "pydoc", "code": "commit abc"}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def pretrained(row: str, ppl: float | None, seed: int = 1, **more: Any) -> Record:
    result = {"val/ppl": ppl, "unigram_ppl": 700.0, "tokens_seen": 2000000, "epochs": 40.0, "steps": 2000, "seconds": 1.0, **more}  # fmt: skip
    return Record("pretrain", row, seed, None, None, f"p-{row}-{seed}", f"../../pretrain/p-{row}-{seed}", result if ppl else None, None)  # fmt: skip


def finetuned(row: str, column: str, seed: int, score: float | None, /, **more: Any) -> Record:
    result = {"score": score, "majority": 50.0, "task": f"pydoc_{column}", "metric": "accuracy", "num_dev": 1000, "at_chance": False, "diverged": False, "caution": "Mind the <style>.", "seconds": 1.0, **more}  # fmt: skip
    return Record("finetune", row, 1, column, seed, f"f-{row}-{column}-{seed}", "../../finetune/x", result if score is not None else None, None)  # fmt: skip


def records() -> list[Record]:
    return [
        pretrained("static", 500.0),
        pretrained("dynamic", None),
        *(finetuned("static", "squad2", s, v) for s, v in ((1, 70.0), (2, 60.0), (3, 65.5))),
        *(finetuned("static", "mnli", s, 51.0, at_chance=True) for s in (1, 2, 3)),
        *(finetuned("dynamic", "squad2", s, v) for s, v in ((1, 70.0), (2, None), (3, 60.0))),
        *(finetuned("dynamic", "mnli", s, None) for s in (1, 2, 3)),
    ]


def config(sweep: SweepConfig, outputs: Path, scale: str = "smoke") -> Config:
    sources = DataMixConfig({"pydoc": SourceConfig("pydoc")})
    return Config(data_mix=sources, scale=ScaleConfig(name=scale), sweep=sweep, paths=PathsConfig(outputs=str(outputs)))


def composed(settings: dict[str, dict[str, Any]]) -> Config:
    """A row's config, as far as tables read it."""
    return Config(
        data_mix=DataMixConfig({"pydoc": SourceConfig("pydoc")}, **settings.get("data_mix", {})),
        model=ModelConfig(layers=2, hidden=128, heads=2, ffn=512),
        masking=MaskingConfig(**{"name": "dynamic", **settings.get("masking", {})}),
        batch_size=BatchSizeConfig(
            **{"sequences": 256, "steps": 2000, "peak_lr": 1e-4, **settings.get("batch_size", {})}
        ),
        tokenizer=TokenizerConfig(**{"kind": "bytelevel_bpe", "vocab_size": 2048, **settings.get("tokenizer", {})}),
    )


def write_run(
    outputs: Path, record: Record, settings: dict[str, Any] | None = None, folder: str | None = None
) -> Record:
    """A folder such as a run leaves; the record that a table two folders down (tables/NAME/SCALE) has of it."""
    name = folder or record.run_id
    path = outputs / record.kind / name
    path.mkdir(parents=True)
    curve = [{"step": k, "tokens_seen": 1000 * k, "train/mlm_loss": 7.0 - k / 10} for k in range(1, 11)]
    curve += [{"step": k, "tokens_seen": 1000 * k, "val/ppl": 900.0 / k} for k in (2, 6, 10)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    (path / "config.yaml").write_text(json.dumps(settings or {}))  # JSON is YAML
    (path / "overrides.yaml").write_text(json.dumps([f"masking={record.row}", f"sweep.row={record.row}", "sweep=t"]))
    if record.result is not None:
        (path / "result.json").write_text(json.dumps({"label": f"{record.row} seed 1", **record.result}))
    return replace(record, run_id=name, directory=f"../../../{record.kind}/{name}", config=composed(settings or {}))


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data
