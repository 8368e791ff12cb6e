"""Keys that came after the first runs: left out of run ids at their neutral value, so that they orphan no run."""

import dataclasses
from typing import Any, TypeAlias

Settings: TypeAlias = dict[str, Any]  # plain values by key, nested as the config is


def later(neutral: Any, allowed: Any = None, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field that did not exist before. `neutral` is the value that means "as before".

    At that value the key is no part of any id. The default is the neutral value, unless another is given. `allowed` says
    what it may be, as a declaration of `ranges` does (`at_least(1)`); None: any value of its type.
    """
    value = neutral if default is dataclasses.MISSING else default
    return dataclasses.field(default=value, metadata={**(allowed.metadata if allowed else {}), "neutral": neutral})


def is_later(part: object) -> bool:
    """Return whether all keys of a part of the schema, a dataclass, came later."""
    return (
        isinstance(part, type)
        and dataclasses.is_dataclass(part)
        and all("neutral" in declared.metadata for declared in dataclasses.fields(part))
    )


def settings(node: Any) -> Settings:
    """Return the values of a part of the config that count in an id: all but later keys at their neutral values."""
    found = {}
    for declared in dataclasses.fields(node):
        value = getattr(node, declared.name)
        if "neutral" in declared.metadata and value == declared.metadata["neutral"]:
            continue
        found[declared.name] = settings(value) if dataclasses.is_dataclass(value) else value
    return found
