"""Makes the runs in `tests/data/earlier_runs`, which `test_earlier_runs.py` reads. They are kept, not made again.

The runs there were made by the code of ac42e42, which raised SCIENCE_VERSION to 2; `version_1` has one of before. Newer code has to go on with them, so do not replace them. Run this script
only to add a run: add its command below, and the script makes what has no folder yet, with its rows in `expected`. The other
files there hold what the commands of the test gave at that commit: predictions, hashes of exported weights, names of folders.

    .venv/bin/python tests/support/make_earlier_runs.py
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).parents[1] / "earlier_runs"
TINY = [
    *("data_mix=own", "data_mix.own.path=text", "data_mix.own.document_separator=blank_line"),
    *("data_mix.held_out_share=0.2", "tokenizer.vocab_size=300", "input_format.max_length=32", "model.layers=1"),
    *("model.hidden=16", "model.heads=2", "model.ffn=32", "batch_size.sequences=8", "batch_size.steps=12"),
    *("optimizer.warmup_steps=3", "trainer.accelerator=cpu", "trainer.checkpoint_every_steps=6"),
    *("trainer.num_validations=2", "trainer.progress=false", "prepare.workers=1", "logger.wandb=off"),
    *("batch_size.peak_lr=0.01", "paths.outputs=runs"),
]
INTERRUPTED = (  # after step 6 of 12
    ["pretrain", *TINY],
    ["pretrain", "precision=fp16", "input_format=full_sentences", "masking=static", "seed=2", *TINY],
)
COMPLETE = ["input_format=doc_sentences", "masking.whole_words=true", "seed=3"]
WEATHER = [
    "task=text_classification",
    "task.path=weather",
    "finetune.epochs=8",
    "finetune.lr=0.01",
    "finetune.save_model=true",
]
WHOLE = (
    ["pretrain", *COMPLETE, *TINY],
    ["finetune", *COMPLETE, *WEATHER, *TINY],
)
KEPT = ("config.yaml", "overrides.yaml", "provenance.json", "metrics.jsonl")


def made(work: Path, command: list[str]) -> Path:
    """Runs a command in `work`, and returns the folder of its run."""
    before = set((work / "runs").glob(f"{command[0]}/*"))
    subprocess.run([sys.executable, "-m", "roberta_lab", *command], cwd=work, check=True)
    [path] = set((work / "runs").glob(f"{command[0]}/*")) - before
    return path


def copy(run: Path, to: Path, interrupted: bool) -> None:
    """Copies a run without its lock, without what names this machine, and with one checkpoint."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns(".lock"))
    *earlier, last = sorted((to / "checkpoints").glob("*.ckpt")) or [None]
    for path in [last] if interrupted else earlier:
        path.unlink()
    provenance = json.loads((to / "provenance.json").read_text())
    for attempt in provenance["attempts"]:
        attempt["hardware"] = {"platform": "example", "cpus": 2, "host": "example"}
        if interrupted:  # as of a process that was killed
            del attempt["end"], attempt["seconds"]
    (to / "provenance.json").write_text(json.dumps(provenance, indent=2, sort_keys=True) + "\n")
    if interrupted:
        rows = (to / "metrics.jsonl").read_text().splitlines(keepends=True)
        (to / "metrics.jsonl").write_text("".join(row for row in rows if json.loads(row)["step"] <= 6))
        for path in to.iterdir():
            if path.is_file() and path.name not in KEPT:
                path.unlink()


def main() -> None:
    """Makes each run that is not there."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("text", "weather"):
            shutil.copytree(HOME / name, work / name)
        (HOME / "expected").mkdir(exist_ok=True)
        for command in (*INTERRUPTED, *WHOLE):
            run = made(work, command)
            kept = HOME / "runs" / command[0] / run.name
            if kept.is_dir():
                continue
            copy(run, kept, command in INTERRUPTED)
            shutil.copy(run / "metrics.jsonl", HOME / "expected" / f"{run.name}.jsonl")
            print(f"made {kept}")


if __name__ == "__main__":
    main()
