"""Which GPU each of several runs side by side has: simulated devices, and processes that say what they see. No GPU is needed."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_jobs
import pytest
from hydra import compose, initialize_config_dir

from roberta_lab.config import Config
from roberta_lab.runs import leases, process_launcher
from roberta_lab.runs.compose import build
from roberta_lab.runs.leases import Device, Leases, Need
from roberta_lab.runs.options import CONF
from roberta_lab.runs.process_launcher import ProcessLauncher
from roberta_lab.runs.registration import register

UUID, MIG = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/2"


def of(needs: Sequence[Need], *free: float, most: int = 2) -> Leases:
    return Leases([Device(str(i), bytes_) for i, bytes_ in enumerate(free)], most, lambda number: needs[number])


def taken(found: Leases, *numbers: int) -> list[str | None]:
    variables = [found.take(number) for number in numbers]
    return [None if one is None else one.get("CUDA_VISIBLE_DEVICES", "") for one in variables]


def test_jobs_go_to_the_least_loaded_device_in_turn_and_wait_where_all_are_full() -> None:
    found = of([Need(1, 1.0)] * 9, 10, 10, 10)
    assert taken(found, 0, 1, 2, 3, 4, 5, 6) == ["0", "1", "2", "0", "1", "2", None]
    found.free(4)
    assert taken(found, 6, 7) == ["1", None]
    found.free(0)
    found.free(3)
    assert taken(found, 7, 8) == ["0", "0"]


def test_a_device_with_fewer_jobs_or_less_in_its_memory_comes_first() -> None:
    found = of([Need(1, 3.0), Need(1, 1.0), Need(1, 1.0), Need(1, 1.0), Need(1, 1.0)], 10, 10, most=3)
    assert taken(found, 0, 1, 2) == ["0", "1", "1"], "of one job each: 3 and 1"
    found.free(0)
    assert taken(found, 3, 4) == ["0", "0"], "of none and two, then of one and two"


def test_jobs_are_limited_to_what_fits_the_memory() -> None:
    found = of([Need(1, 4.0)] * 5 + [Need(1, 99.0), Need(1, 1.0)], 10, 5, most=8)
    assert taken(found, 0, 1, 2, 3) == ["0", "1", "0", None], "two of 4 in 92% of 10, one in 92% of 5"
    assert taken(found, 6) == ["0"], "one of 1 fits beside them"
    found.free(6)
    for number in (0, 1, 2):
        found.free(number)
    assert taken(found, 5) == ["1"] and taken(found, 6) == ["0"], "what fits nowhere has a device by itself"


def test_a_run_of_several_devices_has_them_alone_and_one_on_the_cpu_needs_none() -> None:
    found = of([Need(1, 1.0), Need(2, 1.0, alone=True), Need(0), Need(1, 1.0), Need(8, 1.0, alone=True)], 10, 10, 10)
    assert taken(found, 0, 1, 2, 3) == ["0", "1,2", "", "0"]
    found.free(0)
    assert taken(found, 4) == [None], "it waits for all there are"
    found.free(3)
    found.free(1)
    assert taken(found, 4, 0) == ["0,1,2", None]


def test_runs_on_the_cpu_count_against_the_jobs_of_the_machine() -> None:
    found = of([Need(0), Need(0), Need(0), Need(1, 1.0)], 10, 10)
    assert taken(found, 0, 1, 2, 3) == ["", "", None, "0"]
    found.free(0)
    assert taken(found, 2) == [""]


@pytest.mark.parametrize(
    ("words", "kind", "devices", "at_once"),
    [
        ([], "pretrain", 0, 3),
        ([], "pretrain", 4, 12),
        (["trainer.accelerator=cpu"], "pretrain", 4, 3),
        (["trainer.devices=2"], "pretrain", 4, 2),
        (["trainer.devices=2"], "finetune", 4, 12),
    ],
)
def test_how_many_runs_go_side_by_side_on_so_many_devices(
    words: list[str], kind: str, devices: int, at_once: int
) -> None:
    assert leases.side_by_side(config("trainer.jobs=3", *words), kind, devices) == at_once


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["0", "1"]),
        ("1", ["1"]),
        (f"{UUID},{MIG}", [UUID, MIG]),
        ("0, wrong, 1", ["0"]),
        ("-1", []),
        ("", []),
    ],
)
def test_devices_are_those_that_cuda_shows(
    visible: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that looks is real; in place of torch it answers by the variable that it is given."""
    code = (
        "import json, os; v = os.environ.get('CUDA_VISIBLE_DEVICES'); "
        "print(json.dumps([5, 6] if v is None else [] if v in ('', '-1', 'wrong') else [7]))"
    )
    monkeypatch.setattr(leases, "_LOOK", code)
    monkeypatch.setattr(leases, "DRIVERS", (str(tmp_path),))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = leases.devices()
    assert [device.name for device in found] == names
    assert [device.free for device in found] == ([5, 6] if visible is None else [7] * len(names))


def test_a_look_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(leases, "_LOOK", "import time; time.sleep(9)")
    monkeypatch.setattr(leases, "SECONDS", 0.2)
    begin = time.monotonic()
    assert leases._free(["0"]) == [[]] and time.monotonic() - begin < 5


def test_without_a_driver_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "DRIVERS", ("/dev/there/is/none",))
    monkeypatch.setattr(leases, "_free", lambda names: pytest.fail("asked"))
    assert leases.devices() == []


def config(*overrides: str) -> Config:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", [*overrides]))


def test_what_a_run_needs() -> None:
    own = config("scale=paper", "trainer.micro_batch_size=16")
    small, large = (
        leases.need_of(replace(own, trainer=replace(own.trainer, micro_batch_size=size)), "pretrain")
        for size in (16, 64)
    )
    assert small.devices == 1 and not small.alone and 2e9 < small.memory < large.memory < 80e9
    for trainer, kind, devices, alone in (
        ({"accelerator": "cpu"}, "pretrain", 0, False),
        ({"devices": 4}, "pretrain", 4, True),
        ({"devices": 4}, "finetune", 1, False),
        ({"micro_batch_size": "auto"}, "pretrain", 1, True),
    ):
        need = leases.need_of(replace(own, trainer=replace(own.trainer, **trainer)), kind)  # type: ignore[arg-type]
        assert (need.devices, need.alone) == (devices, alone)


# ---------------------------------------------------------------- through the launcher
@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Launch jobs that say what they see, on two simulated devices; each needs half of one, `large` all of it."""
    monkeypatch.setattr(process_launcher, "_run", gpu_jobs.job)
    monkeypatch.setattr(leases, "devices", lambda: [Device(UUID, 10.0), Device(MIG, 10.0)])

    def needs(self: object, job_overrides: Sequence[Sequence[str]]) -> Any:
        return lambda number: Need(1, 9.0 if "large" in job_overrides[number] else 4.0)

    monkeypatch.setattr(ProcessLauncher, "_needs", needs)

    def launched(jobs: list[list[str]], most: int) -> list[Any]:
        launcher = ProcessLauncher(most)
        launcher.context, launcher.config, launcher.task = None, str(tmp_path), None  # type: ignore[assignment]
        return [one._return_value for one in launcher.launch(jobs, 0)]

    yield launched
    process_launcher.close()


def most_at_once(found: list[Any], device: str) -> int:
    spans = [(begin, end) for seen, _, begin, end in found if seen == device]
    return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)


def test_each_process_sees_one_device_and_so_many_run_there(launch: Any) -> None:
    found = launch([["small"]] * 8, 2)
    assert Counter(seen for seen, *_ in found).keys() == {UUID, MIG}
    assert most_at_once(found, UUID) <= 2 and most_at_once(found, MIG) <= 2
    by_process = {(process, seen) for seen, process, *_ in found}
    assert len(by_process) == len({process for process, _ in by_process}) <= 4, "a process keeps its device"
    assert os.environ.get("CUDA_VISIBLE_DEVICES") not in (UUID, MIG)
    large = launch([["large"]] * 4, 2)
    assert most_at_once(large, UUID) == most_at_once(large, MIG) == 1


def test_jobs_on_the_cpu_beside_gpus_are_as_many_as_were_asked_for(
    launch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ProcessLauncher, "_needs", lambda self, words: lambda number: Need(0))
    found = launch([["small"]] * 8, 2)
    assert most_at_once(found, found[0][0]) <= 2 and "on GPU" not in capsys.readouterr().err


def test_a_job_without_memory_is_retried_alone(launch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = launch([["small"], ["full"], ["killed"], ["small"]], 2)
    assert all(isinstance(one, tuple) and one[0] in (UUID, MIG) for one in found), found
    said = capsys.readouterr().err
    assert "job 1 (full): OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB.; once more, alone" in said
    assert "job 2 (killed): its process was killed by signal 9" in said
    again, others = (found[1], found[2]), (found[0], found[3])
    assert all(one[2] >= max(other[3] for other in others) for one in again)
    assert again[0][3] <= again[1][2] or again[1][3] <= again[0][2], "one after the other"
