"""The whole way at a size of seconds: text, tokenizer, store, two rows, finetuning, table; again it trains nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib import pyplot
from small_run import SMALL, WHOLE, own_text, small_source, wait_for_a_new_checkpoint  # noqa: F401 (a fixture)

import roberta_lab
from roberta_lab.cli import main
from roberta_lab.data.corpus.sources import pydoc
from roberta_lab.reports.figures import drawing

# spans of squad2 are finetuned by a command of their own below
TABLE = [*SMALL, "sweep.seeds=[1]", "sweep.tasks=[mnli,sst2]", "sweep.finetune_seeds=[1,2,3]"]


@pytest.mark.usefixtures("small_source")
def test_a_table_from_text_and_again_from_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["reproduce", "sweep=table1_masking", *TABLE]
    assert main.main(command) == 0
    [folder] = (tmp_path / "outputs" / "tables" / "table1_masking").iterdir()
    written = {"table.md", "table.csv", "table.tex", "tabular.tex", "table.json", "index.html", "figures", "diffs"}
    written |= {"results.csv", "results.parquet"}
    assert {p.name for p in folder.iterdir()} == written and (tmp_path / "outputs" / "index.html").is_file()
    results = [json.loads(p.read_text()) for p in (tmp_path / "outputs").rglob("result.json")]
    assert sorted(r["kind"] for r in results) == ["finetune"] * 12 + ["pretrain"] * 2
    assert len({r["tokens_seen"] for r in results if r["kind"] == "pretrain"}) == 1, "both rows saw as many tokens"
    for path in (tmp_path / "outputs" / "pretrain").iterdir():
        names = {p.name for p in path.iterdir()}
        assert {
            "config.yaml",
            "overrides.yaml",
            "provenance.json",
            "metrics.jsonl",
            "metrics.csv",
            "result.json",
        } <= names
    for link in [line for line in (folder / "table.md").read_text().split("](")[1:]]:
        assert (folder / link.split(")")[0]).exists()
    expect_results(tmp_path / "outputs", folder)
    expect_the_lines_of_the_readme_work(monkeypatch)
    capsys.readouterr()
    before = {
        p: p.stat().st_mtime_ns for p in (tmp_path / "outputs").rglob("*") if p.is_file() and folder not in p.parents
    }
    monkeypatch.setattr(drawing, "files", lambda figure: {})  # the same pictures again
    assert main.main(command) == 0
    said = capsys.readouterr().out
    assert "nothing is missing" in said and "0 pretrain, 0 finetune runs trained, 14 were there" in said
    after = {p: p.stat().st_mtime_ns for p in before}
    assert before == after, "nothing was trained or written again"


def expect_results(outputs: Path, folder: Path) -> None:
    """A notebook gets what the runs noted, what the table shows, and what lies beside it."""
    found = roberta_lab.results("table1_masking", outputs=outputs, overrides=TABLE)
    assert found.run_id.nunique() == 14
    for (kind, run_id), part in found.groupby(["kind", "run_id"]):
        run, noted = (
            roberta_lab.load_run(str(run_id), outputs),
            json.loads((outputs / kind / run_id / "result.json").read_text()),
        )
        assert (
            (run.id, run.kind) == (run_id, kind)
            and run.result is not None
            and json.loads(json.dumps(run.result.to_json())) == noted
        )
        noted |= noted.pop("metrics", {})
        assert {row.metric: row.value for row in part.itertuples()} == {name: noted[name] for name in part.metric}
    median = found.groupby(["row", "task", "metric"], dropna=False).value.median()
    cells = pd.read_csv(folder / "table.csv")
    for cell in cells[cells.metric.isin(["ppl", "bits_per_byte"])].itertuples():
        name = {"ppl": "val/ppl", "bits_per_byte": "val/bits_per_nonspace_byte"}[cell.metric]
        assert found[(found.row == cell.row) & (found.metric == name)].value.median() == cell.median
    for (row, task), value in median.xs("score", level="metric").items():
        [cell] = cells[(cells.row == row) & (cells.column == task) & cells.majority.notna()].head(1).itertuples()
        assert value == cell.median and cell.n == 3
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "results.parquet"), found)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "results.csv", dtype=found.dtypes.to_dict()), found)


def expect_the_lines_of_the_readme_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the outputs; only these runs were made with overrides."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    lines = readme.split("    import roberta_lab\n")[1].split("\n\n")[0]
    results = partial(roberta_lab.results, overrides=TABLE)
    monkeypatch.setattr(roberta_lab, "results", results, raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {"roberta_lab": roberta_lab}
    exec(textwrap.dedent(lines), names)
    assert names["run"].id == names["found"].run_id[0] and len(names["found"]) > 100
    pyplot.close("all")


@pytest.mark.usefixtures("small_source")
def test_single_commands_address_the_same_runs_and_missing_ones_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["table", "sweep=table1_masking", *WHOLE, *SMALL]) == 0
    assert "20 of 20 runs are missing: roberta-lab reproduce sweep=table1_masking" in capsys.readouterr().out
    assert main.main(["finetune", "masking=static", *SMALL]) == 2 and not list(
        (tmp_path / "outputs").glob("finetune/*")
    )
    (tmp_path / "empty").mkdir()
    with contextlib.chdir(tmp_path / "empty"):
        assert main.main(["export", "masking=static", f"paths.outputs={tmp_path}/outputs", *SMALL]) == 2
    assert (tmp_path / "empty").is_dir()
    assert main.main(["pretrain", "masking=static", *SMALL]) == 0
    assert main.main(["finetune", "masking=static", "task=pydoc_span", "finetune.seed=2", *SMALL]) == 0
    assert re.search(
        r"^pydoc_span: \d+ train, \d+ dev items, of at most 32 tokens: ", capsys.readouterr().out, re.MULTILINE
    )
    assert main.main(["table", "sweep=table1_masking", *WHOLE, *SMALL]) == 0
    said = capsys.readouterr().out
    assert "18 of 20 runs are missing" in said and "2 of 3 runs missing" in said
    assert main.main(["inspect", "inspect.examples=2", *SMALL]) == 0
    shown = capsys.readouterr().out
    assert shown.count("example ") == 2 and "NSP label" in shown and "<mask>[" in shown


@pytest.mark.usefixtures("small_source")
def test_finetuning_starts_from_the_final_weights_and_the_same_data_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune = ["finetune", "task=pydoc_span", *SMALL]
    assert main.main(["pretrain", *SMALL]) == 0
    with monkeypatch.context() as other:
        changed = [replace(r, text=r.text.replace("value", "worth")) for r in pydoc.docstrings(0, 1)]
        other.setattr(pydoc, "docstrings", lambda part, parts: iter(changed if part == 0 else []))
        other.setattr(pydoc, "fingerprint", lambda: {"numpy": "another"})
        assert main.main(finetune) == 2 and "other data" in capsys.readouterr().err
    [last] = (tmp_path / "outputs" / "pretrain").rglob("step-000000024.ckpt")
    last.write_bytes(last.read_bytes()[:-50])
    assert main.main(finetune) == 1 and "no whole final checkpoint" in capsys.readouterr().err


def long_run(outputs: Path, cache: Path) -> list[str]:
    """The arguments of a command whose run is long enough to be interrupted twice."""
    small = [o for o in SMALL if not o.startswith(("batch_size.steps", "trainer.checkpoint_every_steps"))]
    longer = ["batch_size.steps=200", "trainer.checkpoint_every_steps=20", "trainer.threads=1"]
    return ["pretrain", *small, *longer, *own_text(cache.parent), f"paths.outputs={outputs}", f"paths.cache={cache}"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_or_stopped_the_same_command_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    """Two real processes, one gets SIGKILL, one SIGTERM; then to the end; against a run left alone."""
    cache, metrics = tmp_path / "cache", {}
    for name, numbers in (("cut", (signal.SIGKILL, signal.SIGTERM)), ("whole", ())):
        outputs = tmp_path / name
        for number in numbers:
            known = set(outputs.rglob("step-*.ckpt"))
            command = [sys.executable, "-m", "roberta_lab", *long_run(outputs, cache)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            wait_for_a_new_checkpoint(outputs, known, process)
            process.send_signal(number)
            error = process.communicate()[1].decode()
            assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL), error
        assert main.main(long_run(outputs, cache)) == 0
        [path] = outputs.rglob("metrics.jsonl")
        metrics[name] = path.read_bytes()
    assert metrics["cut"] == metrics["whole"] and metrics["cut"].count(b'"train/mlm_loss"') == 200
