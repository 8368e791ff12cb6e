"""A table of any runs: which row each of them is in, and what the rows are called."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_runs import SWEEP, config

from roberta_lab.config import FinetuneConfig, PretrainedConfig, TaskConfig
from roberta_lab.reports import grid
from roberta_lab.runs.overrides import parse


def run(run_id: str, *words: str, task: str | None = None, start: str = "run") -> grid._Noted:
    """Return a run as its folder notes it; without a task one of pretraining."""
    seeds = {o.key_or_group: int(o.value()) for o in parse(words) if o.key_or_group.endswith("seed")}  # type: ignore[arg-type]
    noted = replace(
        config(SWEEP, Path("outputs")),
        seed=seeds.get("seed", 1),
        finetune=FinetuneConfig(seed=seeds.get("finetune.seed", 1)),
        pretrained=PretrainedConfig(start=start),
        task=TaskConfig(name=task or "mnli", family="classification", metric="accuracy"),
    )
    typed = [*words, *([f"task={task}"] if task else [])]
    return grid._Noted(Path("outputs", "finetune" if task else "pretrain", run_id), noted, parse(typed))


def rows(*runs: grid._Noted) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place in grid._placed(runs):
        found.setdefault(place.row, []).append(place.run.path.name)
    return found


def test_a_pretraining_run_is_in_the_rows_of_the_runs_that_start_from_it() -> None:
    slow, fast = "batch_size.peak_lr=1e-3", "batch_size.peak_lr=3e-3"
    found = rows(
        run("a", slow),
        run("b", fast),
        run("c", fast, "seed=2"),
        *(run(f"s{lr}", slow, f"finetune.lr={lr}", task="mnli") for lr in (1, 2)),
        run("f", fast, "finetune.lr=1", task="mnli"),
        run("n", fast, "finetune.lr=1", "pretrained=none", task="mnli", start="none"),
    )
    assert found == {
        "peak_lr=1e-3, lr=1, pretrained=run": ["a", "s1"],
        "peak_lr=1e-3, lr=2, pretrained=run": ["a", "s2"],
        "peak_lr=3e-3, lr=1, pretrained=run": ["b", "c", "f"],
        "peak_lr=3e-3, lr=1, pretrained=none": ["n"],
    }


def test_runs_of_two_tasks_are_columns_of_one_row_and_seeds_are_folded() -> None:
    seeds = [("seed=1", "finetune.seed=1"), ("seed=1", "finetune.seed=2"), ("seed=2", "finetune.seed=1")]
    several = [run(f"{task}{i}", *own, task=task) for task in ("mnli", "rte") for i, own in enumerate(seeds)]
    assert rows(*several) == {grid.SAME: [one.path.name for one in several]}


def test_runs_that_settings_and_seeds_do_not_tell_apart_have_rows_of_their_own() -> None:
    """They were made of other data or by other code; in one cell one of them would be lost."""
    found = rows(run("a", "seed=1"), run("b", "seed=1"), run("c", "seed=2"))
    assert found == {f"{grid.SAME}, a": ["a"], f"{grid.SAME}, b": ["b"], grid.SAME: ["c"]}


@pytest.mark.parametrize(("key", "rows_of"), [("task.num_dev", 2), ("trainer.jobs", 1)])
def test_settings_of_the_task_tell_runs_of_one_task_apart(key: str, rows_of: int) -> None:
    assert len(rows(*(run(f"r{n}", f"{key}={n}", f"finetune.seed={n}", task="mnli") for n in (1, 2)))) == rows_of
