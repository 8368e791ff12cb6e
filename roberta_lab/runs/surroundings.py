"""What other tools start around a command: torchrun and srun may start it several times, where once is enough."""

import os
from collections.abc import Sequence

from roberta_lab.config import ConfigError
from roberta_lab.runs.command_line import typed
from roberta_lab.runs.overrides import Override, without

# tool -> the variables in which it says how many processes it has started, and which of them this is
STARTERS = {"torchrun": ("WORLD_SIZE", "RANK"), "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID")}
SIGNS = {"torchrun": "TORCHELASTIC_RUN_ID", "srun": "SLURM_STEP_ID"}


def check_alone(command: str, overrides: Sequence[Override]) -> None:
    """Raise ConfigError when torchrun or srun has started several processes of a command, with what to type in its place.

    A command starts the processes of its devices itself; copies of it would claim the same folders.
    """
    for tool, (total, own) in STARTERS.items():
        number = os.environ.get(total, "1")
        if SIGNS[tool] not in os.environ or not number.isdigit() or int(number) < 2:
            continue
        rest = without(overrides, "trainer")
        alone = typed(command, [*rest, "trainer=ddp", f"trainer.devices={number}"])
        said = f"{tool} has started {number} processes of this command (this is {os.environ.get(own, '?')})"
        raise ConfigError(f"{said}, where one is enough, for it starts the others: {alone}")
