"""Does less precise arithmetic change what is learned? Held-out perplexities against what another seed changes.

    python benchmarks/precision.py [--text FILE.jsonl] [--dtypes bf16 fp16] [--seeds 4] [--steps 400] [OVERRIDE ...]

One small model is pretrained as `roberta-lab pretrain` does it: in fp32 with several seeds, then with the first seed in each
other precision (fp16 on a GPU only). At every validation the difference in log perplexity from fp32 with the same seed is set
against the range over fp32's seeds. Seeds change the initialization, the order of the data, masks and dropout; the
held-out text and its masks stay. Overrides are those of `roberta-lab`, such as model=mini.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

from corpora import composed, jsonl
from side_by_side import one_thread, setting, table

from roberta_lab.config import DTYPES, Config, PrecisionConfig

Curve = dict[int, float]  # optimizer step -> held-out perplexity
SMALL = (
    "model=tiny",
    "tokenizer.vocab_size=8192",
    "input_format=full_sentences",
    "input_format.max_length=64",
    "batch_size.sequences=16",
    "batch_size.peak_lr=2e-3",
    "data_mix.train_tokens=null",
    "data_mix.validation_tokens=16384",
    "trainer.num_validations=8",
)


def curve(config: Config) -> Curve:
    """Of a run with this config."""
    from roberta_lab.data.corpus.preparation import prepared_for
    from roberta_lab.runs.identity import directory
    from roberta_lab.runs.tracking import Tracker, read
    from roberta_lab.training.pretraining import pretrain

    path = directory(config, "pretrain")
    path.mkdir(parents=True, exist_ok=True)
    rows = Tracker(config, path, "pretrain", "precision", {})
    pretrain(config, prepared_for(config), path, rows, "precision")
    return {row["step"]: row["val/ppl"] for row in read(path / "metrics.jsonl") if "val/ppl" in row}


def compared(fp32: list[Curve], others: dict[str, Curve]) -> str:
    """The table: a line for each validation, differences and range in % of perplexity (100 x the difference of logs)."""
    head = ["step", "fp32, seed 1", "range over seeds, %"]
    head += [cell for name in others for cell in (f"{name}, seed 1", "difference, %")]
    rows = []
    for step, value in fp32[0].items():
        row = [str(step), f"{value:.2f}", f"{spread(fp32, step):.2f}"]
        for other in others.values():
            row += [f"{other[step]:.2f}", f"{100 * math.log(other[step] / value):+.2f}"]
        rows.append(row)
    return table(head, rows)


def spread(curves: list[Curve], step: int) -> float:
    """Range over the seeds in log perplexity, x 100."""
    values = [math.log(one[step]) for one in curves]
    return 100 * (max(values) - min(values))


def verdict(name: str, fp32: list[Curve], other: Curve) -> str:
    """One sentence, from the numbers."""
    away = {step: abs(100 * math.log(value / fp32[0][step])) for step, value in other.items()}
    outside = [str(step) for step in away if away[step] > spread(fp32, step)]
    worst = max(away.values())
    if not outside:
        return f"{name} stays within the range over {len(fp32)} seeds of fp32 at every validation (at most {worst:.2f}% away)."
    return f"{name} leaves the range over {len(fp32)} seeds of fp32 at step {', '.join(outside)} (at most {worst:.2f}% away)."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--text", type=Path, help="JSON lines with `text`; without it the embedded corpus")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES[1:])
    parser.add_argument("--seeds", type=int, default=4, help="of fp32, two or more")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    one_thread()
    import torch

    torch.set_num_threads(1)
    dtypes = options.dtypes or [d for d in DTYPES[1:] if d != "fp16" or torch.cuda.is_available()]
    with tempfile.TemporaryDirectory() as folder:
        text = options.text or jsonl(Path(folder) / "pydoc.jsonl", 8.0)
        small = [*SMALL, f"batch_size.steps={options.steps}", f"optimizer.warmup_steps={options.steps // 16}"]
        config = composed(text, Path(folder), [*small, *options.overrides])
        fp32 = [curve(replace(config, seed=seed)) for seed in range(1, options.seeds + 1)]
        others = {dtype: curve(replace(config, seed=1, precision=PrecisionConfig(dtype))) for dtype in dtypes}
    print(f"held-out perplexity, {' '.join([*small, *options.overrides])}, {text.name}\n")
    print(compared(fp32, others), end="\n\n")
    for name, other in others.items():
        print(verdict(name, fp32, other))
    print(f"\n{setting('torch', 'lightning')}")


if __name__ == "__main__":
    main()
