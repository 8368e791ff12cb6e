"""The whole way at a size of seconds: text, tokenizer, store, two rows, finetuning, table; again it trains nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import SMALL, small_source  # noqa: F401 (a fixture)

from roberta_lab.cli import main
from roberta_lab.data.corpus.sources import pydoc


@pytest.mark.usefixtures("small_source")
def test_a_table_from_text_and_again_from_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "sweep=table1_masking", *SMALL]
    assert main.main(command) == 0
    folder = tmp_path / "outputs" / "tables" / "table1_masking" / "smoke"
    written = {"table.md", "table.csv", "table.tex", "tabular.tex", "table.json", "index.html", "figures"}
    assert {p.name for p in folder.iterdir()} == written and (tmp_path / "outputs" / "index.html").is_file()
    results = [json.loads(p.read_text()) for p in (tmp_path / "outputs").rglob("result.json")]
    assert sorted(r["kind"] for r in results) == ["finetune"] * 18 + ["pretrain"] * 2
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
    capsys.readouterr()
    before = {
        p: p.stat().st_mtime_ns for p in (tmp_path / "outputs").rglob("*") if p.is_file() and folder not in p.parents
    }
    assert main.main(command) == 0
    said = capsys.readouterr().out
    assert "nothing is missing" in said and "0 pretrain, 0 finetune runs trained, 20 were there" in said
    after = {p: p.stat().st_mtime_ns for p in before}
    assert before == after, "nothing was trained or written again"


@pytest.mark.usefixtures("small_source")
def test_single_commands_address_the_same_runs_and_missing_ones_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["table", "sweep=table1_masking", *SMALL]) == 0
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
    assert main.main(["table", "sweep=table1_masking", *SMALL]) == 0
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
    assert main.main(finetune) == 2 and "no whole final checkpoint" in capsys.readouterr().err


def long_run(outputs: Path, cache: Path) -> list[str]:
    """The arguments of a command whose run is long enough to be interrupted twice."""
    small = [o for o in SMALL if not o.startswith(("batch_size.steps", "trainer.checkpoint_every_steps"))]
    longer = ["batch_size.steps=400", "trainer.checkpoint_every_steps=20", "trainer.threads=1"]
    return ["pretrain", *small, *longer, f"paths.outputs={outputs}", f"paths.cache={cache}"]


def wait_for_a_new_checkpoint(outputs: Path, known: set[Path], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 240
    while not set(outputs.rglob("step-*.ckpt")) - known:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_killed_or_stopped_the_same_command_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the real corpus; two real processes, one gets SIGKILL, one SIGTERM; then to the end; against a run left alone."""
    monkeypatch.chdir(tmp_path)
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
            assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL), error
        assert main.main(long_run(outputs, cache)) == 0
        [path] = outputs.rglob("metrics.jsonl")
        metrics[name] = path.read_bytes()
    assert metrics["cut"] == metrics["whole"] and metrics["cut"].count(b'"train/mlm_loss"') == 400
