"""The speed of a run: a row for each step and no step twice, medians by hand, damage that costs a note, rates for plans."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from small_pretraining import VOCABULARY, Store, make

from roberta_lab.config import Config, console
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model import checkpoint
from roberta_lab.model.costs import costs_of, shape_of
from roberta_lab.model.flops import forward_flops
from roberta_lab.model.hardware import kind_of
from roberta_lab.runs import perf
from roberta_lab.runs.compose import build
from roberta_lab.runs.options import CONF
from roberta_lab.runs.perf import PerfFile, Speed, costs_with, speeds_in
from roberta_lab.runs.registration import register
from roberta_lab.runs.tracking import MetricsFile, with_speed
from roberta_lab.runs.wandb.mirror import Mirror
from roberta_lab.runs.wandb.names import Keys
from roberta_lab.training import perf as measuring
from roberta_lab.training.module import PretrainingModule
from roberta_lab.training.pretraining import build_pretraining_trainer
from roberta_lab.training.rows import PERF, PERF_SUMMARY, Row
from roberta_lab.training.step_end import StepEnd

SETUP: dict[str, object] = {"kind": "cpu", "device": "A CPU", "devices": 1, "threads": 2}


@pytest.fixture(autouse=True)
def _forget() -> None:
    console.forget()


def attempt(folder: Path, step: int, rates: Sequence[float], setup: dict[str, object] = SETUP) -> PerfFile:
    """An attempt that goes on after a step, with a row for each rate."""
    file = PerfFile(folder)
    file.resume(step)
    file.begin(setup)
    for i, rate in enumerate(rates):
        file.write(Row(step + i + 1, {"perf/tokens_per_second": rate}))
    return file


def median(folder: Path) -> float:
    return float(json.loads((folder / PERF_SUMMARY).read_text())["medians"]["tokens_per_second"])


def test_a_resume_repeats_no_step_and_first_steps_are_in_no_median(tmp_path: Path) -> None:
    first = attempt(tmp_path, 0, [1, 10, 20, 30])
    first.flush()  # as before a checkpoint of step 4
    first.write(Row(5, {"perf/tokens_per_second": 9e9}))  # and then it is killed
    assert median(tmp_path) == 20 and len((tmp_path / PERF).read_text().splitlines()) == 5
    first._end()
    attempt(tmp_path, 4, [2, 40, 50]).close()
    assert [row.step for row in perf.read(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]
    assert median(tmp_path) == 30, "of 10, 20, 30, 40, 50"
    attempt(tmp_path, 7, [3, 400, 500], {**SETUP, "device": "Another CPU"}).close()
    assert median(tmp_path) == 450 and len(perf.read(tmp_path)) == 10


@pytest.mark.parametrize("name", [PERF, PERF_SUMMARY])
def test_damage_costs_a_note_and_what_was_measured(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each bit of the summary, some of the rows."""
    attempt(tmp_path, 0, [1, 10, 20]).close()
    content = (tmp_path / name).read_bytes()
    for place in range(0, len(content), 1 if name == PERF_SUMMARY else 7):
        (tmp_path / name).write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        console.forget()
        same = json.loads(content) if name == PERF_SUMMARY else None
        found = perf.read(tmp_path)
        said = capsys.readouterr().err
        assert (found == [] and "damaged" in said) or perf._noted(tmp_path).keys() == same.keys() - {"sha256"}
    (tmp_path / name).write_bytes(content[:-30])
    attempt(tmp_path, 3, [5, 6, 7]).close()
    assert [row.step for row in perf.read(tmp_path)] == [4, 5, 6] and median(tmp_path) == 6.5


def test_a_disk_that_takes_no_more_ends_the_measurements_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file = attempt(tmp_path, 0, [1, 2])
    monkeypatch.setattr(perf, "remember", full)
    file.flush()
    file.write(Row(3, {"perf/tokens_per_second": 3}))
    file.close()
    assert "No space left on device; the speed is measured no more" in capsys.readouterr().err


def test_runs_of_older_code_have_no_speed(tmp_path: Path) -> None:
    assert Speed.of(tmp_path) is None and perf.read(tmp_path) == [] and speeds_in(tmp_path) == []


# ---------------------------------------------------------------- measuring
def trained(folder: Path, stop: int | None = None) -> tuple[bytes, list[Row]]:
    """A run of twelve steps from its newest checkpoint, which is interrupted after some; its metrics and speeds."""
    config, folder = make(), folder
    newest = checkpoint.newest(folder / "checkpoints")
    start = checkpoint.step_of(newest) if newest else 0
    rows, speed = MetricsFile(folder / "metrics.jsonl", start), PerfFile(folder)
    speed.resume(start)
    module = PretrainingModule(config, 60, 1)
    data = PretrainingData(config, Store(), Store(), VOCABULARY, fields=module.objective.fields)  # type: ignore[arg-type]

    class Stopping(StepEnd):
        def _save(self, trainer: Any, module: Any, step: int) -> None:
            speed.flush()
            super()._save(trainer, module, step)
            trainer.should_stop = step == stop

    end = Stopping(config, data, rows, folder / "checkpoints", speed=speed)  # type: ignore[arg-type]
    build_pretraining_trainer(config, data, end, folder).fit(module, datamodule=data, ckpt_path=newest)
    rows.close()
    speed.close()
    return (folder / "metrics.jsonl").read_bytes(), perf.read(folder)


def test_each_step_is_measured_once_and_metrics_have_no_times(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (cut := tmp_path / "cut").mkdir()
    metrics, speeds = trained(whole)
    trained(cut, stop=6)
    assert trained(cut)[0] == metrics and b"perf" not in metrics
    for found in (speeds, perf.read(cut)):
        assert [row.step for row in found] == [*range(1, 13)]
        assert all(row["perf/tokens_per_second"] > 0 and 0 <= row["perf/data_wait"] <= 1 for row in found)
        assert not any("perf/mfu" in row or "perf/peak_memory" in row for row in found), "of a CPU they are not known"
    noted = json.loads((whole / PERF_SUMMARY).read_text())
    assert (noted["micro_batch"], noted["accumulation"], noted["kind"], noted["steps"]) == (4, 2, "cpu", 11)


def test_the_clock_leaves_out_what_follows_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU of known peak: 1,000 tokens in 2 s, of which half a second is a wait; 100 s of validation before."""
    config, now = replace(make(), precision=replace(make().precision, dtype="bf16")), [0.0]
    data = PretrainingData(config, Store(), Store(), VOCABULARY)  # type: ignore[arg-type]
    monkeypatch.setattr(measuring, "device_of", lambda accelerator: "cuda")
    monkeypatch.setattr(measuring, "device_name", lambda accelerator: "NVIDIA H200")
    monkeypatch.setattr(measuring.torch.cuda, "max_memory_allocated", lambda: 5 * 2**30)
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])
    meter = measuring.Meter(config, data)
    meter.begin(0, 0.0)
    now[0] = 100.0
    meter.begin(5_000, 1.0)
    now[0] = 102.0
    found = meter.end(6_000, 1.5)
    assert found["perf/tokens_per_second"] == 500 and found["perf/data_wait"] == 0.25
    assert found["perf/peak_memory"] == 5 * 2**30 and found["perf/mfu"] == round(500 * meter.share_of_peak, 4)
    plan = data.micro_batches.plans.plan(0)
    flops = sum(forward_flops(config.model, 60, int(n), True, 0.15).training for n in plan.lengths)
    assert meter.share_of_peak == pytest.approx(flops / plan.lengths.sum() / 989e12, rel=1e-6), "input by input"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200 MIG 1g.18gb", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_only_a_gpu_whose_peak_is_known_has_a_kind(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


# ---------------------------------------------------------------- plans
def config(*overrides: str) -> Config:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", [*overrides]))


def speed_of(of: Config, rate: float, date: str, **others: object) -> Speed:
    setup = {**shape_of(of), "vocab_size": of.tokenizer.vocab_size, "micro_batch": 16, "side_by_side": 1, **SETUP}
    return Speed(Path(f"outputs/pretrain/{date}"), {**setup, **others}, {"tokens_per_second": rate}, 9, date)


def test_a_plan_takes_the_rate_of_a_run_like_it(tmp_path: Path) -> None:
    own = config()
    assumed = costs_of(own)
    older, newer = speed_of(own, 8_000, "2026-01-01"), speed_of(own, 10_000, "2026-01-02")
    found = costs_with(own, [newer, older])
    assert found.seconds == pytest.approx(found.tokens / 5_000), "of two threads, a core each"
    assert found.basis == (
        "measured: 5K tokens/s a core in pretrain/2026-01-02, 2026-01-02 (micro-batches of 16 on A CPU)"
    )
    for other in ({"precision": "bf16"}, {"activation_checkpointing": True}, {"kind": "h100"}, {"model": {}}):
        assert costs_with(own, [speed_of(own, 10_000, "2026-01-02", **other)]) == assumed
    many = speed_of(own, 1_000, "2025-01-01", side_by_side=2)
    two = costs_with(replace(own, trainer=replace(own.trainer, jobs=2)), [newer, many])
    assert two.seconds == pytest.approx(two.tokens / 500) and "2 runs side by side" in two.basis
    for stated, said in (("plan.tokens_per_second=7", "plan.tokens_per_second=7"), ("plan.mfu=0.5", "plan.mfu")):
        assert said in costs_with(config(stated), [newer]).basis


def test_a_run_of_the_same_model_on_other_inputs_tells_the_flops_per_second() -> None:
    """Twice the FLOPs a token are half the tokens a second; a run on such inputs counts first, however old."""
    own, short_inputs = config(), config("input_format=full_sentences", "input_format.max_length=16")
    fast, slow = costs_of(short_inputs), costs_of(own)
    for measured, other, costs, others in ((own, short_inputs, slow, fast), (short_inputs, own, fast, slow)):
        found = costs_with(other, [speed_of(measured, 10_000, "2026-01-02")])
        flops, per_token = costs.flops / costs.tokens, others.flops / others.tokens
        assert flops != per_token
        assert found.seconds == pytest.approx(found.tokens / (5_000 * flops / per_token)), "of two threads, a core each"
        assert found.basis == (
            f"reckoned from what was measured: {5_000 * flops / 1e9:.3g} GFLOP/s a core in pretrain/2026-01-02, 2026-01-02 "
            f"({measured.input_format.name} of {measured.input_format.max_length} tokens, micro-batches of 16 on A CPU)"
        )
        nearer = speed_of(other, 7_000, "2020-01-01")
        assert "measured: 3.5K tokens/s" in costs_with(other, [speed_of(measured, 10_000, "2026-01-02"), nearer]).basis
    for name in ("format", "vocab_size", "objective"):
        other_value = {"format": "x", "vocab_size": 9, "objective": "x"}[name]
        basis = costs_with(own, [speed_of(own, 10_000, "2026-01-02", **{name: other_value})]).basis
        assert basis.startswith("reckoned from what was measured: ")


def test_what_a_run_notes_is_what_a_plan_looks_for(tmp_path: Path) -> None:
    """A file written by a run with the setup that training notes is found for the same config, and for no other model."""
    own = make()
    data = PretrainingData(own, Store(), Store(), VOCABULARY)  # type: ignore[arg-type]
    (run := tmp_path / "pretrain" / "a").mkdir(parents=True)
    attempt(run, 0, [1, *[60.0] * 9], measuring.setup_of(own, data)).close()
    own = replace(own, tokenizer=replace(config().tokenizer, vocab_size=60), plan=replace(own.plan, hardware="cpu"))
    [speed] = speeds_in(tmp_path)
    rate = perf.rate_of(own, [speed], 4)
    assert rate is not None and rate.per_second == 60 / int(str(speed.setup["threads"]))
    assert perf.rate_of(replace(own, model=replace(own.model, layers=2)), [speed], 4) is None
    assert np.isclose(speed.per_device, rate.per_second) and speed.facts() == {"tokens per second": "60"}


def test_wandb_gets_the_speed_of_a_step_at_the_step_of_its_losses() -> None:
    """Neither as a score, of which the best is kept, nor at steps that `logger.every` leaves out; again after a break."""
    logged: list[tuple[int, dict[str, float]]] = []
    run: Any = mock.Mock()
    run.log = lambda values, step: logged.append((step, values))
    shown = Mirror(run, Path(), Keys("pretrain/"), every=2)
    losses = [Row(step, {"tokens_seen": 10 * step, "train/grad_norm": 1.0}) for step in (1, 2)]
    speeds = [Row(step, {"perf/mfu": 0.3}) for step in (1, 2)]
    shown.log_again(with_speed(losses, speeds))
    shown.finish()
    assert [step for step, _ in logged] == [2, 2] and "pretrain/train/grad_norm" in logged[0][1]
    assert len(logged) == 2 and "pretrain/perf/mfu" in logged[1][1] and not run.define_metric.called
