"""Where Hydra finds sweeps and the options outside the package, and what each of these files is checked for when it is read."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from roberta_lab.config import Config, ConfigError, SweepConfig, nearest
from roberta_lab.runs import options
from roberta_lab.runs.options import SWEEP
from roberta_lab.runs.overrides import check_key, check_names, fields_of, parse
from roberta_lab.runs.yaml_file import read

MAX_FILES = 50  # that one option is made of


class Places(SearchPathPlugin):
    """A plugin that adds the sweeps, and the folders of the command at hand, behind conf/: what is first in Hydra wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("sweeps", f"{Sweeps.scheme()}://")
        for folder in options.outside().folders:
            search_path.append("outside", f"{Folder.scheme()}://{folder}")


class Sweeps(ConfigSource):
    """A source of Hydra: the sweep files of all places, each read when it is named."""

    @staticmethod
    def scheme() -> str:
        return "sweeps"

    def load_config(self, config_path: str) -> ConfigResult:
        name = config_path.removeprefix(f"{SWEEP}/")
        config = read_sweep(options.files(SWEEP)[name])
        return ConfigResult(provider=self.provider, path=self.full_path(), config=config, header={"package": None})

    def is_group(self, config_path: str) -> bool:
        return config_path.strip("/") in ("", SWEEP)

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.partition("/")
        return group == SWEEP and name in options.files(SWEEP)

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path.strip("/") == SWEEP:
            return [] if results_filter == ObjectType.GROUP else list(options.files(SWEEP))
        return [] if results_filter == ObjectType.CONFIG else [SWEEP]


class Folder(ConfigSource):
    """A source of Hydra: a folder outside the package, laid out as conf/. Every file is checked before it is composed."""

    @staticmethod
    def scheme() -> str:
        return "outside"

    def load_config(self, config_path: str) -> ConfigResult:
        path = self._file(config_path)
        config = read(path)
        try:
            with open(path, encoding="utf-8") as file:
                header = self._get_header_dict(file.read(512))
        except ValueError as error:
            raise ConfigError(f"{path}: {error}. Allowed: `# @package NAME` or no such line.") from None
        group, _, _ = config_path.rpartition("/")
        if not group.startswith("hydra"):
            check_option(path, group, config, header["package"])
        return ConfigResult(provider=self.provider, path=self.full_path(), config=config, header=header)

    def is_group(self, config_path: str) -> bool:
        return (Path(self.path) / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        path = self._file(config_path)
        return os.path.lexists(path) and not config_path.startswith(f"{SWEEP}/")

    def available(self) -> bool:
        return self.is_group("")

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        folder, found = Path(self.path) / config_path, set[str]()
        if config_path.strip("/") == "":  # of whatever else lies there, nothing is a group
            return [group for group in options.groups() if (folder / group).is_dir() and group != SWEEP]
        for path in folder.iterdir():
            if path.is_dir() and results_filter != ObjectType.CONFIG:
                found.add(path.name)
            if path.suffix == ".yaml" and not path.name.startswith(".") and results_filter != ObjectType.GROUP:
                found.add(path.stem)
        return sorted(found)

    def _file(self, config_path: str) -> Path:
        return Path(self.path) / self._normalize_file_name(config_path)


def register() -> None:
    """Make Hydra know both sources and the plugin; calling it twice changes nothing."""
    for plugin in (Sweeps, Folder, Places):
        Plugins.instance().register(plugin)


def read_sweep(path: Path) -> DictConfig:
    """Return the sweep in a file, checked and named after the file. Raises: ConfigError in one line that names the file."""
    sweep = read(path)
    _check_values(path, SWEEP, SweepConfig, sweep)
    name = sweep.setdefault("name", path.stem)
    if name != path.stem:
        raise ConfigError(f"{path}: name: {name}. Allowed: the file's name, {path.stem}, or no name.")
    sweep.setdefault("title", name)
    sweep.setdefault("question", "")
    if not sweep.get("rows"):
        raise ConfigError(f"{path}: rows are missing. Allowed: rows: {{NAME: [override, override]}}.")
    if path.parent != options.SWEEPS:  # those of the package are tested
        try:
            for row in [sweep.get("base", []), *sweep.rows.values()]:
                if odd := [word for word in row if not isinstance(word, str)]:
                    raise ConfigError(f"{odd[0]}: no override. Allowed: key=value.")
                check_names(parse(row))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
    return sweep


def check_option(path: Path, group: str, config: DictConfig, package: str | None) -> None:
    """Raise ConfigError for unknown keys, values of a wrong type, and a list of defaults that cannot be meant."""
    content = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("defaults", "hydra")])
    where = group if package in (None, "_group_") else str(package).replace("_group_", group.replace("/", "."))
    where = where.removeprefix("_global_").strip(".")
    schema: Any = Config
    for part in where.split(".") if where else ():
        schema = fields_of(schema).get(part) if isinstance(schema, type) and dataclasses.is_dataclass(schema) else None
    if group == options.EXPERIMENT and where == group:
        raise ConfigError(f"{path}: `# @package _global_` is missing. Allowed: that as its first line.")
    if isinstance(schema, type) and dataclasses.is_dataclass(schema):
        _check_values(path, where, schema, content)
    _check_defaults(path, group, config)
    _count_files(path, group, config, ())


def _check_values(path: Path, where: str, schema: type[Any], content: DictConfig) -> None:
    try:
        for key in _keys(content):
            check_key(f"{where}.{key}".strip("."))
        OmegaConf.merge(OmegaConf.structured(schema), content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except OmegaConfBaseException as error:
        key, said = f"{where}.{error.full_key or ''}".strip("."), next(iter(str(error).splitlines()), "wrong")
        raise ConfigError(f"{path}: {key}: {said}.") from None


def _keys(node: DictConfig, before: str = "") -> Iterator[str]:
    for key, value in node.items_ex(resolve=False):
        yield f"{before}{key!s}"
        if isinstance(value, DictConfig) and not value._is_none() and not value._is_interpolation():
            yield from _keys(value, f"{before}{key!s}.")


def _check_defaults(path: Path, group: str, config: DictConfig) -> None:
    """Raise ConfigError for a list of defaults that is none, or that names an unknown group or option."""
    allowed = "Allowed: [NAME, /GROUP: OPTION, override /GROUP: OPTION]"
    defaults = config.get("defaults", OmegaConf.create([]))
    if not isinstance(defaults, ListConfig):
        raise ConfigError(f"{path}: defaults are no list. {allowed}.")
    for entry in defaults:
        is_one = isinstance(entry, str) or (isinstance(entry, DictConfig) and len(entry) == 1)
        if not is_one or not all(isinstance(v, str | ListConfig | None) for v in _values(entry)):
            raise ConfigError(f"{path}: defaults: {entry}: this is no default. {allowed}.")
    known = options.groups()
    for of, option, is_override in _defaults(group, defaults):
        if of in known and option not in known[of]:
            problem = f"{of}={option}: no such option.{nearest(option, known[of])} Allowed: {', '.join(known[of])}"
            raise ConfigError(f"{path}: defaults: {problem}.")
        if is_override and of not in known and not of.startswith("hydra/"):
            problem = f"{of}: no such group.{nearest(of, list(known))} Allowed: {', '.join(known)}"
            raise ConfigError(f"{path}: defaults: {problem}.")


def _values(entry: Any) -> list[Any]:
    return [] if isinstance(entry, str) else list(entry.values())


def _defaults(group: str, defaults: ListConfig) -> Iterator[tuple[str, str, bool]]:
    """Yield the group and option that each default names, and whether it only replaces what another file chooses."""
    for entry in defaults:
        key, value = (group, entry) if isinstance(entry, str) else next(iter(entry.items()))
        *words, name = str(key).partition("@")[0].split()
        of = name.removeprefix("/") if isinstance(entry, str) or name.startswith("/") else f"{group}/{name}".strip("/")
        if isinstance(value, str) and value.startswith("/"):
            of, _, value = value.removeprefix("/").rpartition("/")
        for option in [value] if isinstance(value, str) else value or []:
            option = option.partition("@")[0].removesuffix(".yaml")
            if option != "_self_" and "${" not in option:
                yield of, option, "override" in words


def _count_files(path: Path, group: str, config: DictConfig, before: tuple[Path, ...], count: int = 1) -> int:
    """Return how many files a file includes, itself among them. Raises ConfigError for a circle, and for too many."""
    if path in before:
        raise ConfigError(f"{path}: its defaults lead back to it. Allowed: options that do not include one another.")
    if count > MAX_FILES:
        raise ConfigError(f"{path}: its defaults include too many files. Allowed: at most {MAX_FILES}.")
    for of, option, is_override in _defaults(group, config.get("defaults", [])):
        file = options.files(of).get(option)
        if file is not None and not is_override and options.CONF not in file.parents:
            count = _count_files(file, of, read(file), (*before, path), count + 1)
    return count
