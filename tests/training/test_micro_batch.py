"""`trainer.micro_batch_size=auto`: what is tried, what is remembered, and how large a trial is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_pretraining import Store, make

from roberta_lab.axes.examples import Vocabulary
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.config import Config, ConfigError
from roberta_lab.data.datamodule import PretrainingData, to_device
from roberta_lab.model.lamb import Lamb
from roberta_lab.training import micro_batch
from roberta_lab.training.micro_batch import Trials, find_largest
from roberta_lab.training.module import PretrainingModule


@pytest.mark.parametrize(
    ("share", "limit", "size"), [(256, 100, 64), (96, 50, 48), (96, 1000, 96), (17, 16, 1), (24, 1, 1), (1, 5, 1)]
)
def test_the_largest_micro_batch_that_fits_and_divides_is_tried_once(share: int, limit: int, size: int) -> None:
    tried: list[int] = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= limit

    assert find_largest(share, fits, Trials())[0] == size
    first, known = list(tried), find_largest(share, fits, Trials())[1]
    tried.clear()
    assert find_largest(share, fits, known) == (size, known) and not tried and len(first) == len(set(first))
    with pytest.raises(ConfigError, match="micro_batch_size=auto"):
        find_largest(share, lambda number: False, Trials())


def test_what_fits_is_remembered_for_the_model_the_precision_and_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    monkeypatch.setattr(micro_batch, "on_cuda", lambda accelerator: True)
    monkeypatch.setattr(micro_batch, "device_facts", lambda: {"name": "a GPU"})
    monkeypatch.setattr(micro_batch, "fits", lambda *a: tried.append(a[-1]) or a[-1] <= 3)
    monkeypatch.setattr(micro_batch, "gpu_is_free", lambda: bool(alone))
    alone = []

    def resolved(config: Config) -> int:
        tried.clear()
        config.paths.cache = str(tmp_path)
        config.trainer.micro_batch_size = "auto"
        found = micro_batch.resolve_auto(config, 60, lambda: pytest.fail("no trial builds a model here"))
        assert config.trainer.micro_batch_size == "auto", "the caller's config is as before"
        return found.trainer.micro_batch_size

    assert resolved(make()) == 2 and tried and not (tmp_path / "micro_batch").exists(), "beside others nothing is kept"
    alone.append(True)
    assert resolved(make()) == 2 and tried
    assert resolved(make()) == 2 and not tried
    assert resolved(replace(make(), seed=2)) == 2 and not tried
    assert resolved(make(precision="bf16")) == 2 and tried
    assert resolved(make(optimizer="lamb")) == 2 and tried, "optimizers take memory of their own"
    config = make()
    config.objective.name = "one with a second encoder"
    assert resolved(config) == 2 and tried, "its heads take memory"
    config = make()
    config.batch_size.sequences = 3
    assert resolved(config) == 3 and tried == [3], "another batch needs what is between"
    [broken, *_] = (tmp_path / "micro_batch").glob("*.json")
    for file in (tmp_path / "micro_batch").glob("*.json"):
        file.write_text("{")
    assert broken.is_file() and resolved(make()) == 2 and tried


@pytest.mark.parametrize("name", FORMATS)
def test_a_trial_is_as_large_as_micro_batches_get(name: str) -> None:
    """And is what the model and the loss take."""
    config = make(2, input_format=name, masking="dynamic")
    trial = micro_batch.trial_batch(config, 60, 2)
    batches = PretrainingData(config, Store(), Store(), Vocabulary(60, 59, (0, 1, 2, 3, 59))).micro_batches
    assert len(trial["input_ids"]) >= max(len(batches[i]["input_ids"]) for i in range(len(batches)))
    module = PretrainingModule(config, 60, 1)
    micro_batch.take_two_steps(module.objective, config, module.model, trial, torch.device("cpu"))


def test_a_trial_takes_the_steps_of_the_runs_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Lamb] = []
    monkeypatch.setattr(Lamb, "step", lambda optimizer: steps.append(optimizer))
    config = make(optimizer="lamb")
    module, trial = PretrainingModule(config, 60, 1), micro_batch.trial_batch(config, 60, 2)
    micro_batch.take_two_steps(module.objective, config, module.model, trial, torch.device("cpu"))
    assert len(steps) == 2


def test_auto_on_a_cpu_is_what_no_setting_is() -> None:
    config = make()
    config.trainer.micro_batch_size = "auto"
    assert micro_batch.resolve_auto(config, 60, lambda: pytest.fail("nothing is tried")).trainer.micro_batch_size == 8


def test_all_of_a_batch_moves_to_the_device() -> None:
    """The fields of an objective too: a trial on a GPU would fail without."""
    batch = micro_batch.trial_batch(make(), 60, 2)
    batch["fields"] = {"added": torch.ones(3)}
    there = to_device(batch, torch.device("meta"))
    tensors = [v for v in (*there.values(), *there["fields"].values()) if isinstance(v, torch.Tensor)]
    assert len(tensors) > 5 and {str(tensor.device) for tensor in tensors} == {"meta"}
