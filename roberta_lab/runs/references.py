"""Which overrides and option files look a value up in another part of the config, `${model.dropout}`: what shares no composition.

Jobs of a sweep are composed in parts (`composition.config_of`), where each such value would be that of a default.
"""

import re
from collections.abc import Iterable
from functools import cache

from omegaconf import DictConfig, OmegaConf

from roberta_lab.runs.options import CONF, SWEEP, Outside, content, files, outside
from roberta_lab.runs.overrides import Override, room, value_text
from roberta_lab.runs.yaml_file import read

SCALE = "scale"  # which each part is composed with
SEEDS = ("seed", "finetune.seed")  # which no part is composed with
_REFERENCE = re.compile(r"\$\{\s*([^\s:}$]*)\s*(:?)")  # a key, or a resolver with its colon
_OF_RESOLVERS = {"rate": SCALE, "of_stand_ins": "data_mix"}  # the part of the config that each looks at
_PLAIN = (
    "divide",
    "cpus",
    "oc.env",
    "oc.decode",
    "oc.create",
    "oc.deprecated",
)  # resolvers that look at their arguments


def look_elsewhere(overrides: Iterable[Override]) -> bool:
    """Return whether an override, or an option from outside the package that it chooses, looks at another part of the config."""
    return any(_looks_elsewhere(override) for override in overrides)


def _looks_elsewhere(override: Override) -> bool:
    word, key = override.input_line or "", override.key_or_group
    if "${" in word and (key in SEEDS or _leads_out(room(override), word)):
        return True
    return "." not in key and key != SWEEP and _is_bound(key, value_text(override), outside())


def _leads_out(part: str, text: str) -> bool:
    """Return whether a text of a part of the config has a reference that its own part and the scale do not answer."""
    for name, colon in _REFERENCE.findall(text):
        if colon and name in _PLAIN:
            continue
        to = _OF_RESOLVERS.get(name, "") if colon else re.split(r"[.\[]", name)[0]
        if to not in (part, SCALE) or name in SEEDS:
            return True
    return False


@cache
def _is_bound(group: str, option: str, places: Outside) -> bool:  # in other places the words may mean others
    """Return whether an option from outside the package, or one that it starts from, looks at or sets more than its group."""
    path = files(group).get(option)
    if path is None or CONF in path.parents:
        return False
    is_scale = group == SCALE
    if not is_scale and "@package" in path.read_text(encoding="utf-8"):
        return True
    for entry in read(path).get("defaults", []):
        if isinstance(entry, str):
            if entry != "_self_" and (entry not in files(group) or _is_bound(group, entry, places)):
                return True
        elif not is_scale or any(
            _is_bound(str(key).removeprefix("override ").lstrip("/"), str(to), places) for key, to in entry.items()
        ):
            return True
    own = content(group, option)
    parts = {str(key): own._get_node(key) for key in own} if is_scale else {group: own}
    return any(_leads_out(part, _text(node)) for part, node in parts.items())


def _text(node: object) -> str:
    if isinstance(node, DictConfig):
        return OmegaConf.to_yaml(node)
    return str(OmegaConf.to_container(node, resolve=False)) if OmegaConf.is_config(node) else str(node)
