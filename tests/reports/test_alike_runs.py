"""What rows and columns share, and what does not compare: same runs in several columns, other dev items, models at chance."""

from dataclasses import replace
from typing import Any

import pytest
from report_runs import changed, composed, finetuned

from roberta_lab.config import ClaimConfig, SweepConfig, TaskConfig
from roberta_lab.reports.statistics.multi_bootstrap import SeedsAndItems
from roberta_lab.reports.table.assembly import assemble
from roberta_lab.reports.table.comparing import with_items
from roberta_lab.reports.table.differences import Outcome as Seen
from roberta_lab.reports.table.first_sentence import first_sentence
from roberta_lab.reports.table.rows import Record, Table
from roberta_lab.reports.table.verdict import Outcome

A, B = (60.0, 62.0, 61.0), (64.0, 66.9, 65.2)
CLAIM = ClaimConfig(row="b", over="a", direction="better", columns=["mnli"], margin=0.5)


def runs(task: str, **rows: tuple[float | None, ...]) -> list[Record]:
    """Runs of a task, one a pretraining seed; None is a missing one."""
    return [
        replace(finetuned(row, task, 1, score), seed=seed, run_id=f"{row}-{task}-{seed}")
        for row, scores in rows.items()
        for seed, score in enumerate(scores, 1)
    ]


def table(found: list[Record], tasks: list[str], *claims: ClaimConfig, **more: Any) -> Table:
    rows = {row: [f"seed={i}"] for i, row in enumerate(dict.fromkeys(run.row for run in found))}
    sweep = SweepConfig(name="t", title="T", question="Q?", rows=rows, tasks=tasks, claims=[*claims], **more)
    return assemble(sweep, "smoke", found)


def shared(*tasks: str) -> list[Record]:
    """Runs of one stand-in that several columns show."""
    return [replace(run, task=task, run_id=f"{run.row}-{run.seed}") for task in tasks for run in runs("x", a=A, b=B)]


def test_columns_of_the_same_runs_are_one_test() -> None:
    """However many columns a stand-in fills: p is the same, and so is the verdict on a claim in each of them."""
    alone = table(shared("mnli"), ["mnli"], CLAIM)
    [_, row] = alone.rows
    [cell] = row.cells
    assert cell.difference is not None and alone.verdicts[0].found is not None
    tasks = ["mnli", "qnli", "rte"]
    many = table(shared(*tasks), tasks, replace(CLAIM, columns=tasks))
    for other in many.rows[1].cells:
        assert other.difference is not None
        assert (other.difference.p_holm, other.difference.num_tests) == (cell.difference.p_holm, 1)
    assert {verdict.found for verdict in many.verdicts} == {alone.verdicts[0].found}
    apart = table([run for task in tasks for run in runs(task, a=A, b=B)], tasks)  # as many runs as columns
    assert [c.difference.num_tests for c in apart.rows[1].cells if c.difference is not None] == [3, 3, 3]


def test_columns_of_the_same_runs_have_the_same_interval_over_items() -> None:
    items = SeedsAndItems(4.0, 1.0, 7.0, 1000, 3, 400)
    found = with_items(table(shared("mnli", "rte"), ["mnli", "rte"]), {"b": {"rte": items}})
    assert [c.difference.items for c in found.rows[1].cells if c.difference is not None] == [items, items]


def test_no_figure_of_a_model_at_chance_is_tested() -> None:
    """RACE's halves are figures beside its accuracy: of a useless model they say no more than that."""
    found = [
        changed(run, at_chance=True, metrics={"accuracy_middle": 27 + run.seed + 9 * (run.row == "b"), "accuracy_high": 25})
        for run in runs("race", a=(26.0, 27.0, 25.5), b=(26.1, 26.7, 25.9))
    ]  # fmt: skip
    claim = replace(CLAIM, columns=["race", "race_middle_acc"])
    made = table(found, ["race"], claim, published="table7_race")
    assert len(made.columns) == 3
    for cell in made.rows[1].cells:
        assert cell.difference is not None and cell.difference.outcome is Seen.UNTESTED and "at chance" in cell.marks
    assert [verdict.outcome for verdict in made.verdicts] == [Outcome.NOT_TESTABLE] * 2


@pytest.mark.parametrize(
    ("fields", "mark"), [({"metric": "f1"}, "another metric"), ({"num_dev": 1725}, "other dev items")]
)
def test_scores_of_other_items_or_metrics_do_not_compare(fields: dict[str, Any], mark: str) -> None:
    """With the reference; two rows that are alike in it compare with each other."""
    rows = {"a": A, "b": B, "c": (70.1, 72.8, 71.2)}
    found = [changed(run, **fields) if run.row != "a" else run for run in runs("mrpc", **rows)]
    between = replace(CLAIM, row="c", over="b", columns=["mrpc"])
    made = table(found, ["mrpc"], replace(CLAIM, columns=["mrpc"]), between)
    for row in made.rows[1:]:
        [cell] = row.cells
        assert cell.difference is not None and cell.difference.outcome is Seen.UNTESTED
        assert any(mark in one for one in cell.marks)
    assert [verdict.outcome for verdict in made.verdicts] == [Outcome.NOT_TESTABLE, Outcome.HOLDS]
    assert "only a has a figure that counts" in first_sentence(made)


def test_tasks_that_one_scale_alone_has_are_columns() -> None:
    made = table(runs("sst2", a=A, b=B), ["mnli"], replace(CLAIM, columns=["sst2"]))
    assert [column.task for column in made.columns] == ["sst2"] and made.left_out == ("mnli",)
    assert made.verdicts[0].outcome is Outcome.HOLDS


def test_a_stand_in_is_one_before_its_first_result() -> None:
    """The paper's values are of another task: they stand apart, as they do later."""
    asked = replace(composed({}), task=TaskConfig("pydoc_pair", "pydoc", "classification"))
    found = [replace(run, config=asked) for run in runs("mnli", a=(None,), b=(None,))]
    made = table(found, ["mnli"], published="table8_glue_by_config")
    assert made.columns[0].stand_in == "pydoc_pair"
    assert not any(any(values) for values in made.published_only.values()) and any(made.published_apart.values())


def test_runs_of_several_pretrainings_are_not_called_one() -> None:
    """Whichever of the rows ends best."""
    for lacks, has in (("a", "b"), ("b", "a")):
        found = runs("sst2", **dict(sorted({lacks: (60.0,), has: (63.0, 64.0, 65.0)}.items())))
        said = first_sentence(table(found, ["sst2"]))
        assert "of which one is in both rows" in said and "of one pretraining" not in said
