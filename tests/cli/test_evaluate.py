"""`evaluate`, a third kind of run: its id, what it skips and refuses, its column in a table, and scores in the course of pretraining."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from composed_jobs import config
from safetensors.torch import load_file, save_file
from small_run import SHORT, patch_source, write_pairs

import roberta_lab
from roberta_lab.cli import main
from roberta_lab.config import Config, ConfigError
from roberta_lab.model import checkpoint
from roberta_lab.reports.figures import drawing
from roberta_lab.runs import composition, identity, jobs
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register

BLIMP = ["task=blimp", "task.path=pairs"]
SWEEP = """name: own
title: A table of ours
question: Is it?
rows: {static: [masking=static], dynamic: [masking=dynamic]}
tasks: [blimp]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two paradigms and two pretraining runs, of static masking, one of which scored pairs as it went."""
    home = tmp_path_factory.mktemp("lab")
    write_pairs(home / "pairs")
    (home / "own.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch_source(patch)
        patch.chdir(home)
        every = ["evaluate.every=2", "evaluate.pairs=null"]
        assert main.main(["pretrain", "masking=static", *SHORT, *BLIMP, *every]) == 0
        plain = ["paths.outputs=plain", "paths.cache=outputs/cache"]
        assert main.main(["pretrain", "masking=static", *SHORT, *plain]) == 0
    return home


@pytest.fixture(autouse=True)
def there(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)


def evaluate(*words: str) -> int:
    return main.main(["evaluate", *SHORT, *BLIMP, *words])


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def only_run(folder: str) -> Path:
    [run] = Path(folder).glob("*/result.json")
    return run.parent


def test_scores_in_the_course_of_pretraining_change_no_bit_of_the_run() -> None:
    with_scores, plain = only_run("outputs/pretrain"), only_run("plain/pretrain")
    assert with_scores.name == plain.name, "no part of the id"
    rows, others = (lines(run / "metrics.jsonl") for run in (with_scores, plain))
    scored = [row for row in rows if "blimp/accuracy" in row]
    assert [row["step"] for row in scored] == [2, 3] and all(row.keys() == {"step", "tokens_seen", "blimp/accuracy"} for row in scored)  # fmt: skip
    assert [row for row in rows if row not in scored] == others
    ours, theirs = (checkpoint.final(run, 3)["state_dict"] for run in (with_scores, plain))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_is_scored_once_and_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("masking=static") == 0
    run = next(Path("outputs/evaluate").iterdir())
    said = capsys.readouterr().out
    assert "blimp: 24 pairs in 2 paradigms" in said and re.search(
        r"segment_pair static, .* seed 1, blimp: accuracy ", said
    )
    assert evaluate("masking=static", "batch_size.peak_lr=1e-3") == 2, "of another run, which is not there"
    assert "roberta-lab pretrain" in capsys.readouterr().err
    assert evaluate("masking=static") == 0 and "blimp: complete, outputs/evaluate/" in capsys.readouterr().out
    found = roberta_lab.load_run(run.name)
    assert (found.kind, found.result.kind) == ("evaluate", "evaluate") and found.result.pretrain_run_id == only_run(
        "outputs/pretrain"
    ).name
    score = found.result.scored.score
    assert found.result.summary().startswith(f"accuracy {score:.1f} (95% ") and ", chance " in found.result.summary()
    rows = lines(only_run("outputs/pretrain") / "metrics.jsonl")
    assert rows[-1]["blimp/accuracy"] == score, "pretraining scored the same model at its end"
    assert found.tokenizer.encode("Return the value").ids
    with pytest.raises(ConfigError, match=r"is an evaluation, which keeps no weights: load_run\('\w+'\) has those"):
        found.model  # noqa: B018
    pairs = lines(run / "predictions.jsonl")
    assert len(pairs) == 24 and pairs[0].keys() == {"id", "paradigm", "good", "bad"}
    by_hand = [100 * sum(x["good"] > x["bad"] for x in pairs if x["paradigm"] == name) / 12 for name in ("agreement", "order")]  # fmt: skip
    assert score == pytest.approx(sum(by_hand) / 2)
    values = json.loads((run / "result.json").read_text())
    assert values["kind"] == "evaluate" and values["metrics"]["field/syntax"] == pytest.approx(by_hand[1])
    assert values["low"] <= score <= values["high"] and values["at_chance"] == (values["low"] <= values["majority"])
    assert json.loads((run / "provenance.json").read_text())["attempts"][-1]["command"][:2] == [
        "roberta-lab",
        "evaluate",
    ]


def test_the_id_covers_weights_content_and_what_changes_the_score(tmp_path: Path) -> None:
    register()
    with composition.composing():
        usual = config(*SHORT, *BLIMP)

    def run_id(given: Config = usual, **parts: dict[str, object]) -> str:
        changed = {name: replace(getattr(given, name), **values) for name, values in parts.items()}
        return identity.directory(replace(given, **changed), "evaluate").name

    for name, same in (("finetune", {"lr": 1.0}), ("evaluate", {"every": 5, "pairs": 3}), ("task", {"num_train": 3, "max_length": 9})):  # fmt: skip
        assert run_id(**{name: same}) == run_id(), name
    shutil.copytree("pairs", tmp_path / "data")
    elsewhere = {"path": str(tmp_path)}
    assert run_id(task=elsewhere) == run_id(), "the same files at another place"
    found = [
        run_id(),
        run_id(evaluate={"within_word": "l2r"}),
        run_id(task={"num_dev": 3}),
        run_id(nsp={"mode": "off"}),
    ]
    (tmp_path / "data" / "order.jsonl").write_text('{"sentence_good": "a", "sentence_bad": "b"}\n')
    found += [run_id(task=elsewhere), run_id(replace(usual, seed=2)), run_id(pretrained={"start": "none"})]
    random = replace(usual, pretrained=replace(usual.pretrained, start="none"))
    assert run_id(random, optimizer={"warmup_steps": 2, "eps": 1.0}, masking={"mask_prob": 0.3}) == found[-1]
    assert len({*found, run_id(replace(random, seed=2))}) == 8


def test_a_folder_and_random_weights_are_scored_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["export", "masking=static", *SHORT, "export.path=model"]) == 0
    save_file({**load_file("model/model.safetensors"), "classifier.weight": torch.ones(2)}, "model/model.safetensors")
    assert (
        evaluate("pretrained.path=model") == 0 and evaluate("pretrained=none") == 0 and evaluate("masking=static") == 0
    )
    said = capsys.readouterr().out
    assert "pretrained.path=model: not used: classifier.weight\n" in said
    assert "\nmodel, blimp: accuracy " in said and "random weights, blimp: accuracy " in said
    found = [roberta_lab.load_run(run) for run in Path("outputs/evaluate").iterdir()]
    of_folder, of_run = (
        {line["id"]: line["good"] for line in lines(run.path / "predictions.jsonl")}
        for run in found
        if run.config.pretrained.start == "run" and run.config.evaluate.within_word == "original"
    )
    assert of_folder == pytest.approx(of_run, abs=1e-4)
    assert evaluate("pretrained.path=model", "pretrained=none") == 2
    assert "pretrained=none contradicts pretrained.path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["finetune", "task=blimp"], "task=blimp is scored without finetuning: roberta-lab evaluate"),
        (["finetune", "finetune.init_from=blimp"], "task=blimp is scored without finetuning: roberta-lab evaluate"),
        (["predict", "predict.what=task", "predict.text=a", "task=blimp"], "task=blimp is scored without finetuning"),
        (["evaluate", "task=sst2"], "task=sst2 is scored after finetuning: roberta-lab finetune"),
        (["evaluate", "task=blimp", "pretrained=none"], "task=blimp needs its files: task.path=FOLDER with minimal pairs"),
        (["evaluate", "task=blimp", "task.path=none"], "task.path=none: there is no such folder"),
        (["evaluate", *BLIMP, "evaluate.within_word=r2l"], "evaluate.within_word=r2l: unknown. Allowed: original, l2r."),
        (["evaluate", *BLIMP, "task.head=span", "task.metric=f1"], "task.metric=f1: unknown for blimp. Allowed: accuracy."),
        (["pretrain", "seed=7", "evaluate.every=5"], "evaluate.every=5 scores task=pydoc_topic, which must be finetuned."),
        (["pretrain", "evaluate.every=0"], "evaluate.every=0: allowed is 1 or more, or null for never."),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path("outputs").glob("*/*"))
    assert main.main([words[0], *SHORT, *words[1:]]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("roberta-lab: ") and error.count("\n") == 1
    assert [path for path in sorted(Path("outputs").glob("*/*")) if path not in before and any(path.glob("*.*"))] == []


def test_a_sweep_has_it_as_a_column_that_reproduce_makes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "files", lambda figure: {})  # which takes half of the time
    sweep = ["sweep=own.yaml", "sweep.only=[static]", *SHORT, "trainer.jobs=1", "hydra/launcher=basic"]
    assert main.main(["reproduce", *sweep, "task.path=pairs", "evaluate.within_word=l2r"]) == 0
    said = capsys.readouterr().out
    assert "own  1 rows, pretrain 1 of 1 there, evaluate 0 of 1 there" in said
    assert "missing: 0 pretrain and 1 evaluate runs, " in said and "0 pretrain, 1 evaluate runs trained, 1 were" in said
    [table] = Path("outputs/tables/own").iterdir()
    text = (table / "table.md").read_text()
    assert "blimp (blimp_acc)" in text and "24 pairs, chance " in text and "Scored without finetuning" in text
    assert "GPT-2 of WebText (published only)" in text and "[81.5]" in text and "of other corpora" in text
    assert "that is best on dev" not in text, "nothing was finetuned"
    rows = (table / "results.csv").read_text().splitlines()
    assert any(",evaluate,1,blimp," in row and ",field/syntax," in row for row in rows)
    assert "evaluate/" in (table / "index.html").read_text() and "blimp accuracy" in Path("outputs/index.html").read_text()  # fmt: skip


def test_a_sweep_may_mix_both_kinds_of_columns() -> None:
    register()
    words = ["sweep=table1_masking", "sweep.tasks=[blimp,sst2]", "sweep.finetune_seeds=[1,2]", "sweep.seeds=[1,2]"]
    with composition.composing():
        found = {kind: jobs.jobs_of(kind, parse(words)) for kind in identity.KINDS}
    assert [(job.row, job.seed, job.task, job.finetune_seed) for job in found["evaluate"]] == [
        ("static", 1, "blimp", None), ("static", 2, "blimp", None), ("dynamic", 1, "blimp", None), ("dynamic", 2, "blimp", None)
    ]  # fmt: skip
    assert [len(own) for own in found.values()] == [4, 8, 4]
    assert {job.task for job in found["finetune"]} == {"sst2"}
    one = found["evaluate"][1]
    assert one.needs == (found["pretrain"][1].path,) and one.name == "static seed 2, blimp"
    assert one.command(()) == (
        "roberta-lab evaluate sweep=table1_masking 'sweep.only=[static]' 'sweep.seeds=[2]' 'sweep.tasks=[blimp]'"
    )
