"""Kills a pretraining run with SIGKILL at random moments, types the same command again each time, and compares the end with
that of an uninterrupted run: every logged row and every final weight, bitwise.

    python benchmarks/kill_and_resume.py [--kills 10] [--steps 400] [overrides ...]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from roberta_lab.model import checkpoint


def command(outputs: Path, cache: Path, options: argparse.Namespace) -> list[str]:
    return [
        *(sys.executable, "-m", "roberta_lab", "pretrain", f"paths.outputs={outputs}", f"paths.cache={cache}"),
        *(f"batch_size.steps={options.steps}", "trainer.checkpoint_every_steps=20", "trainer.progress=false"),
        *("logger.wandb=off", *options.overrides),
    ]


def killed(arguments: list[str], outputs: Path, draw: random.Random) -> str:
    """Starts the run and kills it at a random moment after its first row of this attempt; returns where it died."""
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        moment = time.monotonic() + draw.uniform(4, 14)
        while time.monotonic() < moment and process.poll() is None:
            time.sleep(0.01)
        finished = process.poll() is not None
        process.kill()
    checkpoints = sorted(p.name for p in outputs.rglob("step-*.ckpt"))
    return "finished" if finished else f"killed; newest checkpoint {checkpoints[-1] if checkpoints else 'none'}"


def end(outputs: Path) -> tuple[bytes, dict[str, torch.Tensor]]:
    """All logged rows and the final weights of the one run in a folder."""
    [metrics] = outputs.rglob("metrics.jsonl")
    newest = checkpoint.newest(metrics.parent / "checkpoints")
    assert newest is not None
    return metrics.read_bytes(), checkpoint.load(newest)["state_dict"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, cut, cache = Path(folder) / "whole", Path(folder) / "cut", Path(folder) / "cache"
        subprocess.run(command(whole, cache, options), check=True)
        draw, kills = random.Random(options.seed), 0
        while kills < options.kills:
            outcome = killed(command(cut, cache, options), cut, draw)
            assert outcome != "finished", f"the run ended after {kills} kills; give it more --steps"
            kills += 1
            print(f"kill {kills}: {outcome}", flush=True)
        subprocess.run(command(cut, cache, options), check=True)
        (rows, weights), (cut_rows, cut_weights) = end(whole), end(cut)
        same = sum(torch.equal(weights[name], cut_weights[name]) for name in weights)
        print(f"rows: {len(rows.splitlines())}, bytes equal: {rows == cut_rows}")
        print(f"weights: {same} of {len(weights)} tensors bitwise equal; torch {torch.__version__}")
        sys.exit(0 if rows == cut_rows and same == len(weights) else 1)


if __name__ == "__main__":
    main()
