"""Tidy frames of sweeps: a row for each run and metric, as files that read back the same; what cannot be meant is one line."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import composed_jobs
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from report_runs import SWEEP, changed, config, finetuned, pretrained, write_run

import roberta_lab
from roberta_lab.config import ConfigError, Damaged
from roberta_lab.reports import tidy
from roberta_lab.reports.table.files import write_table
from roberta_lab.reports.table.rows import Record
from roberta_lab.runs.jobs import jobs_of
from roberta_lab.runs.overrides import parse

pytestmark = pytest.mark.usefixtures("composing")

ROWS = {
    "static": ["masking=static", "masking.num_patterns=2"],
    "dynamic": ["masking=dynamic", "masking.mask_prob=0.4", "model=large"],
}
RATES = replace(SWEEP, name="rates", base=["model=base", "seed=1"], rows=ROWS, tasks=["mnli"])


@pytest.fixture(scope="module")
def found(composing: None) -> list[Record]:
    """Three complete runs and one that is missing; each with its row's config."""
    configs = {row: composed_jobs.config(*own) for row, own in ROWS.items()}
    tuned = finetuned("dynamic", "mnli", 2, 61.5, others={"dev_mm": {"accuracy": 60.5}}, metrics={"accuracy": 61.5})
    records = [
        pretrained("static", 9.0, **{"val/mlm_loss": 2.2}),
        pretrained("dynamic", 7.0),
        changed(tuned, at_chance=True),
        finetuned("dynamic", "mnli", 3, None),
    ]
    return [replace(record, config=configs[record.row]) for record in records]


@pytest.fixture
def frame(found: list[Record], tmp_path: Path) -> pd.DataFrame:
    return tidy.frame(config(RATES, tmp_path), found)


def test_the_settings_of_a_searched_grid_are_columns(found: list[Record], tmp_path: Path) -> None:
    [first] = [record for record in found if record.finetune_seed == 2]
    assert first.config is not None
    tunes = [replace(first.config.finetune, lr=lr, grid={"lr": [1e-5, 2e-5]}) for lr in (1e-5, 2e-5)]
    runs = [
        replace(first, setting=str(t.lr), run_id=str(t.lr), config=replace(first.config, finetune=t)) for t in tunes
    ]
    frame = tidy.frame(config(RATES, tmp_path), runs)
    assert dict(zip(frame.run_id, frame["finetune.lr"], strict=True)) == {"1e-05": 1e-5, "2e-05": 2e-5}


def test_a_row_is_a_run_and_a_metric(frame: pd.DataFrame) -> None:
    assert list(frame.columns) == [*tidy.COLUMNS, "masking", "masking.num_patterns", "masking.mask_prob", "model"]
    assert frame.dtypes[[*tidy.COLUMNS]].astype(str).to_dict() == tidy.COLUMNS
    assert not frame.duplicated(["row", "run_id", "metric"]).any()
    assert set(frame.run_id) == {"p-static-1", "p-dynamic-1", "f-dynamic-mnli-2"}, "the missing run is left out"
    values = {run: dict(zip(part.metric, part.value, strict=True)) for run, part in frame.groupby("run_id")}
    figures = {"unigram_ppl": 700.0, "tokens_seen": 2000000, "epochs": 40.0, "seconds": 1.0}
    assert values["p-static-1"] == {"val/ppl": 9.0, "val/mlm_loss": 2.2, **figures}
    scores = {"score": 61.5, "majority": 50.0, "accuracy": 61.5, "dev_mm/accuracy": 60.5}
    assert values["f-dynamic-mnli-2"] == {**scores, "best_epoch": 1, "seconds": 1.0}


def test_each_row_says_which_run_it_is_of(frame: pd.DataFrame) -> None:
    same = [name for name in tidy.COLUMNS if name not in ("metric", "value")]
    [tuned] = frame[frame.kind == "finetune"][same].drop_duplicates().to_dict("records")
    expected = [
        "rates",
        "smoke",
        "dynamic",
        "finetune",
        1,
        "mnli",
        "pydoc_mnli",
        2,
        "f-dynamic-mnli-2",
        "at chance",
        None,
    ]
    assert tuned | {"cut": None} == dict(zip(same, expected, strict=True)) and pd.isna(tuned["cut"])
    pretraining = frame[frame.kind == "pretrain"]
    assert pretraining[["task", "stand_in", "finetune_seed", "marks", "cut"]].isna().all(axis=None)


def test_settings_are_of_row_or_base_and_what_a_run_does_not_read_is_missing(frame: pd.DataFrame) -> None:
    """`masking.num_patterns` of a dynamic row would stand in a plot beside static ones of the same number."""
    settings = ["model", "masking", "masking.num_patterns", "masking.mask_prob"]
    lines = {row: part[settings].drop_duplicates().values.tolist() for row, part in frame.groupby("row")}
    assert lines == {"static": [["base", "static", 2, 0.15]], "dynamic": [["large", "dynamic", pd.NA, 0.4]]}


@pytest.mark.parametrize(
    ("sweep", "key", "values"),
    [
        ("nsp_weight", "nsp.weight", {"0": None, "0.5": 0.5, "1": 1.0, "2": 2.0}),
        ("span_masking", "masking.positions", {"whole_words": "whole_words"}),
        ("masking_rate", "masking.mask_prob", {"15%": 0.15, "40%": 0.4}),
    ],
)
def test_settings_of_shipped_sweeps_have_their_values(sweep: str, key: str, values: dict[str, object]) -> None:
    chosen = composed_jobs.config(f"sweep={sweep}").sweep
    assert chosen is not None
    rows = {job.row: job.config for job in jobs_of("pretrain", parse([f"sweep={sweep}", "sweep.seeds=[1]"]))}
    found = {row: tidy._setting(key, chosen, replace(pretrained(row, 5.0), config=rows[row])) for row in values}
    assert found == values


def test_the_files_read_back_as_the_frame(frame: pd.DataFrame) -> None:
    files = tidy.forms(frame)
    assert [*files] == ["results.csv", "results.parquet"]
    text, data = files["results.csv"], files["results.parquet"]
    assert isinstance(text, str) and isinstance(data, bytes)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text), dtype=frame.dtypes.to_dict()), frame)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(data)), frame)


def test_without_pyarrow_there_is_no_parquet_and_no_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [write_run(tmp_path, pretrained(row, 5.0), {"masking": {"name": row}}) for row in ("static", "dynamic")]
    own, folder = config(replace(SWEEP, tasks=[]), tmp_path), tmp_path / "tables" / "t" / "smoke"
    folder.mkdir(parents=True)
    _, files = write_table(own, runs, folder)
    written = pd.read_parquet(folder / "results.parquet")
    assert {"results.csv", "results.parquet"} <= {file.name for file in files}
    pd.testing.assert_frame_equal(written, tidy.frame(own, runs))
    before = (folder / "results.csv").read_text()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    _, files = write_table(own, runs, folder)
    assert "results.parquet" not in {file.name for file in files} | {file.name for file in folder.iterdir()}
    assert (folder / "results.csv").read_text() == before
    assert "results.parquet" not in (folder / "index.html").read_text()


def test_without_a_complete_run_the_frame_is_empty_with_the_same_columns(frame: pd.DataFrame, tmp_path: Path) -> None:
    empty = tidy.frame(config(RATES, tmp_path), [])
    assert empty.empty and list(empty.columns) == list(frame.columns)
    assert empty.dtypes[[*tidy.COLUMNS]].astype(str).to_dict() == tidy.COLUMNS
    assert tidy.forms(empty)["results.csv"] == ",".join(frame.columns) + "\n"


# ---------------------------------------------------------------- in a notebook
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"sweep": "table1"}, ["sweep=table1", "'table1_masking'"]),
        ({"scale": "smok"}, ["scale=smok", "'smoke'", "Allowed: "]),
        ({"overrides": ["masking=static"]}, ["masking=static", "sweep.only"]),
        ({"overrides": ["seed=["]}, ["seed=[", "Allowed: key=value"]),
        ({"overrides": ["optimizer.beta1=much"]}, ["optimizer.beta1=much", "a number"]),
        ({"outputs": "nowhere"}, ["outputs=nowhere: no such folder"]),
    ],
)
def test_a_mistake_is_one_line(arguments: dict, parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        roberta_lab.results(**{"sweep": "table1_masking", "outputs": tmp_path, **arguments})
    assert "\n" not in str(error.value) and all(part in str(error.value) for part in parts), error.value


def test_a_damaged_result_is_an_error_and_hydra_is_left_as_it_was(tmp_path: Path) -> None:
    """A notebook may use Hydra itself, and asks several times."""
    only = ["sweep.only=[static]", "sweep.tasks=[]", "sweep.seeds=[1]"]
    own = GlobalHydra.instance().hydra
    for _ in range(2):
        assert roberta_lab.results("table1_masking", outputs=tmp_path, overrides=only).empty
        assert GlobalHydra.instance().hydra is own is not None
    words = ["sweep=table1_masking", f"paths.outputs={tmp_path}", *only]
    [run] = [job.path for job in jobs_of("pretrain", parse(words))]
    run.mkdir(parents=True)
    (run / "result.json").write_text("{")
    with pytest.raises(Damaged, match=r"result\.json cannot be read .*; delete it"):
        roberta_lab.results("table1_masking", outputs=tmp_path, overrides=only)


def test_several_sweeps_stand_in_one_frame(tmp_path: Path) -> None:
    both = roberta_lab.results(["table1_masking", "masking_rate"], outputs=tmp_path, overrides=["sweep.tasks=[]"])
    assert list(both.columns) == [*tidy.COLUMNS, "masking", "masking.num_patterns", "masking.mask_prob"]


def test_a_setting_that_every_frame_has_is_no_second_column(tmp_path: Path) -> None:
    sweep = replace(SWEEP, rows={"static": ["scale=smoke", "seed=3"], "dynamic": []})
    frame = tidy.frame(config(sweep, tmp_path), [pretrained("static", 3.0)])
    assert [*frame.columns] == [*tidy.COLUMNS] and set(frame["seed"]) == {1}
