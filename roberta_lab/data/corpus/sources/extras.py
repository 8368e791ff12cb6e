"""Packages that only some sources need."""

import importlib
from types import ModuleType

from roberta_lab.config import ConfigError


def import_extra(package: str, path: object) -> ModuleType:
    """Return a package that only some sources need. Raise ConfigError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        name = package.split(".")[0]
        raise ConfigError(f"{path} needs the package {name}: pip install 'roberta_lab[data]'") from None
