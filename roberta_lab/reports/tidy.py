"""The results of a sweep as a tidy frame: one row for each complete run and each of its metrics.

`results` gives it to a notebook; `roberta-lab table` and `reproduce` write the same beside the table.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from roberta_lab.axes.mask_positions import POSITIONS
from roberta_lab.config import Config, ConfigError, Damaged, SweepConfig
from roberta_lab.config.formatting import csv_cell
from roberta_lab.config.paths import user_path
from roberta_lab.reports.table.alike import cut_text
from roberta_lab.reports.table.rows import Record, read_record
from roberta_lab.runs import composition, identity, jobs, registration
from roberta_lab.runs.compose import reason
from roberta_lab.runs.overrides import assign, check_names, parse, value_text
from roberta_lab.runs.results import RunResult
from roberta_lab.runs.tables import runs_of
from roberta_lab.tasks.result import EvaluationResult, FinetuningResult

if TYPE_CHECKING:
    import pandas as pd

# Columns that every frame has, with their types in pandas. Behind them stands a column for each setting of the rows.
COLUMNS = {
    **{"sweep": "string", "scale": "string", "row": "string", "kind": "string", "seed": "int64"},
    "task": "string",  # the paper's name of the column; missing for pretraining
    "stand_in": "string",  # the task that was trained in its place; missing where it is the task itself
    **{"finetune_seed": "Int64", "run_id": "string", "metric": "string", "value": "float64"},
    "marks": "string",  # at chance, diverged; missing for a sound run
    "cut": "string",  # of pretraining: the micro-batches and devices of its steps; missing where it was not noted
}
PARQUET = "results.parquet"
Value = float | str | bool | None


def results(
    sweep: str | Sequence[str],
    scale: str = "smoke",
    outputs: str | Path = "outputs",
    overrides: Iterable[str] = (),
) -> pd.DataFrame:
    """Return what the complete runs of one or more sweeps found: a row for each run and metric, with the types of `COLUMNS`.

    Metrics have their names in `result.json`; those of another split than dev begin with it (`dev_mm/accuracy`). `score` is
    the figure of a task that the table shows, from 0 to 100. A run that several rows or columns share stands in each of them.
    A run that is missing or not complete has no rows. Behind the columns of every frame stands one for each setting in
    which the rows of the sweep differ (`masking`, `masking.mask_prob`): a group's option, or a value at this scale. With
    `sweep.finetune_grid` the settings of finetuning are among them (`finetune.lr`).

    Args:
        outputs: the folder (`paths.outputs`) in which the runs lie.
        overrides: what was typed beside `sweep` and `scale` when the runs were made, each `key=value`.

    Raises: ConfigError in one line for unknown names and values, or a folder that is not there; Damaged for a file of a run that is
    not as it was written.
    """
    import pandas as pd

    outputs = user_path(outputs)
    if not outputs.is_dir():
        raise ConfigError(f"outputs={outputs}: no such folder in {Path.cwd()}; it is paths.outputs of the runs.")
    more = [f"scale={scale}", *overrides]
    names = [sweep] if isinstance(sweep, str) else [*sweep]
    frames = [frame(config, records) for config, records in (_read(name, outputs, more) for name in names)]
    return pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]


def _read(sweep: str, outputs: Path, words: Iterable[str]) -> tuple[Config, list[Record]]:
    """Return the config and the runs of a sweep, as `roberta-lab table` finds them. Raises ConfigError."""
    registration.register()
    jobs.forget()
    overrides = [assign("sweep", sweep), *parse(words), assign("paths.outputs", str(outputs))]
    check_names(overrides)
    try:
        with composition.composing():
            config = composition.composed(overrides)
            records = [read_record(job, outputs) for job in runs_of(config, overrides)]
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(reason(error)) from None
    for record in records:
        if record.damage is not None:
            raise Damaged(record.damage)
    return config, records


# ---------------------------------------------------------------- the frame
def frame(config: Config, records: Iterable[Record]) -> pd.DataFrame:
    """Return the frame of a sweep's runs. Runs without a result that can be read are left out."""
    import pandas as pd

    assert config.sweep is not None
    records = list(records)
    every = dict.fromkeys([*_settings(config.sweep), *_searched(records)])
    settings = [key for key in every if key not in COLUMNS]
    lines = [line for record in records for line in _lines(config, record, settings)]
    found = pd.DataFrame(lines, columns=[*COLUMNS, *settings]).astype(COLUMNS)
    found[settings] = found[settings].convert_dtypes()
    return found


def _lines(config: Config, record: Record, settings: Sequence[str]) -> Iterator[dict[str, Value]]:
    """Yield a row of the frame for each metric of a run."""
    if record.result is None:
        return
    assert config.sweep is not None
    tuned = record.result.scored if record.task is not None else None
    same: dict[str, Value] = {
        **{"sweep": config.sweep.name, "scale": config.scale.name, "row": record.row, "kind": record.kind},
        **{"seed": record.seed, "task": record.task, "finetune_seed": record.finetune_seed, "run_id": record.run_id},
        "stand_in": tuned.task if tuned is not None and tuned.task != record.task else None,
        "marks": ("; ".join(tuned.marks) or None) if tuned is not None else None,
        "cut": (cut_text(record.result.pretraining.cuts) or None) if tuned is None else None,
        **{key: _setting(key, config.sweep, record) for key in settings},
    }
    for metric, value in metrics_of(record.result).items():
        yield {**same, "metric": metric, "value": value}


def metrics_of(result: RunResult) -> dict[str, float]:
    """Return the metrics of a run by their names in its `result.json`."""
    found = result.found
    if isinstance(found, FinetuningResult):
        others = {f"{split}/{name}": value for split, scores in found.others.items() for name, value in scores.items()}
        first = {"score": found.score, "majority": found.majority}
        return {**first, **found.metrics, **others, "best_epoch": found.best_epoch, "seconds": result.seconds}
    if isinstance(found, EvaluationResult):
        first = {"score": found.score, "majority": found.majority, "low": found.low, "high": found.high}
        return {**first, **found.metrics, "seconds": result.seconds}
    figures = {"unigram_ppl": found.unigram_ppl, "tokens_seen": found.tokens_seen, "epochs": found.epochs}
    common = {
        "common_bits_per_byte": found.common_bits_per_byte,
        "common_perplexity": found.common_perplexity,
    }
    figures |= {name: value for name, value in common.items() if value is not None}
    return {**found.metrics, **figures, "seconds": result.seconds}


def _settings(sweep: SweepConfig) -> list[str]:
    """Return the groups and keys that rows of a sweep set, in the order of the file."""
    return list(dict.fromkeys(o.key_or_group for row in sweep.rows.values() for o in parse(row)))


def _searched(records: Iterable[Record]) -> list[str]:
    """Return the keys of the grids of finetuning that were searched."""
    tunes = [record.config.finetune for record in records if record.setting and record.config is not None]
    return list(dict.fromkeys(f"finetune.{key}" for tune in tunes for key in tune.grid or {}))


def _setting(key: str, sweep: SweepConfig, record: Record) -> Value:
    """Return the option of a group that row or base choose, or the value of a key at this scale; None if it is not read."""
    if "." not in key:
        chosen = [o for o in parse([*sweep.base, *sweep.rows[record.row]]) if o.key_or_group == key]
        return value_text(chosen[-1]) if chosen else None
    if record.config is None:
        return None
    value = reduce(_part, key.split("."), record.config)
    if not _is_read(record.config, key, value):
        return None
    return value if isinstance(value, float | int | str | None) else str(value)


def _part(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, Mapping) else getattr(node, name, None)


def _is_read(config: Config, key: str, value: object) -> bool:
    """Return whether pretraining reads a key of its science: whether another value would be another run. Of the rest, yes."""
    if key.split(".")[0] not in (*identity.SCIENCE, *identity.LATER_GROUPS, "nsp"):
        return True
    if isinstance(value, bool):
        others: list[object] = [not value]
    elif isinstance(value, int | float):
        others = [value + 1, value / 2]
    else:
        others = [*POSITIONS] if key == "masking.positions" else []
    own = identity.science(config)
    return not others or any(identity.science(_with(config, key.split("."), other)) != own for other in others)


def _with(node: Any, path: Sequence[str], value: object) -> Any:
    """Return a part of a config with another value of one key."""
    new = _with(_part(node, path[0]), path[1:], value) if path[1:] else value
    return {**node, path[0]: new} if isinstance(node, Mapping) else replace(node, **{path[0]: new})


# ---------------------------------------------------------------- files
def _safe(found: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without texts that a spreadsheet would compute."""
    texts = [name for name, kind in found.dtypes.items() if kind.kind not in "biuf"]
    return found.assign(**{str(name): list(map(csv_cell, found[name])) for name in texts})


def forms(found: pd.DataFrame) -> dict[str, str | bytes]:
    """Return the frame as files by name: `results.csv`, and, where pyarrow is there, `results.parquet` with the types."""
    made: dict[str, str | bytes] = {"results.csv": _safe(found).to_csv(index=False, lineterminator="\n")}
    if find_spec("pyarrow") is not None:
        written = io.BytesIO()
        found.to_parquet(written, engine="pyarrow", index=False)
        made[PARQUET] = written.getvalue()
    return made
