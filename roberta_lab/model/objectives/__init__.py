"""The objectives of pretraining by name: a module each, in which `objective(config)` returns it. Loaded when it is trained."""

from importlib import import_module
from typing import TYPE_CHECKING

from roberta_lab.config import Config, ConfigError, ObjectiveConfig, nearest

if TYPE_CHECKING:
    from roberta_lab.model.objective import Objective

OBJECTIVES = {"mlm": "roberta_lab.model.objectives.mlm"}


def validate(config: ObjectiveConfig) -> None:
    """Raise ConfigError for a name that is not in `OBJECTIVES`."""
    if config.name not in OBJECTIVES:
        hint = nearest(config.name, list(OBJECTIVES))
        raise ConfigError(f"objective.name={config.name}: unknown.{hint} Allowed: {', '.join(OBJECTIVES)}.")


def objective_of(config: Config) -> "Objective":
    """Return the objective of a config."""
    validate(config.objective)
    found: Objective = import_module(OBJECTIVES[config.objective.name]).objective(config)
    return found
