"""Leases: which GPU each of several runs side by side has. A process of a run sees its own devices only (CUDA_VISIBLE_DEVICES).

Each visible device takes `trainer.jobs` runs, as far as their memory by the cost model (model/costs.py) fits what was free when
the sweep began. A run of several devices, and one that tries how large its micro-batches can be, has its devices alone. Of runs
on the CPU `trainer.jobs` go side by side here too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roberta_lab.config import Config
from roberta_lab.model.costs import memory_on_gpu

VISIBLE = "CUDA_VISIBLE_DEVICES"
MEMORY_SHARE = 0.92  # of the free memory; the rest is for validation and fragmentation
CONTEXT = 0.7e9  # bytes that a process takes beside its tensors: CUDA's context, cuBLAS
DRIVERS = ("/dev/nvidiactl", "/dev/dxg")  # of Linux, and of Linux within Windows
ACCELERATORS = ("auto", "gpu", "cuda")
SECONDS = 120.0  # for a process that looks at a device
_LOOK = (
    "import json, torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0; "
    "print(json.dumps([torch.cuda.mem_get_info(i)[0] for i in range(n)]))"
)


@dataclass
class Device:
    """A device as CUDA_VISIBLE_DEVICES names it: a number, `GPU-...` or `MIG-...`; and the bytes that are free there."""

    name: str
    free: float
    jobs: dict[int, float] = field(default_factory=dict)  # those that run there, by number: the bytes they need
    is_alone: bool = False  # one job has all of it


@dataclass(frozen=True)
class Need:
    """What a job needs of the GPUs."""

    devices: int  # 0: it runs on the CPU
    memory: float = 0.0  # bytes on each
    alone: bool = False


def need_of(config: Config, kind: str) -> Need:
    """Return what a run needs."""
    trainer = config.trainer
    if trainer.accelerator not in ACCELERATORS:
        return Need(0)
    tune, task = config.finetune, config.task
    tokens = tune.batch * task.max_length if kind == "finetune" else 0
    number = trainer.devices if kind == "pretrain" else 1
    alone = number > 1 or (kind == "pretrain" and trainer.micro_batch_size == "auto")
    return Need(number, memory_on_gpu(config, tokens) + CONTEXT, alone)


def side_by_side(config: Config, kind: str, num_devices: int) -> int:
    """Return how many runs like this one go at once on so many devices, 0 without any, as far as memory allows."""
    need = need_of(config, kind)
    if not num_devices or not need.devices:
        return config.trainer.jobs
    return max(1, num_devices // need.devices) * (1 if need.alone else config.trainer.jobs)


def at_once(config: Config, kind: str) -> int:
    """Return how many runs like this one go side by side here; where jobs of SLURM make them, this machine's GPUs do not count."""
    return side_by_side(config, kind, len(devices()) if config.reproduce.launch == "here" else 0)


def devices() -> list[Device]:
    """Return the GPUs that this process may use, in their order; none on a machine without.

    Processes of their own look, one for each name: here CUDA would stay, with memory on each device, and a process sees only
    one part of a GPU (MIG). As CUDA does, what follows a name that is not there is left out.
    """
    if not any(Path(driver).exists() for driver in DRIVERS):
        return []
    given = os.environ.get(VISIBLE)
    if given is None:
        return [Device(str(i), free) for i, free in enumerate(_free([None])[0])]
    names = [name.strip() for name in given.split(",")]
    found: list[Device] = []
    for name, free in zip(names, _free(names), strict=True):
        if name in ("", "-1") or not free:
            break
        found.append(Device(name, free[0]))
    return found


def _free(names: Sequence[str | None]) -> list[list[float]]:
    """Return for each name the free bytes of the devices that a process sees with it alone."""
    environments = [{**os.environ, **({} if name is None else {VISIBLE: name})} for name in names]
    looks = [
        subprocess.Popen([sys.executable, "-c", _LOOK], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for env in environments
    ]
    found = []
    for look in looks:
        try:
            found.append(json.loads(look.communicate(timeout=SECONDS)[0]))
        except (subprocess.TimeoutExpired, ValueError):
            look.kill()
            look.communicate()
            found.append([])
    return found


class Leases:
    """The devices of a sweep and who has them: the `Places` of a pool."""

    def __init__(self, found: Sequence[Device], most: int, need: Callable[[int], Need]) -> None:
        """Let at most so many jobs on each device, and on the CPU; `need` says what a job needs, by its number."""
        self.devices, self.most, self.need = list(found), most, need
        self.on_cpu: set[int] = set()  # the jobs that need no device
        self.turn = 0  # of the devices, where they are loaded alike

    def take(self, number: int) -> Mapping[str, str] | None:
        """Return the variables of a job that may begin now, with the devices that it has from here on; None while it must wait."""
        need = self.need(number)
        if not need.devices:
            if len(self.on_cpu) >= self.most:
                return None
            self.on_cpu.add(number)
            return {}
        wanted = min(need.devices, len(self.devices))
        able = [device for device in self._in_turn() if self._has_room(device, need)]
        if len(able) < wanted:
            return None
        able.sort(key=lambda device: (len(device.jobs), sum(device.jobs.values())))
        chosen = sorted(able[:wanted], key=self.devices.index)
        for device in chosen:
            device.jobs[number] = need.memory
            device.is_alone = need.alone
        self.turn = self.devices.index(chosen[-1]) + 1
        return {VISIBLE: ",".join(device.name for device in chosen)}

    def free(self, number: int) -> None:
        """Take back what a job had."""
        self.on_cpu.discard(number)
        for device in self.devices:
            if device.jobs.pop(number, None) is not None:
                device.is_alone = False

    def _in_turn(self) -> list[Device]:
        first = self.turn % len(self.devices)
        return [*self.devices[first:], *self.devices[:first]]

    def _has_room(self, device: Device, need: Need) -> bool:
        """Return whether a job may run on a device now. One that would fit nowhere may run where nothing else does."""
        if not device.jobs:
            return True
        if device.is_alone or need.alone or len(device.jobs) >= self.most:
            return False
        return sum(device.jobs.values()) + need.memory <= MEMORY_SHARE * device.free
