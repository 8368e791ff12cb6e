"""An interrupted run equals an uninterrupted one, bitwise; a batch cut differently gives the same losses."""

import os
import signal
import time
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from mask_configs import EVERY_CONFIG
from small_pretraining import VOCABULARY, Store, make, train
from torch._dynamo.utils import counters

from roberta_lab.axes import blocks
from roberta_lab.axes.examples import Vocabulary
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.config import (
    EvaluateConfig,
    MaskingConfig,
)
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint, encoder
from roberta_lab.model.encoder import PretrainingModel
from roberta_lab.training import trainer
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.pretraining import build_pretraining_trainer
from roberta_lab.training.rows import NoRows
from roberta_lab.training.step_end import StepEnd

OPTIONS = [
    {},
    {"input_format": "full_sentences", "masking": "dynamic", "precision": "bf16"},
    {"input_format": "sentence_pair", "masking": "dynamic"},
    {"input_format": "doc_sentences"},
    {"precision": "fp16"},
    {"positions": "span", "masking": "dynamic", "optimizer": "lamb", "schedule": "cosine"},
    {"pairs": "swapped", "weight": 0.5, "optimizer": "lamb", "precision": "fp16"},
]


def test_a_task_is_scored_at_its_steps_and_at_the_end_never_twice(tmp_path: Path) -> None:
    """Whatever is between; a run that scores nothing has the same other rows and weights."""

    def score(model: PretrainingModel) -> dict[str, float]:
        return {"task/accuracy": float(model.mlm_bias.detach().sum())}

    config = replace(make(), evaluate=EvaluateConfig(every=5))
    plain, plain_weights = train(config, tmp_path / "plain")
    rows, weights = train(config, tmp_path / "whole", score=score)
    for stop in (4, 5, 10):
        train(config, tmp_path / "cut", stop_after=stop, score=score)
    assert train(config, tmp_path / "cut", score=score)[0] == rows
    assert [row["step"] for row in rows if "task/accuracy" in row] == [5, 10, 12]
    assert [row for row in rows if "task/accuracy" not in row] == plain
    assert all(torch.equal(weights[name], value) for name, value in plain_weights.items())


SLURM = {"JOB_ID": "7", "JOB_NAME": "x", "NTASKS": "8", "NNODES": "1", "PROCID": "3", "LOCALID": "3", "NODEID": "0"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"}


@pytest.mark.parametrize("around", [{f"SLURM_{name}": value for name, value in SLURM.items()}, TORCHRUN])
def test_a_scheduler_around_a_run_on_one_device_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: dict[str, str]
) -> None:
    """Lightning takes neither a number of processes nor a rank from it, installs no requeue, and leaves no files of its own."""
    rows, weights = train(make(), tmp_path / "plain")
    for name, value in around.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGUSR1)
    found, own = train(make(), tmp_path / "around")
    assert found == rows and all(torch.equal(weights[name], value) for name, value in own.items())
    assert signal.getsignal(signal.SIGUSR1) == before
    assert {path.name for path in (tmp_path / "around").iterdir()} == {
        path.name for path in (tmp_path / "plain").iterdir()
    }


@pytest.mark.parametrize("options", OPTIONS)
def test_interrupted_equals_uninterrupted_bitwise(tmp_path: Path, options: dict[str, str]) -> None:
    config = make(**options)
    rows, weights = train(config, tmp_path / "whole")
    for stop in (1, 4, 9):
        train(config, tmp_path / "cut", stop_after=stop)
    resumed_rows, resumed_weights = train(config, tmp_path / "cut")
    assert [r["step"] for r in rows if "lr" in r] == list(range(1, 13))
    assert [r["step"] for r in rows if "val/ppl" in r] == [3, 6, 9, 12]
    assert resumed_rows == rows
    assert all(torch.equal(weights[k], resumed_weights[k]) for k in weights)


@pytest.mark.parametrize(
    "options",
    [
        *({"input_format": name} for name in FORMATS),
        {"positions": "span", "masking": "dynamic", "optimizer": "lamb", "schedule": "cosine"},
        {"positions": "whole_words", "masking": "dynamic"},
        {"pairs": "swapped", "weight": 0.5},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_losses_and_norms_do_not_depend_on_the_micro_batch(tmp_path: Path, options: dict[str, Any]) -> None:
    runs = [train(make(size, dropout=0.0, **options), tmp_path / str(size))[0] for size in (8, 2, 1)]
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert a.keys() == b.keys()
            assert all(a[k] == pytest.approx(b[k], rel=1e-4) for k in a)


def test_a_corpus_of_many_blocks_is_trained_on_and_gone_on_with_bitwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps lie in several windows and epochs. The unigram counts are those of the whole text."""
    config = make(input_format="sentence_pair", masking="dynamic")
    whole = PretrainingData(config, Store(), Store(), VOCABULARY).unigram_perplexity()
    for constant, value in (("WHOLE", 50), ("BLOCK", 30), ("WINDOW", 3)):
        monkeypatch.setattr(blocks, constant, value)
    data = PretrainingData(config, Store(), Store(), VOCABULARY)
    assert data.micro_batches.plans.num_blocks == 10 and len(data.micro_batches.batches.windows(0).ends) == 4
    assert data.unigram_perplexity() == whole
    straight, weights = train(config, tmp_path / "straight")
    train(config, tmp_path / "cut", stop_after=7)
    rows, own = train(config, tmp_path / "cut")
    assert rows == straight and all(torch.equal(weights[key], value) for key, value in own.items())


def test_it_learns(tmp_path: Path) -> None:
    rows, _ = train(make(), tmp_path)
    assert rows[-1]["val/ppl"] < rows[3]["val/ppl"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("masking", [c for c in EVERY_CONFIG if c.name == "dynamic"])
def test_a_step_is_divided_by_what_its_micro_batches_hold(name: str, masking: MaskingConfig) -> None:
    config = make(2, input_format=name, masking="dynamic")
    config.masking = masking
    vocabulary = Vocabulary(60, 59, (0, 1, 2, 3, 59), np.arange(60) % 3 == 0)
    batches = PretrainingData(config, Store(), Store(), vocabulary).micro_batches
    assert batches.per_step == 4
    for step in range(6):
        parts = [batches[step * 4 + i] for i in range(4)]
        assert {part["batch_masked"] for part in parts} == {sum(len(part["masked_labels"]) for part in parts)}
        assert {part["batch_sequences"] for part in parts} == {sum(len(part["cu_seq_lens"]) - 1 for part in parts)}
        assert {part["batch_tokens"] for part in parts} == {sum(len(part["input_ids"]) for part in parts)}
        assert batches.counts(step) == tuple(parts[0][f"batch_{name}"] for name in ("masked", "sequences", "tokens"))


def test_validation_masks_are_the_same_whatever_a_run_trains_on() -> None:
    def labels(seed: int = 1, **masking: Any) -> list[tuple[list[int], list[int]]]:
        config = replace(make(), seed=seed)
        config.masking = MaskingConfig(**masking)
        data = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59)))
        return [
            (batch["masked_positions"].tolist(), batch["masked_labels"].tolist()) for batch in data.validation_batches()
        ]

    fixed = labels(name="static")
    assert fixed == labels(name="dynamic", mask_prob=0.4) == labels(2, name="static", selection="bernoulli")


def test_dropout_is_drawn_from_the_position_and_the_seed() -> None:
    def drawn(seed: int, position: int) -> int:
        module = PretrainingModule(replace(make(), seed=seed), 60, 1)
        module.on_train_batch_start({"position": position}, 0)
        return torch.initial_seed()

    assert drawn(1, 5) == drawn(1, 5)
    assert len({drawn(1, 5), drawn(1, 6), drawn(2, 5)}) == 3


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    config = make()
    config.batch_size.peak_lr = 1e30
    config.trainer.checkpoint_every_steps = 1
    with pytest.raises(FloatingPointError, match="step"):
        train(config, tmp_path)
    assert not [p for p in (tmp_path / "checkpoints").glob("step-*") if not finite(checkpoint.load(p)["state_dict"])]


def finite(weights: dict[str, torch.Tensor]) -> bool:
    return all(bool(w.isfinite().all()) for w in weights.values())


def test_a_step_that_overflows_in_half_precision_is_taken_again_and_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a scale that must overflow at first: as many steps, each with its own batch, losses near those of fp32."""
    taken: list[int] = []
    again = PretrainingModule.gradients_again

    def counted(module: PretrainingModule) -> None:
        taken.append(module.trainer.global_step)
        again(module)

    monkeypatch.setattr(PretrainingModule, "gradients_again", counted)
    monkeypatch.setattr(trainer, "FIRST_SCALE", 2.0**28)
    rows, _ = train(make(precision="fp16"), tmp_path / "fp16")
    assert len(taken) >= 2 and set(taken) == {0}, "too large for the first step, and then not"
    exact, _ = train(make(), tmp_path / "fp32")
    assert [(r["step"], r["tokens_seen"]) for r in rows] == [(r["step"], r["tokens_seen"]) for r in exact]
    assert all(r["train/mlm_loss"] == pytest.approx(e["train/mlm_loss"], rel=0.01) for r, e in pairs(rows, exact))
    saved = checkpoint.load(tmp_path / "fp16" / "checkpoints" / "step-000000012.ckpt")
    [scale] = [v["scale"] for v in saved.values() if isinstance(v, dict) and "scale" in v]
    assert scale == 2.0 ** (28 - len(taken))


def pairs(rows: list[dict], others: list[dict]) -> list[tuple[dict, dict]]:
    return [(r, o) for r, o in zip(rows, others, strict=True) if "lr" in r]


def test_gradients_that_never_fit_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "FIRST_SCALE", 2.0**28)
    monkeypatch.setattr(trainer, "SMALLEST_SCALE", 2.0**27)
    with pytest.raises(FloatingPointError, match="step 1"):
        train(make(precision="fp16"), tmp_path)


def test_activation_checkpointing_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bitwise, dropout included; and the layers are computed again."""
    config = make()
    rows, weights = train(config, tmp_path / "kept")
    calls = mock.Mock(side_effect=encoder.checkpoint)
    monkeypatch.setattr(encoder, "checkpoint", calls)
    config.trainer.activation_checkpointing = True
    again, weights_again = train(config, tmp_path / "again")
    assert calls.call_count == config.model.layers * config.batch_size.steps * 2, "two micro-batches a step"
    assert rows == again and all(torch.equal(weights[k], weights_again[k]) for k in weights)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # asked by the compiler
def test_a_compiled_model_computes_the_same_and_is_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without code generation, which takes a minute: what is counted is how often shapes ask for another graph."""
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="eager"))
    config = make(dropout=0.0, input_format="sentence_pair", masking="dynamic")
    config.batch_size.steps = 6
    config.model.layers = 2
    rows, _ = train(config, tmp_path / "eager")
    torch._dynamo.reset()
    counters.clear()
    config.trainer.compile = True
    compiled, _ = train(config, tmp_path / "compiled")
    assert all(r["train/mlm_loss"] == pytest.approx(c["train/mlm_loss"], rel=1e-5) for r, c in pairs(rows, compiled))
    graphs = counters["stats"]["unique_graphs"]
    assert 0 < graphs <= 6, f"{graphs} graphs: before, in and after attention, with and without gradients"


def test_bits_per_byte_are_those_of_the_masked_text(tmp_path: Path) -> None:
    """With tokens of one byte, perplexity and bits per byte say the same; with two bytes each, half as many bits."""

    def validated(num_bytes: int) -> dict[str, float]:
        config = make()
        vocabulary = Vocabulary(60, 59, (0, 1, 2, 3, 59), num_bytes=np.full(60, num_bytes))
        data = PretrainingData(config, Store(), Store(), vocabulary)
        module = PretrainingModule(config, 60, 1)
        module.trainer = build_pretraining_trainer(config, data, StepEnd(config, data, NoRows(), tmp_path), tmp_path)
        return module.validate(data)

    one, two = validated(1), validated(2)
    assert one["val/bits_per_nonspace_byte"] == pytest.approx(np.log2(one["val/ppl"]))
    assert two["val/bits_per_nonspace_byte"] == pytest.approx(one["val/bits_per_nonspace_byte"] / 2)


def test_a_run_leaves_torch_the_threads_it_found() -> None:
    before = torch.get_num_threads()
    with trainer.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_workers_leave_signals_to_the_run(tmp_path: Path) -> None:
    """A Ctrl-C that reaches a worker in the middle of a step costs nothing."""
    config = make()
    config.trainer.workers = 1
    data = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59)))
    data.trainer = mock.Mock(global_step=0)
    made = data.train_dataloader()
    loader = iter(made)
    first, workers = next(loader), made._iterator._workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
    time.sleep(0.1)
    assert first["position"] == 0 and [next(loader)["position"] for _ in range(10)] == list(range(1, 11))
