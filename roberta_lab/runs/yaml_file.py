"""Read a YAML file that somebody wrote: what cannot be a config is refused in one line, quickly and before it takes memory."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, NodeEvent, ScalarEvent

from roberta_lab.config import ConfigError
from roberta_lab.data.foreign import expect_regular, text_of

MAX_BYTES, MAX_NODES, MAX_DEPTH = 65_536, 5_000, 30  # the largest file of ours: 3,256 bytes, 90 nodes, 3 deep
MAX_REFERENCES = 20  # `${...}`: OmegaConf parses them slowly, and what refers to another twice may grow as aliases do
COMPOSED = 64  # times as much in a file of a run, which has all that was composed
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast; not every build has it


def read(path: Path) -> DictConfig:
    """Return the mapping in a YAML file; an empty file is an empty one. Raises: ConfigError for anything else in it."""
    try:
        expect_regular(path, "a YAML file")
        status = path.stat()
        if status.st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {status.st_size:,} bytes. Allowed: a YAML file of at most {MAX_BYTES:,} bytes.")
        return copy.deepcopy(_read(path, status.st_mtime_ns, status.st_size))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be read ({reason}). Allowed: a YAML file.") from None


@lru_cache(maxsize=256)  # a sweep file takes a while to parse, and a process composes it several times
def _read(path: Path, changed: int, size: int) -> DictConfig:
    """Return what `read` does, once for each state of the file."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
        _check_size(path, text)
        plain = yaml.load(text, Loader=_loader())  # a safe loader
        if not isinstance(plain, dict | None):
            raise ConfigError(f"{path}: this is no mapping. Allowed: `key: value` in each line.")
        return OmegaConf.create(plain or {})
    except ConfigError:
        raise
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is no text in UTF-8. Allowed: a YAML file.") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {_problem(error)}. Allowed: a YAML file that is one mapping.") from None


def plain(path: Path) -> Any:
    """Return what a YAML file of a run's folder holds. Raises: ConfigError for what is no YAML, too large, or nested too deeply."""
    text = text_of(path, MAX_BYTES * COMPOSED)
    try:
        _check_size(path, text, COMPOSED, references=False)
        return yaml.load(text, _PARSER)
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: {_problem(error)}. Allowed: a YAML file.") from None


def _loader() -> type[yaml.SafeLoader]:
    from omegaconf._utils import get_yaml_loader  # how OmegaConf, and so Hydra, reads numbers; no public name has it

    loader: type[yaml.SafeLoader] = get_yaml_loader()
    return loader


def _check_size(path: Path, text: str, times: int = 1, references: bool = True) -> None:
    """Raise ConfigError for a text with too many nodes, each alias counted as all that it repeats, or nested too deeply.

    Allowed are `times` as many nodes as in a file that somebody wrote; `references` are counted where they are resolved.

    Events come one by one, so that neither a deep nor a wide text costs memory or the interpreter's stack.
    """
    most, total, num_references, open_nodes, sizes = (
        MAX_NODES * times,
        0,
        0,
        list[tuple[str | None, int]](),
        dict[str, int](),
    )
    for event in yaml.parse(text, Loader=_PARSER):
        if isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise ConfigError(f"{path}: {_line(event)}: *{event.anchor} contains itself. Allowed: a tree.")
            total += sizes.get(event.anchor or "", 1)  # one without its anchor is the loader's to refuse
        elif isinstance(event, NodeEvent):
            total += 1
            if isinstance(event, CollectionStartEvent):
                open_nodes.append((event.anchor, total - 1))
            elif isinstance(event, ScalarEvent):
                num_references += event.value.count("${")
                sizes[event.anchor or ""] = 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor or ""] = total - before
        if total > most:
            what = f"{_line(event)}: more than {most:,} values, with all that aliases repeat"
            raise ConfigError(f"{path}: {what}. Allowed: at most {most:,}.")
        if references and num_references > MAX_REFERENCES:
            raise ConfigError(
                f"{path}: {_line(event)}: too many ${{...}}. Allowed: at most {MAX_REFERENCES} in a file."
            )
        if len(open_nodes) > MAX_DEPTH:
            raise ConfigError(f"{path}: {_line(event)}: nested too deeply. Allowed: at most {MAX_DEPTH} levels.")


def _line(event: Event) -> str:
    return f"line {event.start_mark.line + 1}" if event.start_mark is not None else "a line"


def _problem(error: Exception) -> str:
    """Return what is wrong, with the line where the parser says it."""
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or next(iter(str(error).splitlines()), type(error).__name__)
    return f"line {mark.line + 1}: {said}" if mark is not None else str(said)
