"""Gradient noise: the estimate against draws of known noise, its norms against plain backward passes, and that it changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pretraining import Store, make, train

from roberta_lab.axes.examples import Vocabulary
from roberta_lab.config import ConfigError
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model.objective import own_counts
from roberta_lab.training import noise, trainer
from roberta_lab.training.module import PretrainingModule

NOISE = ("train/noise_signal", "train/noise_trace", "train/noise_batch")


def test_the_estimate_is_right_on_average_for_gradients_of_known_noise() -> None:
    """Batches of 32 in parts of 3 and 5 and so on, |G|^2 = 4, tr(S) = 60: within four deviations of the mean."""
    draw, found = np.random.default_rng(0), []
    true, deviation = np.array([2.0, 0.0, 0.0]), np.array([2.0, 4.0, np.sqrt(40.0)])
    parts = np.cumsum([3, 5, 8, 8])
    for _ in range(4000):
        gradients = true + deviation * draw.standard_normal((32, 3))
        small = [part.mean(0) for part in np.split(gradients, parts)]
        square = float(np.mean([g @ g for g in small]))
        inverse = float(np.mean([1 / n for n in (3, 5, 8, 8, 8)]))
        whole = gradients.mean(0)
        found.append(noise.estimated(float(whole @ whole), 32, square, inverse))
    estimates = np.array(found)[:, :2]
    mean, error = estimates.mean(0), estimates.std(0) / np.sqrt(len(found))
    assert np.all(np.abs(mean - [4.0, 60.0]) < 4 * error), (mean, error)
    assert error[0] < 0.1 and error[1] < 1.0


@pytest.mark.parametrize("size", [8, 4, 2], ids=lambda size: f"micro-batches of {size}")
def test_a_run_that_measures_noise_is_the_same_run(size: int, tmp_path: Path) -> None:
    """With dropout: rows and weights, to the last bit, whether the step is one micro-batch or several."""
    config = make(size)
    rows, weights = train(config, tmp_path / "plain")
    config.trainer.noise_scale_every = 5
    measured, same = train(config, tmp_path / "measured")
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert [row["step"] for row in measured if NOISE[0] in row] == [5, 10]
    assert all((NOISE[0] in row) == (name in row) for row in measured for name in NOISE)
    assert [{k: v for k, v in row.items() if k not in NOISE} for row in measured] == [dict(row) for row in rows]


def test_norms_are_those_of_a_backward_pass_for_each_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, whose masks a second pass would have to share."""
    config = make(8, dropout=0.0)
    config.trainer.noise_scale_every, config.batch_size.steps = 1, 1
    seen: list[tuple[float, ...]] = []
    right = noise.estimated
    monkeypatch.setattr(noise, "estimated", lambda *given: seen.append(given) or right(*given))
    rows, _ = train(config, tmp_path)
    module = PretrainingModule(config, 60, 1)
    data = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59)))
    squares = []
    assert noise.small_size(config) == 1
    config.trainer.micro_batch_size = 1
    parts = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59))).micro_batches
    for batch in (data.micro_batches[0], *(parts[i] for i in range(8))):
        module.zero_grad()
        module.objective.loss(module.objective.sums(module.model, batch), own_counts(batch)).backward()
        squares.append(sum(float(p.grad.square().sum()) for p in module.parameters() if p.grad is not None))
    assert seen == [pytest.approx((squares[0], 8, sum(squares[1:]) / 8, 1.0), rel=1e-4)]
    assert rows[0]["train/grad_norm"] == pytest.approx(squares[0] ** 0.5, rel=1e-5)


def test_a_step_of_one_sequence_cannot_be_compared() -> None:
    config = make(1)
    config.batch_size.sequences, config.trainer.noise_scale_every = 1, 1
    with pytest.raises(ConfigError, match="2 and more"):
        noise.check(config)


@pytest.mark.parametrize(
    ("sequences", "micro", "size"), [(16, None, 2), (256, None, 32), (17, None, 1), (12, 4, 4), (6, 6, 1)]
)
def test_small_batches_are_micro_batches_or_parts(sequences: int, micro: int | None, size: int) -> None:
    config = make()
    config.batch_size.sequences, config.trainer.micro_batch_size = sequences, micro
    assert noise.small_size(config) == size


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_half_precision_measures_what_float32_does(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout, whose masks have another form there. Also with a scale that the step bears only just."""
    found = {}
    for precision, scale in (("fp32", 1.0), ("fp16", 2.0**8), ("fp16", 2.0**28)):
        config = make(4, dropout=0.0, precision=precision, optimizer=optimizer)
        config.trainer.noise_scale_every, config.batch_size.steps = 1, 2
        monkeypatch.setattr(trainer, "FIRST_SCALE", scale)
        rows, _ = train(config, tmp_path / f"{precision}-{scale}")
        found[precision, scale] = [row[name] for row in rows if NOISE[0] in row for name in (*NOISE, "train/grad_norm")]
    exact, *halves = found.values()
    assert len(exact) == 8
    for half in halves:
        assert half[1:] == pytest.approx(exact[1:], rel=0.05), "the first is a difference of near numbers"


def test_a_part_of_a_step_bears_less_scale_than_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of one of eight sequences alone are eight times as large as in the step: float16 ends at 65,504."""
    scales = []
    right = noise.joint_norm

    def overflows(gradients: list[torch.Tensor]) -> torch.Tensor:
        norm = right(gradients)
        if in_noise:
            scales.append(float(norm))
        return torch.tensor(float("inf")) if in_noise and len(scales) % 2 else norm

    in_noise: list[bool] = []
    measured = noise.measure

    def measure(*given: Any) -> noise.Noise:
        in_noise.append(True)
        try:
            return measured(*given)
        finally:
            in_noise.clear()

    config = make(1, dropout=0.0, precision="fp16")
    config.trainer.noise_scale_every, config.batch_size.steps = 1, 1
    monkeypatch.setattr(noise, "measure", measure)
    monkeypatch.setattr(noise, "joint_norm", overflows)
    rows, _ = train(config, tmp_path)
    assert len(scales) == 16, "each part twice"
    assert scales[0::2] == pytest.approx([4 * norm for norm in scales[1::2]], rel=0.01)
    assert all(np.isfinite(rows[0][name]) for name in NOISE)


def test_batches_matched_in_tokens_count_their_own_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make(4, input_format="sentence_pair", masking="dynamic")
    config.trainer.noise_scale_every, config.batch_size.steps = 1, 3
    given: list[tuple[float, ...]] = []
    right = noise.estimated
    monkeypatch.setattr(noise, "estimated", lambda *of: given.append(of) or right(*of))
    rows, _ = train(config, tmp_path)
    batches = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59))).micro_batches
    sizes = [batches.counts(step)[1] for step in range(3)]
    assert min(sizes) > config.batch_size.sequences
    assert [of[1] for of in given] == sizes == [row["train/noise_batch"] for row in rows if "lr" in row]
    parts = [[own_counts(batches[2 * step + i])["sequences"] for i in range(2)] for step in range(3)]
    assert [of[3] for of in given] == pytest.approx([np.mean([1 / size for size in sizes]) for sizes in parts])
