"""Runs of seconds from the command line, on docstrings made up here."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from roberta_lab.data.corpus.sources import pydoc
from roberta_lab.data.corpus.sources.pydoc import Docstring

# Enough steps for checkpoints and validations in between.
SMALL = [
    *("tokenizer.vocab_size=300", "data_mix.train_tokens=3000", "data_mix.validation_tokens=1000", "data_mix.held_out_share=0.3"),
    *("input_format.max_length=32", "batch_size.sequences=4", "batch_size.steps=24", "optimizer.warmup_steps=2"),
    *("model.layers=1", "model.hidden=16", "model.heads=2", "model.ffn=32", "trainer.num_validations=3"),
    *("trainer.checkpoint_every_steps=5", "finetune.epochs=1", "trainer.jobs=1", "trainer.progress=false", "logger.wandb=off", "prepare.workers=1"),
]  # fmt: skip

# Table 1's seeds and columns at paper scale, where a scale would have others: 2 pretraining runs and 18 finetunings.
WHOLE = ["sweep.seeds=[1]", "sweep.tasks=[squad2,mnli,sst2]", "sweep.finetune_seeds=[1,2,3]"]

# One pretraining run of three steps.
SHORT = [
    *("tokenizer.vocab_size=300", "data_mix.train_tokens=2000", "data_mix.validation_tokens=500", "data_mix.held_out_share=0.3"),
    *("input_format.max_length=32", "batch_size.sequences=4", "batch_size.steps=3", "optimizer.warmup_steps=1"),
    *("model.layers=1", "model.hidden=16", "model.heads=2", "model.ffn=32", "trainer.num_validations=1"),
    *("trainer.progress=false", "logger.wandb=off", "prepare.workers=1", "trainer.accelerator=cpu"),
]  # fmt: skip


def patch_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the embedded corpus be eighty modules in four packages, two functions each."""
    found = [
        Docstring(f"m{i}", pydoc.PACKAGES[i % 3] if i % 4 else "python", f"f{j}", "function", f"Return the value {i} of part {j}. It is computed in the way number {i} and {j} of all ways.\n\nArgs:\n    first{i}: the input number {i} of {j}\n    second{j}: the other input {i} of {j}\n")
        for i in range(80)
        for j in range(2)
    ]  # fmt: skip
    monkeypatch.setattr(pydoc, "docstrings", lambda part, parts: iter(found if part == 0 else []))


@pytest.fixture
def small_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small corpus."""
    patch_source(monkeypatch)


def own_text(folder: Path) -> list[str]:
    """The arguments of a corpus in the folder, which other processes read too: two hundred documents of three sentences."""
    if not (folder / "text").is_dir():
        (folder / "text").mkdir()
        for i in range(200):
            parts = [f"The value {i} of part {j} is computed in the way number {i * j} of all ways." for j in range(3)]
            (folder / "text" / f"{i}.txt").write_text(" ".join(parts))
    return ["data_mix=own", f"data_mix.own.path={folder / 'text'}"]


def wait_for_a_new_checkpoint(outputs: Path, known: set[Path], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not set(outputs.rglob("step-*.ckpt")) - known:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)


def write_pairs(folder: Path) -> None:
    """Write two paradigms of twelve minimal pairs each, in BLiMP's format."""
    folder.mkdir()
    for name, field in (("order", "syntax"), ("agreement", "morphology")):
        rows = [
            {"sentence_good": f"Return the value {i} of part {i}.", "sentence_bad": f"Return value the {i + 1} part of {i}."}
            for i in range(12)
        ]  # fmt: skip
        lines = "".join(json.dumps(row | {"field": field, "UID": name}) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
