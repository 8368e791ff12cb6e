"""What srun and torchrun say to each of the processes that they start of one command: which of them it is, where the first is."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from roberta_lab.config.circumstance import TrainerConfig
from roberta_lab.config.errors import ConfigError

# tool -> the variables that it sets: a sign of it; all processes, this one's number, its number on this machine, all machines
_VARIABLES = {
    "torchrun": ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_WORLD_SIZE"),
    "srun": ("SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_NODES"),
}
_PORTS = range(15_000, 32_000)  # below those that systems give to whoever asks for any


class Place(NamedTuple):
    """One of several processes that a tool started."""

    tool: str
    world_size: int
    rank: int
    local_rank: int  # among those of this machine
    nodes: int
    host: str  # where rank 0 can be reached, and at which port
    port: int

    def check(self, trainer: TrainerConfig) -> None:
        """Raise ConfigError unless the processes are those that a run asks for."""
        nodes, devices = trainer.nodes, trainer.devices
        have = f"{self.tool} has started {self.world_size} processes on {self.nodes} machine(s)"
        if (self.nodes, self.world_size) != (nodes, nodes * devices):
            each, rest = divmod(self.world_size, self.nodes)
            allowed = f"trainer=ddp trainer.nodes={self.nodes} trainer.devices={each}"
            allowed = "as many on each machine" if rest else allowed
            raise ConfigError(f"{have}, but trainer.nodes={nodes} with trainer.devices={devices}. Allowed: {allowed}.")
        if self.local_rank != self.rank % devices:
            number = f"process {self.rank} is number {self.local_rank} of its machine"
            allowed = "processes numbered machine by machine (srun --distribution=block)"
            raise ConfigError(f"{have}, of which {number}. Allowed: {allowed}.")


def place(said: Mapping[str, str] = os.environ) -> Place | None:
    """Return which of several processes this one is; None where it is the only one. Raises ConfigError where that is not said."""
    for tool, (sign, *numbers) in _VARIABLES.items():
        if sign not in said or said.get(numbers[0], "1") in ("", "1"):
            continue
        try:
            world_size, rank, local_rank, nodes = (int(said[name]) for name in numbers)
            host, port = said.get("MASTER_ADDR") or _first_host(said), int(said.get("MASTER_PORT") or _port(said))
        except (KeyError, ValueError) as error:
            names = ", ".join((*numbers, *("SLURM_JOB_ID", "SLURM_STEP_NODELIST") * (tool == "srun")))
            said_it = f"{tool} has started several processes of this command, but its variables are not whole ({error})"
            raise ConfigError(f"{said_it}. Needed: {names}.") from None
        return Place(tool, world_size, rank, local_rank, nodes, host, port)
    return None


def check(trainer: TrainerConfig) -> None:
    """Raise ConfigError unless the processes that a run asks for are there, or can be started by the command itself."""
    own = place()
    if own is not None:
        own.check(trainer)
    elif trainer.nodes > 1:
        started = f"srun --nodes={trainer.nodes} --ntasks-per-node={trainer.devices} roberta-lab pretrain ..."
        said = f"trainer.nodes={trainer.nodes}: the processes of several machines are started by another program"
        raise ConfigError(f"{said}. Allowed: {started}, torchrun, or reproduce.launch=slurm; else trainer.nodes=1.")


def check_alone(command: str) -> None:
    """Raise ConfigError where several processes of a command were started that works on one device."""
    if (own := place()) is not None:
        started = f"{own.tool} has started {own.world_size} processes of {command}, which works on one device"
        raise ConfigError(f"{started} (this is {own.rank}). Allowed: one process.")


def cpus_given(said: Mapping[str, str] = os.environ) -> int | None:
    """Return the CPUs that SLURM gave this process: as one of its tasks, or to all tasks of a node that it stands for; else None."""
    each, tasks = said.get("SLURM_CPUS_PER_TASK", ""), re.match(r"\d+", said.get("SLURM_TASKS_PER_NODE", ""))
    if not each.isdigit():
        return None
    return int(each) * (int(tasks[0]) if tasks and "SLURM_STEP_ID" not in said else 1)


def _first_host(said: Mapping[str, str]) -> str:
    """Return the first of SLURM's list of nodes: `a` of `a,b`, `gpu007` of `gpu[007-009,012]`."""
    nodes = said["SLURM_STEP_NODELIST"]
    found = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\])?([^,]*)", nodes)
    if found is None:
        raise ValueError(f"SLURM_STEP_NODELIST={nodes}")
    before, number, after = found.groups()
    if "[" in after:  # of names with two numbers
        raise ValueError(f"SLURM_STEP_NODELIST={nodes}: MASTER_ADDR must name the first")
    return f"{before}{number or ''}{after}"


def _port(said: Mapping[str, str]) -> int:
    """Return a port that all processes of a step of a job find, and hardly those of another one."""
    step = int(said["SLURM_STEP_ID"]) % 1000
    return _PORTS[(int(said["SLURM_JOB_ID"]) * 31 + step) % len(_PORTS)]
