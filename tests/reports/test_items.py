"""Dev items with their predictions: points and right items of every head, minimal pairs, and what cannot be read again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_results import finetuned

from roberta_lab.config import Config, DataMixConfig, PathsConfig, TaskConfig
from roberta_lab.reports.items import scored_items
from roberta_lab.reports.statistics.multi_bootstrap import mean
from roberta_lab.runs.results import RunResult
from roberta_lab.tasks import heads
from roberta_lab.tasks.items import Choice, Item, Span, Tagging, TextItem
from roberta_lab.tasks.result import EvaluationResult

TEXT = [TextItem(str(i), f"text {i}", None, gold) for i, gold in enumerate((0, 1, 1))]
CHOICES = [Choice(str(i), "a text", ("yes", "no"), gold) for i, gold in enumerate((0, 1, 1))]
SPANS = [Span("0", "Who?", "Ann and Bob", (0, 3)), Span("1", "Where?", "Ann and Bob", None), Span("2", "And?", "Ann and Bob", (8, 11))]  # fmt: skip
TAGS = [Tagging("0", ("Ann", "ran"), (1, 0)), Tagging("1", ("Bob",), (1,)), Tagging("2", ("we", "sat"), (0, 0))]


@pytest.mark.parametrize(
    ("head", "items", "said", "right"),
    [
        ("classification", TEXT, [0, 0, 1], [True, False, True]),
        ("choice", CHOICES, [1, 1, 0], [False, True, False]),
        ("span", SPANS, ["Ann and", "", "Bob"], [False, True, True]),
        ("tagging", TAGS, [[1, 0], [0], [0, 1]], [True, False, False]),
        ("regression", TEXT, [0.1, 0.9, 1.0], None),
    ],
)
def test_points_are_those_of_the_score(head: str, items: list[Item], said: list[Any], right: list[bool] | None) -> None:
    kind, task = heads.load(head), TaskConfig(name="t", family="glue", head=head, num_labels=2)
    pairs = [(item, {"id": item.id, "prediction": value}) for item, value in zip(items, said, strict=True)]
    table = kind.rows(task, pairs)
    found = kind.right(table)
    assert (None if found is None else found.tolist()) == right
    scores, with_points = kind.scores(task, table), set()
    for metric in heads.HEADS[head].metrics:
        points = kind.points(metric, table)
        if points is not None:
            assert points.shape == (3,) and points.mean() == pytest.approx(scores[metric])
            with_points.add(metric)
    means = {"classification": {"accuracy"}, "choice": {"accuracy"}, "span": {"em", "exact", "f1"}}
    assert with_points == means.get(head, set())


def evaluation(score: float, number: int) -> RunResult:
    common = {"task": "blimp", "stands_for": "", "caution": "", "metric": "accuracy", "majority": 50.0, "metrics": {}}
    found = EvaluationResult(
        **common, score=score, at_chance=False, num_dev=number, low=0, high=100, items_per_second=1
    )
    return RunResult("e", "e", 1.0, found)


def test_minimal_pairs_score_the_mean_over_paradigms(tmp_path: Path) -> None:
    """Three pairs of one paradigm, one of another; a tie and a pair that was not read count half."""
    (tmp_path / "pairs").mkdir()
    for name, number in (("order", 3), ("agreement", 1)):
        rows = [{"sentence_good": f"good {name} {i}", "sentence_bad": f"bad {name} {i}"} for i in range(number)]
        (tmp_path / "pairs" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ids = ["agreement/1", "order/1", "order/2", "order/3"]
    both = [(-1.0, -1.0), (-1.0, -2.0), (-2.0, -1.0), (None, None)]
    lines = [{"id": i, "paradigm": "x", "good": g, "bad": b} for i, (g, b) in zip(ids, both, strict=True)]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = TaskConfig("blimp", "minimal_pairs", "mlm", 0, "accuracy", path=str(tmp_path / "pairs"))
    found, why = scored_items(tmp_path, evaluation((50 + 50) / 2, 4), Config(task=task))
    assert found is not None and not why
    assert found.score is mean and found.score(found.table) == pytest.approx(50.0)
    assert found.right is not None and found.right.tolist() == [False, True, False, False]
    assert (
        found.predictions == ["neither", "good order 0", "bad order 1", "neither"] and found.said_of(2) == "bad order 1"
    )
    assert found.gold_of(1) == "good order 0" and found.texts_of(2)["bad"] == "bad order 1"
    found, why = scored_items(tmp_path, evaluation(60.0, 4), Config(task=task))
    assert found is None and "now scores 50.00, not 60.00" in why


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    task = TaskConfig("pydoc_topic", "pydoc", "classification", 4, "accuracy")
    config = Config(task=task, data_mix=DataMixConfig(), paths=PathsConfig(str(tmp_path), str(tmp_path / "cache")))
    result = finetuned(task="pydoc_topic")
    assert scored_items(tmp_path, result, config)[1] == f"{tmp_path / 'predictions.jsonl'} is not there"
    (tmp_path / "predictions.jsonl").write_text('{"id": "1", "prediction": 0}\n')
    assert scored_items(tmp_path, result, config)[1] == f"pydoc_topic: its corpus is not in {tmp_path}/cache/corpus"
    assert not (tmp_path / "cache").exists(), "nothing is prepared"
    gone = replace(config, task=replace(task, name="sst2", family="glue", path=str(tmp_path / "gone")))
    found, why = scored_items(tmp_path, result, gone)
    assert found is None and "gone" in why and "\n" not in why


def test_a_correlation_is_scored_on_resampled_rows() -> None:
    kind, task = heads.load("regression"), TaskConfig(name="stsb", family="glue", head="regression", metric="pearson")
    table = np.random.default_rng(0).normal(size=(50, 2))
    expected = 100 * np.corrcoef(table[:30].T)[0, 1]
    assert kind.points("pearson", table) is None and kind.scores(task, table[:30])["pearson"] == pytest.approx(expected)
