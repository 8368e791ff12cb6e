"""Turn the tree that Hydra composes into a typed config, and refuse what cannot be meant before any work."""

import dataclasses
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from roberta_lab.axes import data_mix, masking, nsp
from roberta_lab.axes.batch_size import accumulation, micro_batch_size
from roberta_lab.axes.input_format import FORMATS
from roberta_lab.config import (
    FIGURES,
    PREDICTIONS,
    Config,
    ConfigError,
    FinetuneConfig,
    PredictConfig,
    SourceConfig,
    TaskConfig,
    nearest,
    one_line,
    ranges,
    schema,
)
from roberta_lab.config.paths import user_path
from roberta_lab.model import hardware, objectives, optimizer, schedule
from roberta_lab.runs.options import content, files
from roberta_lab.tasks import families, zero_shot

CHOICES = (True, False, "auto")  # of what a machine may decide
_AMBIGUOUS = "Ambiguous value for argument"  # how Hydra says that -m is missing
_TEMPLATE = re.compile(r"\$(VALUE|KEY|FULL_KEY|OBJECT_TYPE)")  # of OmegaConf's messages, before they are filled in
_VALUE = re.compile(r"Value '(.*)' (?:of type|is not a valid bool)", re.DOTALL)
_TYPES = {  # by how OmegaConf says that a value is of another type
    "to Integer": "a whole number",
    "to Float": "a number",
    "valid bool": "true or false",
    "is not a ListConfig": "a list, [A,B]",
    "is not Optional": "a value of its own, not null",
    "Cannot assign dict": "one value, not several with names",
    "is not a DictConfig": "values with names, {NAME: VALUE}",
}


def rate(published: str | float, *, _root_: DictConfig) -> float:
    """Return a published learning rate at the config's scale."""
    scale = _root_.scale
    scaled = float(published) * float(scale.lr_factor)
    return scaled if scale.largest_lr is None else min(scaled, float(scale.largest_lr))


def divide(number: int, divisor: int) -> int:
    """Return a number of the paper at a smaller scale: the nearest whole number, at least 1."""
    if divisor < 1:
        raise ConfigError(f"a divisor of the scale is {divisor}: allowed is 1 or more.")
    return max(1, round(number / divisor))


def of_stand_ins(tokens: int, *, _root_: DictConfig) -> int | None:
    """Return a scale's limit of training text, which is for the paper's corpora and what stands in for them: not for own text."""
    sources = _root_.data_mix.sources.values()
    is_cut = any(source.get("kind") == "pydoc" or source.get("stands_for") for source in sources)
    return tokens if is_cut else None


def build(cfg: DictConfig) -> Config:
    """Return the typed config of a composed tree, resolved and checked. Raises: ConfigError."""
    config = typed_config(cfg)
    check(config)
    return config


def words_of(task: Sequence[str]) -> list[str]:
    """Return the overrides of a job as they were typed (`hydra.overrides.task`): a `${...}` in them is looked up in the config."""
    plain = OmegaConf.to_container(task, resolve=False) if isinstance(task, ListConfig) else task
    assert isinstance(plain, Sequence)
    return [*map(str, plain)]


def typed_config(cfg: DictConfig) -> Config:
    """Return the typed config of a composed tree, resolved but not checked. Raises: ConfigError."""
    plain = OmegaConf.masked_copy(cfg, [f.name for f in dataclasses.fields(Config)])
    tree = OmegaConf.merge(_schema(), plain)
    # sorted: the order in which a mix names its sources means nothing
    sources = sorted(tree.data_mix.sources.items())
    if tree.sweep is not None and tree.sweep.row is None:  # for all rows: `data_mix.NAME.path` is for those with NAME
        sources = [(name, source) for name, source in sources if "kind" in source]
    tree.data_mix.sources = {name: _source(name, source) for name, source in sources}
    try:
        config = OmegaConf.to_object(tree)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} is missing: the chosen options leave it open. Set it.") from None
    except OmegaConfBaseException as error:
        raise ConfigError(_at(str(error.full_key), str(error).splitlines()[0])) from None
    assert isinstance(config, Config)
    paths = config.paths
    paths.outputs, paths.cache = str(user_path(paths.outputs)), str(user_path(paths.cache))
    paths.local = str(user_path(paths.local)) if paths.local else ""
    return config


@cache
def _schema() -> DictConfig:
    """Return the tree of all keys with their types, which merging copies; making one takes longer."""
    tree: DictConfig = OmegaConf.structured(Config)
    return tree


def _source(name: str, source: Any) -> Any:
    """Return a source of the mix with every key that it can have, typed."""
    if not isinstance(source, DictConfig):
        raise ConfigError(f"data_mix.{name}={source!s}: a source is {{kind: KIND, path: PATH, ...}}.")
    allowed = [f.name for f in dataclasses.fields(SourceConfig)]
    for key in source:
        if key not in allowed:
            hint = nearest(str(key), allowed)
            raise ConfigError(f"data_mix.{name}.{key!s}: no such key.{hint} Allowed: {', '.join(allowed)}.")
    if "kind" not in source:
        raise ConfigError(f"data_mix.{name}.kind is missing. Allowed: {', '.join(schema.SOURCE_KINDS)}.")
    try:
        return OmegaConf.merge(OmegaConf.structured(SourceConfig), source)
    except OmegaConfBaseException as error:
        raise ConfigError(_at(f"data_mix.{name}.{error.full_key}", str(error).splitlines()[0])) from None


def reason(error: BaseException) -> str:
    """Return the deepest cause that Hydra or OmegaConf give, in one line that names the key or the override."""
    chain = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    for link in chain:
        if isinstance(link, ConfigError):
            return str(link)
    places = [at for link in chain for name in ("full_key", "override") if (at := getattr(link, name, None))]
    where = next((at for at in places if not str(at).startswith("hydra.")), next(iter(places), None))
    libraries = [link for link in chain if isinstance(link, HydraException | OmegaConfBaseException)]
    said = [text for link in libraries if (text := str(link).strip())]
    filled = [text for text in said if not _TEMPLATE.search(text)]
    first = [*said, *filled][-1].splitlines()[0] if said else one_line(error)
    if first.startswith(_AMBIGUOUS):
        word = first.removeprefix(_AMBIGUOUS).strip(" '")
        return f"{word}: several values make several runs. Allowed: the same with -m; a list is [A,B], a text with commas 'A,B'."
    return _at(where, first) if where else first


def _at(key: str, message: str) -> str:
    """Return what OmegaConf says of a key in one line; of a value of another type, what is allowed."""
    allowed = next((words for sign, words in _TYPES.items() if sign in message), None)
    if allowed is None:
        return f"{key}: {message.rstrip('.')}."
    value = found[1] if (found := _VALUE.search(message)) else "null" if "not Optional" in message else None
    return f"{key}{'' if value is None else f'={value}'}: allowed is {allowed}."


def encoder_config(config: Config) -> Config:
    """Return the config of the run that `finetune.init_from` names: the same settings on that task.

    Its files are in the same folder of tasks, or at the same commit of the hub. Raises: ConfigError for an unknown task.
    """
    name, own = config.finetune.init_from, config.task
    known = files("task")
    if name not in known:
        trained = [task for task in sorted(known) if not zero_shot.is_yardstick(content("task", task)["family"])]
        raise ConfigError(f"finetune.init_from={name}: no such task. Allowed: {', '.join(trained)}.")
    task = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskConfig), content("task", name)))
    assert isinstance(task, TaskConfig)
    path = Path(own.path)
    is_own = "".join(c for c in path.name.lower() if c.isalnum()) == own.name  # GLUE/RTE, and MNLI lies beside it
    task.path = str(path.parent if is_own else path) if own.path else ""
    if task.hub is not None and own.hub is not None:
        task.hub.revision = own.hub.revision
    finetune = dataclasses.replace(config.finetune, init_from=None, save_model=True, submission=False)
    return dataclasses.replace(config, task=task, finetune=finetune)


def check(config: Config) -> None:
    """Refuse values that are out of range, and options that contradict each other. Raises: ConfigError."""
    ranges.check(config)
    for name, source in config.data_mix.sources.items():
        ranges.check(source, f"data_mix.{name}")
    for name, size in (config.sweep.at_scale if config.sweep is not None else {}).items():
        ranges.check(size, f"sweep.at_scale.{name}")
    data_mix.check(config.data_mix)
    masking.validate(config.masking)
    nsp.validate(config.nsp)
    optimizer.validate(config.optimizer)
    schedule.validate(config.schedule)
    objectives.validate(config.objective)
    hardware.check(config.plan)
    _check_format(config)
    (zero_shot if zero_shot.is_yardstick(config.task.family) else families).check(config.task)
    _check_grid(config.finetune)
    _check_prediction(config.predict)
    size = config.trainer.micro_batch_size
    if size not in (None, "auto") and type(size) is not int:
        raise ConfigError(f"trainer.micro_batch_size={size}: allowed is 1 and more, null or auto.")
    for key in ("compile", "deterministic"):
        if (choice := getattr(config.trainer, key)) not in CHOICES:
            raise ConfigError(f"trainer.{key}={choice}: allowed is true, false or auto.")
    if config.sweep is None or config.sweep.row is not None:  # rows have batches of their own
        sequences = config.batch_size.sequences
        accumulation(sequences, config.trainer.world_size, micro_batch_size(sequences, config.trainer))
    warmup, steps = config.optimizer.warmup_steps, config.batch_size.steps
    if warmup > steps:
        never = (
            f"optimizer.warmup_steps={warmup} is more than batch_size.steps={steps}, so the peak rate is never reached"
        )
        raise ConfigError(f"{never}. Allowed: optimizer.warmup_steps={steps} or less, or more steps.")
    if config.model.hidden % config.model.heads:
        raise ConfigError(f"model.hidden={config.model.hidden} does not divide by model.heads={config.model.heads}.")


def _check_format(config: Config) -> None:
    name = config.input_format.name
    if name not in FORMATS:
        allowed = f"{nearest(name, list(FORMATS))} Allowed: {', '.join(FORMATS)}"
        raise ConfigError(f"input_format.name={name}: unknown.{allowed}.")
    if config.nsp.mode == "on" and not FORMATS[name].pairs:
        paired = "|".join(name for name, form in FORMATS.items() if form.pairs)
        contradiction = f"nsp=on contradicts input_format={name}, which yields no pairs"
        raise ConfigError(f"{contradiction}. Use nsp=auto or nsp=off, or input_format={paired}.")


def _check_grid(tune: FinetuneConfig) -> None:
    """Raise ConfigError for a grid over what is no number, or without values."""
    names = [f.name for f in dataclasses.fields(FinetuneConfig) if f.name != "seed"]
    allowed = [name for name in names if type(getattr(tune, name)) in (int, float)]
    for key, values in (tune.grid or {}).items():
        numbers = isinstance(values, list) and values and all(type(value) in (int, float) for value in values)
        if key not in allowed or not numbers:
            problem = "no list of numbers." if key in allowed else f"no key of a grid.{nearest(key, allowed)}"
            raise ConfigError(
                f"finetune.grid.{key}={values}: {problem} Allowed: [NUMBER, ...] of {', '.join(allowed)}."
            )


def _check_prediction(predict: PredictConfig) -> None:
    if predict.text is not None and predict.file:
        raise ConfigError("predict.text and predict.file are both set; choose one.")
    texts = predict.text if isinstance(predict.text, list) else [predict.text or ""]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError("predict.text: allowed is a text or a list of texts, each in quotes.")
    endings = PREDICTIONS[predict.what]
    if predict.output and Path(predict.output).suffix not in endings:
        allowed = " or ".join(f"FILE{ending}" for ending in endings)
        raise ConfigError(f"predict.output={predict.output}: for {predict.what}, allowed is {allowed}.")
    if predict.figure and predict.what != "embed":
        raise ConfigError(f"predict.figure={predict.figure}: draws vectors of texts. Allowed: with predict.what=embed.")
    if predict.figure and Path(predict.figure).suffix not in FIGURES:
        allowed = " or ".join(f"FILE{ending}" for ending in FIGURES)
        raise ConfigError(f"predict.figure={predict.figure}: allowed is {allowed}.")
