"""What is chosen on a GPU: code compiled once for one shape, kernels that repeat their bits. Tried on a CPU as far as that goes."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import joined_attention
import pytest
import torch
from small_pretraining import VOCABULARY, Store, make, train
from torch._dynamo.utils import counters

from roberta_lab.config import Config, InputFormatConfig, ModelConfig, TrainerConfig
from roberta_lab.data.datamodule import PretrainingData
from roberta_lab.model.objective import Objective, own_counts
from roberta_lab.training import gpu_code
from roberta_lab.training.module import PretrainingModule


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_code, "on_cuda", lambda accelerator: accelerator != "cpu")
    monkeypatch.setattr(gpu_code, "has_compiler", lambda: True)


def asked(steps: int = 12, **trainer: Any) -> Config:
    config = replace(make(), trainer=TrainerConfig("auto", micro_batch_size=4, **trainer))
    config.batch_size.steps = steps
    return config


def test_auto_compiles_long_runs_on_a_gpu(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    enough = gpu_code.REPAID_AFTER // 2  # two micro-batches a step
    assert gpu_code.is_compiled(asked(enough)) and not gpu_code.is_compiled(asked(enough - 1))
    assert gpu_code.is_compiled(asked(compile=True)) and not gpu_code.is_compiled(asked(enough, compile=False))
    monkeypatch.setattr(gpu_code, "has_compiler", lambda: False)
    assert not gpu_code.is_compiled(asked(enough)) and gpu_code.is_compiled(asked(compile=True))
    monkeypatch.setattr(gpu_code, "has_compiler", lambda: True)
    on_cpu = asked(enough)
    on_cpu.trainer.accelerator = "cpu"
    assert not gpu_code.is_compiled(on_cpu)
    on_cpu.trainer.compile = True
    assert gpu_code.is_compiled(on_cpu) and not gpu_code.has_fixed_shapes(on_cpu, Objective((), True))


def test_only_objectives_that_leave_dummies_out_get_them(gpu: None) -> None:
    config = asked(compile=True)
    assert gpu_code.has_fixed_shapes(config, Objective((), leaves_dummies_out=True))
    assert not gpu_code.has_fixed_shapes(config, Objective(()))
    assert not gpu_code.has_fixed_shapes(asked(compile=False), Objective((), leaves_dummies_out=True))


def test_small_micro_batches_are_launched_as_a_graph() -> None:
    def of(model: ModelConfig, length: int, number: int) -> bool:
        config = replace(make(number), model=model, input_format=InputFormatConfig("full_sentences", length))
        config.batch_size.sequences = number
        return gpu_code.is_launched_as_graph(config, 50_265)

    assert of(ModelConfig(4, 256, 4, 1024), 256, 64), "mini"
    assert not of(ModelConfig(12, 768, 12, 3072), 512, 64), "base"


@pytest.mark.parametrize("choice", ["auto", True, False])
def test_kernels_repeat_their_bits_within_a_run_alone(
    gpu: None, choice: str | bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # which the end of the test takes back
        monkeypatch.delenv(name)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    config = asked(deterministic=choice)
    wanted = choice is not False
    assert gpu_code.is_deterministic(config.trainer) is wanted
    with gpu_code.kernels(config):
        assert torch.are_deterministic_algorithms_enabled() is wanted
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if wanted else None)
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(Path(config.paths.cache).absolute() / "compiled")
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_nothing_is_chosen_on_a_cpu() -> None:
    config = make()
    assert gpu_code.is_deterministic(config.trainer) is None
    with gpu_code.kernels(config):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", ["segment_pair", "doc_sentences"])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # asked by the compiler
def test_the_encoder_is_compiled_once_whatever_the_lengths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 200 micro-batches, all of other lengths; and it computes the same."""
    joined_attention.use(monkeypatch)
    config = make(4, dropout=0.0, input_format=name, masking="dynamic")
    config.batch_size.steps = 100
    module = PretrainingModule(config, 60, 1)
    data = PretrainingData(config, Store(), Store(), VOCABULARY, has_fixed_shapes=True)
    torch._dynamo.reset()
    counters.clear()
    lengths = set()
    for number in range(200):
        batch = data.micro_batches[number]
        lengths.add(tuple(batch["cu_seq_lens"].tolist()))
        module.model.encoder.compiled = None
        with torch.no_grad():
            plain = module.objective.sums(module.model, batch)
        if number == 0:
            module.model.encoder.compile_for_one_shape(backend="aot_eager", fullgraph=True)
            compiled = module.model.encoder.compiled
        module.model.encoder.compiled = compiled
        sums = module.objective.sums(module.model, batch)
        module.objective.loss(sums, own_counts(batch)).backward()
        for key, value in sums.items():
            assert float(value.detach()) == pytest.approx(float(plain[key]), rel=1e-4)
    assert len(lengths) > 40
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # asked by the compiler
def test_a_run_of_one_shape_that_is_interrupted_equals_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bitwise, with dropout; and near the run without fixed shapes, where nothing is dropped."""
    joined_attention.use(monkeypatch)
    rows, weights = train(make(), tmp_path / "whole", has_fixed_shapes=True)
    for stop in (2, 7):
        train(make(), tmp_path / "cut", stop_after=stop, has_fixed_shapes=True)
    again, own = train(make(), tmp_path / "cut", has_fixed_shapes=True)
    assert again == rows and all(torch.equal(weights[name], value) for name, value in own.items())
    still = make(dropout=0.0)
    fixed, plain = (train(still, tmp_path / str(has), has_fixed_shapes=has)[0] for has in (True, False))
    for one, other in zip(fixed, plain, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_gradients_of_a_graph_stay_in_memory_of_their_own() -> None:
    module = PretrainingModule(make(), 60, 1)
    module.is_graph = True
    module.forget_gradients()
    before = {name: p.grad.data_ptr() for name, p in module.named_parameters() if p.grad is not None}
    assert len(before) == sum(p.requires_grad for p in module.parameters())
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad += 1
    module.forget_gradients()
    assert {name: p.grad.data_ptr() for name, p in module.named_parameters() if p.grad is not None} == before
    assert not any(p.grad.any() for p in module.parameters() if p.grad is not None)
