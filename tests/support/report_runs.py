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
    FinetuneConfig,
    InputFormatConfig,
    MaskingConfig,
    ModelConfig,
    NspConfig,
    OptimizerConfig,
    PathsConfig,
    PrecisionConfig,
    PretrainedConfig,
    ScaleConfig,
    SourceConfig,
    SweepConfig,
    TaskConfig,
    TokenizerConfig,
)
from roberta_lab.reports.table.rows import Record
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks.result import FinetuningResult
from roberta_lab.training.rows import PretrainingResult

SWEEP = SweepConfig(
    name="table1_masking",
    title="Table 1",
    question="Which?",
    rows={"static": ["masking=static"], "dynamic": ["masking=dynamic"]},
    tasks=["squad2", "mnli"],
    finetune_seeds=[1, 2, 3],
    published="table1_masking",
)
TABLE_10 = {
    "batch": 16,
    "lr": 2e-5,
    "epochs": 10,
    "warmup_ratio": 0.06,
    "weight_decay": 0.1,
    "dropout": 0.1,
    "beta2": 0.98,
}
META = {"data": "pydoc", "code": "commit abc"}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def pretrained(row: str, ppl: float | None, seed: int = 1, **more: Any) -> Record:
    """Return a pretraining run, missing without a perplexity; `more` are fields of its result, held-out metrics by name."""
    run_id, metrics = f"p-{row}-{seed}", {name: value for name, value in more.items() if name.startswith("val/")}
    fields = {"steps": 2000, "tokens_seen": 2000000, "epochs": 40.0, "unigram_ppl": 700.0, "parameters": 1, "plan": {}}
    fields |= {name: value for name, value in more.items() if name not in metrics}
    found = PretrainingResult(**fields, metrics={"val/ppl": ppl, **metrics}) if ppl else None
    result = RunResult(run_id, f"{row} seed 1", 1.0, found) if found else None
    return Record("pretrain", row, seed, None, None, run_id, f"../../pretrain/{run_id}", result, None)


def finetuned(row: str, column: str, seed: int, score: float | None, /, **more: Any) -> Record:
    """Return a finetuning run, missing without a score; `more` are fields of its result."""
    run_id = f"f-{row}-{column}-{seed}"
    fields = {"task": f"pydoc_{column}", "stands_for": column, "caution": "Mind the <style>.", "metric": "accuracy"}
    fields |= {"score": score, "majority": 50.0, "metrics": {}, "at_chance": False, "diverged": False, "num_dev": 1000}
    fields |= {"best_epoch": 1, "epochs": 1, "num_train": 1, "finetune_seed": seed, "examples_per_second": 1.0}
    found = FinetuningResult(**fields | more) if score is not None else None
    result = RunResult(run_id, f"{row} seed 1", 1.0, found) if found else None
    return Record("finetune", row, 1, column, seed, run_id, "../../finetune/x", result, None)


def changed(record: Record, **fields: Any) -> Record:
    """Return the run with other fields in what it found."""
    assert record.result is not None
    return replace(record, result=replace(record.result, found=replace(record.result.found, **fields)))


def records() -> list[Record]:
    return [
        pretrained("static", 500.0),
        pretrained("dynamic", None),
        *(finetuned("static", "squad2", s, v) for s, v in ((1, 70.0), (2, 60.0), (3, 65.5))),
        *(finetuned("static", "mnli", s, 51.0, at_chance=True) for s in (1, 2, 3)),
        *(finetuned("dynamic", "squad2", s, v) for s, v in ((1, 70.0), (2, None), (3, 60.0))),
        *(finetuned("dynamic", "mnli", s, None) for s in (1, 2, 3)),
    ]


def of_own_tasks(runs: list[Record]) -> list[Record]:
    """The same runs on the paper's own tasks, without stand-ins."""
    return [changed(run, task=run.task, stands_for="") if run.task and run.result else run for run in runs]


def config(sweep: SweepConfig, outputs: Path, scale: str = "smoke") -> Config:
    sources = DataMixConfig({"pydoc": SourceConfig("pydoc")})
    return Config(data_mix=sources, scale=ScaleConfig(name=scale), sweep=sweep, paths=PathsConfig(outputs=str(outputs)))


def composed(settings: dict[str, dict[str, Any]]) -> Config:
    """A row's config, as far as tables read it."""
    return Config(
        data_mix=DataMixConfig({"pydoc": SourceConfig("pydoc")}, **settings.get("data_mix", {})),
        model=ModelConfig(layers=2, hidden=128, heads=2, ffn=512),
        input_format=InputFormatConfig(settings.get("input_format", "full_sentences"), 64),
        nsp=NspConfig("auto", **settings.get("nsp", {})),
        masking=MaskingConfig(**{"name": "dynamic", **settings.get("masking", {})}),
        finetune=FinetuneConfig(
            **{**TABLE_10, "recipe": "RoBERTa's", **settings.get("finetune", {})},
        ),
        batch_size=BatchSizeConfig(
            **{"sequences": 256, "steps": 2000, "peak_lr": 1e-4, **settings.get("batch_size", {})}
        ),
        optimizer=OptimizerConfig(warmup_steps=20),
        precision=PrecisionConfig("fp32"),
        pretrained=PretrainedConfig(),
        task=TaskConfig(name="pydoc_topic", family="pydoc", head="classification", metric="accuracy"),
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
        (path / "result.json").write_text(json.dumps(record.result.to_json()))
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
