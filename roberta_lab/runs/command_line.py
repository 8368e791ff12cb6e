"""Commands as they are shown, so that they can be pasted into a shell."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from roberta_lab.config import PathsConfig
from roberta_lab.config.secrets import masked
from roberta_lab.runs import options, outside
from roberta_lab.runs.overrides import Override, assign

LONGEST = 200  # characters of a command that stays on one line where it is folded
WIDTH = 120  # of the lines of a longer one, unless one override is longer
OF_ONE_DEVICE = ("finetune", "evaluate")  # commands that refuse what spreads a pretraining run over several
SPREADS = re.compile(r"\+*(trainer\.(devices|nodes)=.*|trainer=ddp)", re.DOTALL)


def typed(command: str, overrides: Iterable[Override | str]) -> str:
    """Return `roberta-lab COMMAND OVERRIDES` in one line, each word quoted where a shell needs it, and without its secrets.

    What lies outside the package is named by its path, unless the overrides name it themselves (`hydra.searchpath`).
    """
    said = words(_taken(command, overrides))
    return " ".join(["roberta-lab", command, *(shlex.quote(masked(word)) for word in said)])


def _taken(command: str, overrides: Iterable[Override | str]) -> list[Override | str]:
    """Return the overrides that a command takes: those of a pretraining run may spread it over devices."""
    is_left_out = command in OF_ONE_DEVICE
    return [o for o in overrides if not (is_left_out and SPREADS.fullmatch(_text(o)))]


def places(paths: PathsConfig) -> list[Override]:
    """Return the overrides that lead another command to the same outputs and cache; none where they are the usual ones."""
    usual = PathsConfig()
    outputs = [assign("paths.outputs", paths.outputs)] if paths.outputs != usual.outputs else []
    own_cache = Path(paths.cache) != Path(paths.outputs) / "cache" and "${" not in paths.cache
    return [*outputs, *([assign("paths.cache", paths.cache)] if own_cache else [])]


def words(overrides: Iterable[Override | str]) -> list[str]:
    """Return the words that stand behind a command, as they are, with what names the places outside the package."""
    found = [_text(override) for override in overrides]
    places = [] if any(word.startswith("hydra.searchpath=") for word in found) else outside.flags()
    return [*places, *found]


def folded(command: str, overrides: Iterable[Override | str]) -> str:
    """Return the command for reading: a long one is broken between overrides, where a backslash lets the shell read on."""
    overrides = _taken(command, overrides)
    if len(line := typed(command, overrides)) <= LONGEST:
        return line
    lines = [typed(command, [])]
    for word in (shlex.quote(masked(_text(override))) for override in overrides):
        if len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return " \\\n".join(lines)


def _text(override: Override | str) -> str:
    """Return an override as it is typed: a sweep that was named by its path with that path."""
    word = override if isinstance(override, str) else override.input_line or ""
    path = next((path for path in options.outside().sweeps if word == f"sweep={path.stem}"), None)
    return word if path is None else assign("sweep", str(path)).input_line or ""
