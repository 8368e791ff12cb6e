"""Which GPU a rank has, and how many a machine must have."""

from typing import Any

import pytest
import torch
import torch.distributed as dist

from roberta_lab.axes.batch_size import Rank
from roberta_lab.config import ConfigError, TrainerConfig
from roberta_lab.training import devices, others

STARTED = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "GROUP_WORLD_SIZE": "1"}


def of(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let this machine have so many GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


def test_more_devices_than_the_machine_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    of(monkeypatch, 2)
    devices.check(TrainerConfig(devices=2))
    devices.check(TrainerConfig("cpu", devices=8))
    with pytest.raises(ConfigError, match="devices=3: this machine has 2; allowed is up to that"):
        devices.check(TrainerConfig(devices=3))
    of(monkeypatch, 1)
    with pytest.raises(ConfigError, match="this machine has 1"):
        devices.check(TrainerConfig(devices=2))
    for name, value in {**STARTED, "MASTER_ADDR": "a", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(ConfigError, match="this machine has 1"):  # torchrun gives none to anybody
        devices.check(TrainerConfig(devices=2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7")
    devices.check(TrainerConfig(devices=2))  # srun has given one to each process
    of(monkeypatch, 2)
    with pytest.raises(ConfigError, match="this machine has 2"):
        devices.check(TrainerConfig(devices=3))


@pytest.mark.parametrize(("number", "device"), [(4, "cuda:1"), (1, "cuda:0")])
def test_a_rank_has_the_gpu_of_its_number_on_its_machine(
    number: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the only one that it sees."""
    of(monkeypatch, number)
    found: list[Any] = []
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, **words: found.append((backend, words["rank"], words["device_id"]))
    )
    others.join_group(dist.HashStore(), Rank(5, 8), 1, cuda=True)
    assert found == [torch.device(device), ("nccl", 5, torch.device(device))]


@pytest.mark.parametrize(("visible", "expected"), [(1, 1), (8, 4)])
def test_a_rank_that_has_a_gpu_of_its_own_sees_one_device(
    visible: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `srun --gpus-per-task=1`; else all those of its machine."""
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: visible)
    assert devices.of_this_machine(TrainerConfig(devices=4, nodes=2), 8) == expected
    assert devices.of_this_machine(TrainerConfig("cpu", devices=4, nodes=2), 8) == 4
