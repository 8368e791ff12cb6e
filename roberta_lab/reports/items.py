"""The dev items of a task with what a run predicted for them, read again as finetuning reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from roberta_lab.config import Config, ConfigError, Damaged, TaskConfig
from roberta_lab.config.errors import one_line
from roberta_lab.data.corpus.preparation import find_embedded
from roberta_lab.data.foreign import NO_JSON
from roberta_lab.data.verified import check
from roberta_lab.reports.statistics.multi_bootstrap import mean
from roberta_lab.runs import fingerprints
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import families, heads, metrics, zero_shot
from roberta_lab.tasks.items import Predictions, TaskData, in_words, texts_of
from roberta_lab.tasks.result import predictions_file
from roberta_lab.tasks.zero_shot.minimal_pairs import Pairs, points_of

NOT_THE_SAME = 1e-6  # points by which a score that is computed again may differ from the run's


@dataclass(frozen=True, eq=False)
class ScoredItems:
    """The dev items of one run, N of them, and its predictions; in words where somebody reads them."""

    ids: tuple[str, ...]
    table: np.ndarray  # (N, ...): what each item contributes to the score
    score: Callable[[np.ndarray], float]  # of a table or of a resample of its rows; `multi_bootstrap.mean` for points
    right: np.ndarray | None  # bool (N,): the item is predicted right; None where nothing is wholly right or wrong
    predictions: Sequence[object]  # as the head has them: equal ones are the same prediction
    said_of: Callable[[int], str]  # an item's prediction in words
    gold_of: Callable[[int], str]
    texts_of: Callable[[int], Mapping[str, str]]  # the item's texts by name


def scored_items(run: Path, result: RunResult, config: Config) -> tuple[ScoredItems | None, str]:
    """Return the items of a complete run that scored a task; or None, and in a line why they cannot be read.

    `config` says where the task's data and the prepared corpus lie. A task's data are read once in a process.
    """
    file = predictions_file(run, "dev")
    try:
        lines, task = _lines(file), config.task
        is_yardstick = zero_shot.is_yardstick(task.family)
        found = _compared(lines, task) if is_yardstick else _items(lines, _data(config), task)
    except FileNotFoundError:
        return None, f"{file} is not there"
    except (ConfigError, Damaged) as error:
        return None, str(error).rstrip(".")
    except (OSError, *NO_JSON, LookupError, TypeError) as error:  # damaged predictions, or those of other items
        return None, f"{file} does not fit the items of {config.task.name} ({one_line(error)})"
    again, noted = found.score(found.table), result.scored.score
    best = result.scored.metric.startswith("best_")  # a threshold on the whole of dev: no score of resamples
    if not best and not abs(again - noted) <= NOT_THE_SAME:
        return None, f"the items of {config.task.name} have changed: {file} now scores {again:.2f}, not {noted:.2f}"
    return found, ""


# ---------------------------------------------------------------- tasks of finetuning
def own_items(run: Path, data: TaskData, task: TaskConfig) -> ScoredItems:
    """Return the items of a finetuning run that has just ended, whose data are still at hand."""
    return _items(_lines(predictions_file(run, "dev")), data, task)


def _lines(file: Path) -> Predictions:
    return [json.loads(line) for line in check(file).read_bytes().splitlines()]  # at line feeds only


def _items(lines: Predictions, data: TaskData, task: TaskConfig) -> ScoredItems:
    labels = data.labels or tuple(map(str, range(task.num_labels)))
    task = replace(task, num_labels=task.num_labels or len(labels))
    head, pairs = heads.load(task.head), metrics.matched(data.dev, lines)
    table, metric = head.rows(task, pairs), task.metric.removeprefix("best_")
    points = head.points(metric, table)
    items = [item for item, _ in pairs]
    return ScoredItems(
        ids=tuple(item.id for item in items),
        table=table if points is None else points,
        score=(lambda rows: head.scores(task, rows)[metric]) if points is None else mean,
        right=head.right(table),
        predictions=[prediction["prediction"] for _, prediction in pairs],
        said_of=lambda i: in_words(items[i], pairs[i][1]["prediction"], labels),
        gold_of=lambda i: in_words(items[i], items[i].gold, labels),
        texts_of=lambda i: texts_of(items[i], head.fields),
    )


def _data(config: Config) -> TaskData:
    """Return the task's items as they were finetuned on. Raises ConfigError, also when the corpus is not prepared."""
    corpus = Path()
    if families.get(config.task.family).files is None:
        found = find_embedded(config)
        if found is None:
            raise ConfigError(f"{config.task.name}: its corpus is not in {config.paths.cache}/corpus")
        corpus = found
    return _data_once(_Task(config.task), corpus)


class _Task:
    """A task's config as a key: equal where all that reading depends on is equal."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config
        same = replace(config, stands_for="", caution="")
        self.text = f"{same!r} {fingerprints.hash_task_files(config)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Task) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@cache
def _data_once(task: _Task, corpus: Path) -> TaskData:
    return replace(families.load(task.config, corpus), train=())  # which nobody here reads


# ---------------------------------------------------------------- minimal pairs
def _compared(lines: Predictions, task: TaskConfig) -> ScoredItems:
    """Return the pairs of an evaluation. A resample draws pairs of all paradigms; on all pairs the score is the run's."""
    read = _pairs_once(_Task(task))
    if [line["id"] for line in lines] != [pair.id for pair in read.pairs]:
        raise ValueError("other pairs")
    both = np.array([(line["good"], line["bad"]) for line in lines], np.float64)  # None: nan
    points, pairs = points_of(*both.T), read.pairs
    preferred = ["neither" if p == 0.5 else pair.good if p else pair.bad for p, pair in zip(points, pairs, strict=True)]
    return ScoredItems(
        ids=tuple(pair.id for pair in pairs),
        table=read.weighted(points),
        score=mean,
        right=points == 1,
        predictions=preferred,
        said_of=lambda i: preferred[i],
        gold_of=lambda i: pairs[i].good,
        texts_of=lambda i: {"good": pairs[i].good, "bad": pairs[i].bad},
    )


@cache
def _pairs_once(task: _Task) -> Pairs:
    found = zero_shot.get(task.config.family).read(task.config)
    if not isinstance(found, Pairs):
        raise ConfigError(f"items of {task.config.family} are not read again")
    return found
