"""Learning-rate schedules: the factor on the peak rate at each optimizer step, after a linear warmup (RoBERTa, Section 2.4).

A schedule is one function and one line in `SCHEDULES`.
"""

import math
from collections.abc import Callable

from roberta_lab.config import ConfigError, ScheduleConfig, nearest


def linear(done: int, steps: int) -> float:
    """Return the factor that falls in a straight line to 0, as in BERT and RoBERTa (Section 2.4)."""
    return (steps - done) / steps


def cosine(done: int, steps: int) -> float:
    """Return the factor that falls to 0 in half a cosine (Loshchilov and Hutter 2017, equation 5, without restarts)."""
    return (1.0 + math.cos(math.pi * done / steps)) / 2


def constant(done: int, steps: int) -> float:
    """Return 1: after the warmup the rate stays at its peak."""
    return 1.0


# Arguments: how many steps after the warmup are taken, and how many there are in all.
SCHEDULES: dict[str, Callable[[int, int], float]] = {"linear": linear, "cosine": cosine, "constant": constant}


def validate(config: ScheduleConfig) -> None:
    """Raise ConfigError for a name that is not in `SCHEDULES`."""
    if config.name not in SCHEDULES:
        hint = nearest(config.name, list(SCHEDULES))
        raise ConfigError(f"schedule.name={config.name}: unknown.{hint} Allowed: {', '.join(SCHEDULES)}.")


def factor(schedule: str, step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the factor on the peak learning rate at optimizer step `step`, counted from 0.

    It rises to 1 over the warmup, from 1 / warmup_steps at the first step; then the schedule decides.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    steps = max(1, total_steps - warmup_steps)
    return SCHEDULES[schedule](min(step - warmup_steps, steps), steps)
