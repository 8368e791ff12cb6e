"""Runs and tables are called by what tells them from others."""

import itertools

import pytest

from roberta_lab.runs import names
from roberta_lab.runs.overrides import parse


def test_runs_are_told_apart_by_what_differs_and_by_nothing_else() -> None:
    common = ["model=tiny", "trainer.jobs=2", "paths.outputs=x"]
    runs = [
        parse([*common, f"batch_size.peak_lr={rate}", f"seed={seed}", f"logger.project=p{seed}"])
        for rate, seed in itertools.product(("1e-3", "3e-3"), (1, 2))
    ]
    assert names.told_apart(runs) == ["peak_lr=1e-3"] * 2 + ["peak_lr=3e-3"] * 2
    assert names.told_apart(runs[:2]) == ["", ""]


def test_what_a_run_leaves_out_is_the_usual_option() -> None:
    runs = [parse(["masking=static"]), parse([]), parse(["masking.mask_prob=0.2"])]
    assert names.told_apart(runs) == [
        "masking=static, mask_prob=default",
        "masking=dynamic, mask_prob=default",
        "masking=dynamic, mask_prob=0.2",
    ]


def test_the_usual_option_typed_or_not_is_the_same() -> None:
    assert names.told_apart([parse(["masking=dynamic"]), parse([])]) == ["", ""]


def test_values_that_mean_the_same_are_not_told_apart() -> None:
    runs = [parse([f"batch_size.peak_lr={rate}", f"seed={i}"]) for i, rate in enumerate(("1e-3", "0.001", "1.0e-3"))]
    assert names.told_apart(runs) == ["", "", ""]
    assert names.told_apart([*runs, parse(["batch_size.peak_lr=2e-3"])]) == ["peak_lr=1e-3"] * 3 + ["peak_lr=2e-3"]


def test_settings_of_tasks_count_among_runs_of_one_task() -> None:
    runs = [["task=mnli", "task.path=GLUE/MNLI"], ["task=rte", "task.path=GLUE/RTE"]]
    assert names.told_apart([*map(parse, runs)]) == ["", ""]
    assert names.told_apart([*map(parse, runs), parse(["task=rte", "task.path=mine"])]) == [
        "path=GLUE/MNLI",
        "path=GLUE/RTE",
        "path=mine",
    ]


def test_a_row_beside_a_run_of_no_sweep_is_called_by_its_settings() -> None:
    runs = [["masking=static", "sweep.row=static"], ["masking=dynamic", "sweep.row=dynamic"], ["masking=span"]]
    assert names.told_apart([*map(parse, runs)]) == ["masking=static", "masking=dynamic", "masking=span"]


def test_keys_that_end_alike_are_shown_in_full() -> None:
    runs = [parse(["model.dropout=0", "finetune.dropout=0"]), parse(["model.dropout=0.1", "finetune.dropout=0.1"])]
    assert names.told_apart(runs)[0] == "model.dropout=0, finetune.dropout=0"


def test_a_row_of_a_sweep_has_its_name_and_more_only_among_its_own() -> None:
    rows = [
        ["masking=static", "sweep.row=static", "batch_size.steps=30"],
        ["masking=static", "sweep.row=static", "batch_size.steps=40"],
        ["masking=dynamic", "sweep.row=dynamic", "batch_size.steps=30"],
    ]
    assert names.told_apart([*map(parse, rows)]) == ["static, steps=30", "static, steps=40", "dynamic"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], "smoke"),
        (["seed=3", "sweep.seeds=[1,2,3]", "sweep.finetune_seeds=[1]", "trainer.jobs=2", "scale=smoke"], "smoke"),
        (["reproduce.until=0.1", "paths.outputs=elsewhere", "logger.wandb=off", "plan.devices=3"], "smoke"),
        (["slurm=one_gpu", "slurm.time=1:00:00", "slurm_light.cpus=2"], "smoke"),
        (["batch_size.steps=20"], "smoke--batch_size.steps=20"),
        (["sweep.only=[dynamic]", "model=tiny"], "smoke--model=tiny--sweep.only=dynamic"),
        (["evaluate.within_word=l2r"], "smoke--evaluate.within_word=l2r"),
        (
            ["data_mix.wikipedia.path=wiki", "masking.mask_prob=0.2", "finetune.lr=1e-5", "task.path=GLUE"],
            "smoke--finetune.lr=1e-05--masking.mask_prob=0.2--data_mix.wikipedia.path=wiki--task.path=GLUE",
        ),
    ],
)
def test_a_folder_is_named_by_what_changes_its_table(words: list[str], name: str) -> None:
    assert names.folder_name("smoke", names.settings_of(parse(words))) == name


def test_different_settings_never_share_a_folder() -> None:
    """Also when what is left out of the name, or what no folder may be called, is all that differs; names stay short."""
    texts = [
        *(
            "a/books",
            "b/books",
            "books",
            "c d",
            "c_d",
            "c/../d",
            "x" * 300,
            "x" * 301,
            "=cmd",
            "..",
            "a--seed=1",
            "\u4e2d\u6587",
        ),
        *("e\u0301", "\u00e9"),
    ]
    words = [[f"data_mix.own.path='{text}'"] for text in texts]
    words += [["masking.mask_prob=0.2"], ["masking.mask_prob=0.2", "model=tiny"], ["~data_mix.own"]]
    found = [names.folder_name("smoke", names.settings_of(parse(own))) for own in words]
    assert len({*found}) == len(words)
    assert all(len(name) < 120 and "/" not in name and name.startswith("smoke--") for name in found)


def test_a_single_run_is_called_by_what_was_typed_if_that_is_little() -> None:
    assert names.typed(parse(["masking=static", "seed=4", "batch_size.peak_lr=3e-3", "trainer.jobs=2"])) == [
        "peak_lr=3e-3"
    ]
    many = [f"model.{key}=2" for key in ("layers", "hidden", "heads", "ffn", "dropout")]
    assert names.typed(parse(many)) == ["layers=2", "hidden=2", "heads=2", "2 more settings"]
