"""Rank 0 of two that srun has started, in this process: what it tells ranks that are late, of another job, or gone."""

import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from test_started_ranks import by_srun, free_port

from roberta_lab.config import TrainerConfig, starters
from roberta_lab.config.starters import Place
from roberta_lab.training import ranks, signs, started_ranks


@pytest.fixture
def own_place(monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in by_srun(0, 2, 1, free_port()).items():
        monkeypatch.setenv(name, value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, os.environ.get(name, "localhost"))
    found = starters.place()
    assert found is not None
    return found


@pytest.mark.parametrize("code", [0, 2, 1])
def test_rank_0_tells_its_code_to_one_that_starts_late(
    own_place: Place, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1: the command crashes. Rank 0 has heard that all have left, and waits no longer."""
    for name in ("GRACE_SECONDS", "END_SECONDS"):
        monkeypatch.setattr(started_ranks, name, 0.1 if code else 9.0)
    told: list[bytes] = []

    def late() -> None:
        time.sleep(0.4)
        store = signs.connect(own_place, 2)
        store.set(signs.of_rank(1), "")
        told.append(store.get(signs.END))
        store.add("left", 1)

    def command() -> int:
        if code == 1:
            raise ZeroDivisionError
        return code

    other, begin = threading.Thread(target=late), time.monotonic()
    other.start()
    with pytest.raises(ZeroDivisionError) if code == 1 else nullcontext():
        assert started_ranks.lead(own_place, command) == code
    other.join()
    assert told == [str(code).encode()] and time.monotonic() - begin < 8


def test_processes_of_another_job_find_nothing_in_a_store(own_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two jobs on one machine that have the same MASTER_PORT, and of two starts by torchrun."""
    held = dist.TCPStore(own_place.host, own_place.port, is_master=True, wait_for_workers=False)
    by_torchrun = own_place._replace(tool="torchrun")
    for name, place in (
        ("SLURM_JOB_ID", own_place),
        ("SLURM_STEP_ID", own_place),
        ("TORCHELASTIC_RUN_ID", by_torchrun),
        ("TORCHELASTIC_RESTART_COUNT", by_torchrun),
    ):
        signs.connect(place).set(name, "")
        assert signs.has(signs.connect(place), name)
        monkeypatch.setenv(name, "8")
        assert not signs.has(signs.connect(place), name)
    del held


def test_what_rank_0_says_of_ranks_that_did_not_come_and_of_a_command_that_gave_up(
    own_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started_ranks, "SIGN_SECONDS", 0.0)
    held = dist.TCPStore(own_place.host, own_place.port, is_master=True, wait_for_workers=False)
    own = signs.Signs(own_place, signs.of_rank(0))
    others = started_ranks.StartedRanks(own_place, TrainerConfig("cpu", devices=2), tmp_path, (print, ()))
    try:
        assert others.look() is None and not others.have_come()
        monkeypatch.setattr(started_ranks, "COME_SECONDS", 0.0)
        assert others.look() == "rank 1 of 2 did not start within 0 seconds"
        sign = signs.Sign(1, others.run - 1, 50, False, 0.0, "other")
        others.store.set(signs.of_rank(1), sign.to_json())
        judged: list[Any] = []
        assert others.look() is None, "from here on they are heard"
        others.judge = SimpleNamespace(look=lambda counts, states, seconds: judged.append(counts))  # type: ignore[assignment]
        others.look()
        others.store.set(signs.of_rank(1), sign._replace(number=2, run=others.run, alone=True).to_json())
        others.look()
        assert judged == [[(0, False), (0, False)], [(0, False), (50, True)]], (
            "what it did in another run is none of this"
        )
        others.give_up()
        assert others.look() == "a rank was lost before"
    finally:
        others.end(0.0)
        own.end()
    assert [*tmp_path.iterdir()] == [] and others.store.check([f"{others.run}/over"])
    del held


def test_threads_of_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share of a machine; all of what srun gives to each."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 12)
    trainer = TrainerConfig(devices=4, nodes=2)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert ranks.threads_of(trainer) == 3, "started by the command itself"
    for name, value in by_srun(1, 8, 2).items():
        monkeypatch.setenv(name, value)
    for given, number in (("6", 6), ("64", 12), ("", 3)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
        assert ranks.threads_of(trainer) == number
