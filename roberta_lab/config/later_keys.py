"""Keys that came after the first runs: left out of run ids at their neutral value, so that they orphan no run."""

import dataclasses
from typing import Any


def later(neutral: Any, allowed: tuple[str, ...] = (), default: Any = dataclasses.MISSING) -> Any:
    """Declare a field that did not exist before. `neutral` is the value that means "as before".

    At that value the key is no part of any id. The default is the neutral value, unless another is given. `allowed` are the
    names that the field may have; empty: any value of its type.
    """
    value = neutral if default is dataclasses.MISSING else default
    metadata = {"neutral": neutral, **({"allowed": allowed} if allowed else {})}
    return dataclasses.field(default=value, metadata=metadata)


def settings(node: Any) -> dict[str, Any]:
    """Return the values of a part of the config that count in an id: all but later keys at their neutral values."""
    found = {}
    for declared in dataclasses.fields(node):
        value = getattr(node, declared.name)
        if "neutral" in declared.metadata and value == declared.metadata["neutral"]:
            continue
        found[declared.name] = settings(value) if dataclasses.is_dataclass(value) else value
    return found
