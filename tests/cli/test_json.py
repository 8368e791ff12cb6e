"""`--json`: one document on standard output from every command, which agrees with the files that the command wrote."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_run import SHORT, patch_source, write_pairs

from roberta_lab.cli import answer, finetune, launched, main
from roberta_lab.config import Unfinished
from roberta_lab.reports.figures import drawing
from roberta_lab.runs import options

SWEEP = """name: own
title: A table of ours
question: Is it?
rows: {dynamic: [masking=dynamic]}
tasks: [pydoc_topic]
finetune_seeds: [1]
"""
OWN = ["sweep=own.yaml", "trainer.jobs=1", "hydra/launcher=basic", "finetune.epochs=1"]
TOPIC = ["task=pydoc_topic", "finetune.epochs=1"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pretraining run, minimal pairs, and a sweep file with one row."""
    home = tmp_path_factory.mktemp("lab")
    write_pairs(home / "pairs")
    (home / "own.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch_source(patch)
        patch.chdir(home)
        assert main.main(["pretrain", *SHORT]) == 0
    return home


@pytest.fixture(autouse=True)
def there(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab)
    patch_source(monkeypatch)
    monkeypatch.setattr(drawing, "files", lambda figure: {})


def is_result(found: Any) -> None:
    """It is the run's own result, and says where the run is."""
    run = Path(found.pop("directory"))
    assert found == json.loads((run / "result.json").read_text()) and found["kind"] == run.parent.name


def is_prepared(found: Any) -> None:
    assert found.keys() == {"corpus", "tokenizer", "tokens"}
    for part in found.values():
        manifest = json.loads((Path(part["directory"]) / "manifest.json").read_text())
        assert part["counts"] == manifest["counts"] and manifest["counts"]


def is_inspected(found: Any) -> None:
    is_prepared(found["prepared"])
    [example] = found["examples"]
    predicted = sum(token["kind"] in ("masked", "random", "kept") for token in example["tokens"])
    assert f", {predicted} predicted" in example["title"] and predicted
    kinds = found["statistics"]["rows"]["kinds"]
    assert sum(kind["count"] for kind in kinds.values()) == found["statistics"]["rows"]["selected"]["count"]
    assert "of the tokens" in Path(found["page"]).read_text()


def is_export(found: Any) -> None:
    assert {Path(file).name for file in found["files"]} == {file.name for file in Path(found["directory"]).iterdir()}
    facts = json.loads((Path(found["directory"]) / "roberta_lab.json").read_text())
    config = json.loads((Path(found["directory"]) / "config.json").read_text())
    assert (facts["run_id"], config["model_type"]) == (found["run_id"], found["kind"])


def is_predicted(found: Any) -> None:
    """A vocabulary of 300 has fewer than 300 candidates that sum to less than 1."""
    [record] = found["predictions"]
    [candidates] = record["masks"]
    assert (found["texts"], record["text"], len(candidates)) == (1, "Return the <mask>.", 3)
    assert 0 < sum(candidate["probability"] for candidate in candidates) < 1


def is_plan(found: Any) -> None:
    [plan] = found["plans"]
    [run] = plan["runs"]
    assert run["costs"]["steps"] == 3 and run["complete"] and plan["missing"]["runs"] == 0
    assert run["costs"]["device_hours"] == pytest.approx(run["costs"]["seconds"] / 3600)
    assert (Path("outputs/pretrain") / run["run_id"] / "result.json").is_file()


def is_table(found: Any) -> None:
    assert all(Path(file).is_file() for file in found["files"]) and (found["sweep"], found["runs"]) == ("own", 2)
    [file] = [Path(file) for file in found["files"] if file.endswith("table.csv")]
    with open(file) as lines:
        missing = sum(
            int(row["expected"]) > int(row["n"]) for row in csv.DictReader(lines) if row["metric"] == "accuracy"
        )
    assert found["missing"] == missing and found["first_sentence"] in file.with_name("table.md").read_text()


def is_reproduced(found: Any) -> None:
    [table] = found["tables"]
    is_table(table)
    assert sum(found["trained"].values()) + found["there"] == 2 and found["failed"] == [] and found["seconds"] > 0


def is_diff(found: Any) -> None:
    """A run against itself: nothing differs, and the file says the same."""
    [file] = [Path(file) for file in found.pop("files") if file.endswith("diff.json")]
    assert json.loads(file.read_text()) == found and found["a"] == found["b"]
    assert not found["science"] and {metric["difference"] for metric in found["metrics"]} == {0.0}


def is_status(found: Any) -> None:
    assert found.keys() == {"runs", "tables", "caches", "prunable"} and found["runs"]
    assert {Path(run["directory"]).is_dir() for run in found["runs"]} == {True}
    assert found["caches"]["tokens"] == sum(f.stat().st_size for f in Path("outputs/cache/tokens").glob("[!.]*/**/*.*"))


def is_pruned(found: Any) -> None:
    """Nothing, without `prune.yes`: what could go is there still."""
    assert found["removed"] == [] and all(Path(one["path"]).exists() and one["why"] for one in found["removable"])


def is_cancelled(found: Any) -> None:
    """Nothing was submitted here; tests/cli/test_submitting.py has the rest."""
    assert found == {"cancelled": [], "running": 0}


def is_synced(found: Any) -> None:
    """Nothing was logged for W&B here; tests/cli/test_sync.py has the rest."""
    assert found == {"uploaded": [], "failed": [], "before": 0, "at_work": []}


CASES: dict[str, tuple[list[str], Callable[[Any], None]]] = {
    "prepare": ([], is_prepared),
    "inspect": (["inspect.examples=1"], is_inspected),
    "pretrain": ([], is_result),
    "finetune": (TOPIC, is_result),
    "evaluate": (["task=blimp", "task.path=pairs"], is_result),
    "export": ([], is_export),
    "predict": (["predict.text=Return the <mask>.", "predict.top_k=3"], is_predicted),
    "plan": ([], is_plan),
    "diff": (["seed=1", "seed=1"], is_diff),
    "table": (OWN, is_table),
    "reproduce": (OWN, is_reproduced),
    "status": ([], is_status),
    "cancel": (["sweep=own.yaml"], is_cancelled),
    "prune": ([], is_pruned),
    "sync": ([], is_synced),
}


def answered(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """What the command printed on standard output, also from other processes: one line, which is JSON."""
    assert main.main([*words, "--json"]) == code
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_answers_in_one_document(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    words, agrees = CASES[name]
    agrees(answered(capfd, name, *words, *([] if main.COMMANDS[name].reads else SHORT)))


def test_several_tables_answer_in_a_list_and_stand_on_one_page(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the command line names them, each with its claims; the plan of each says what its seeds can decide."""
    claims = "{row: more, over: dynamic, direction: better, margin: 0.1, columns: [common_bits_per_byte, ppl]}"
    for name in ("one", "other"):
        rows = "rows: {dynamic: [masking=dynamic], more: [masking=dynamic, masking.mask_prob=0.4]}"
        text = SWEEP.replace("name: own", f"name: {name}").replace("rows: {dynamic: [masking=dynamic]}", rows)
        (tmp_path / f"{name}.yaml").write_text(f"{text}claims: [{claims}]\n")
    monkeypatch.setattr(options, "SWEEPS", tmp_path)
    words = ["sweep=[other,one]", "sweep.tasks=[]", *SHORT]
    found = answered(capfd, "table", *words)
    assert [table["sweep"] for table in found] == ["other", "one"]
    for table in found:
        [file] = [Path(file) for file in table["files"] if file.endswith("table.json")]
        content = json.loads(file.read_text()) | {"files": table["files"]}
        assert table == {key: value for key, value in content.items() if key not in ("landing", "sha256")}
        assert [claim["why"] for claim in table["claims"]] == ["no figure of more yet"] * 2
    page = json.loads(Path("outputs/claims.json").read_text())
    said = {(claim["sweep"], claim["words"]): only for claim in page for only in claim["verdicts"].values()}
    assert said == {(table["sweep"], claim["words"]): claim for table in found for claim in table["claims"]}
    *plans, total = answered(capfd, "plan", *words)["plans"]
    assert total["deciding"] is None and len(plans) == 2
    for plan, table in zip(plans, found, strict=True):
        asked = [claim["question"] for claim in plan["deciding"]["claims"]]
        assert asked == [claim["words"] for claim in table["claims"]]
        assert not any(claim["decided"] for claim in plan["deciding"]["claims"])


def test_a_run_that_is_complete_answers_as_when_it_was_made(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["finetune", *SHORT, *TOPIC, "finetune.seed=5"]
    assert answered(capfd, *words) == answered(capfd, *words)


def test_what_people_read_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main(["pretrain", *SHORT]) == 0
    plain = capfd.readouterr()
    assert main.main(["--json", "pretrain", *SHORT]) == 0
    assert plain.err == "" and capfd.readouterr().err == plain.out != ""


def test_jobs_answer_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    found = answered(capfd, "plan", *SHORT, "-m", "seed=3,1,2", "hydra/launcher=basic")
    assert [one["plans"][0]["runs"][0]["seed"] for one in found] == [3, 1, 2]
    runs = answered(capfd, "pretrain", *SHORT, "-m", "seed=1", "hydra/launcher=basic")
    assert isinstance(runs, list) and is_result(runs[0]) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "masking=statc"], "masking=statc: "),
        (["pretran"], "pretran: no such command."),
        (["finetune", "seed=9"], "is not complete: roberta-lab pretrain"),
        (["plan", "--cfg", "job"], "--json --cfg: what Hydra shows is text"),
    ],
)
def test_a_mistake_is_a_document_too(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main.main([*words, "--json"]) == 2
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert found.keys() == {"error", "exit"} and found["exit"] == 2 and said in found["error"]
    assert err == f"roberta-lab: {found['error']}\n"


def test_failed_runs_are_listed_beside_what_was_made(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError("no room\nat all")

    monkeypatch.setattr(finetune, "_finetune", fails)
    found = answered(capfd, "reproduce", *SHORT, *OWN, "finetune.lr=2e-3", code=1)
    [failed] = found["failed"]
    assert (failed["kind"], failed["error"]) == ("finetune", "MemoryError: no room")
    assert failed["command"].startswith("roberta-lab finetune sweep=/") and found["tables"][0]["missing"] == 1
    assert found["error"].startswith("1 of 2 runs failed; ") and found["exit"] == 1


def test_a_fault_of_ours_crashes_and_says_so(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(main, "_run", fails)
    with pytest.raises(ZeroDivisionError):
        main.main(["plan", "--json"])
    assert json.loads(capfd.readouterr().out) == {"error": "ZeroDivisionError: by nothing", "exit": 1}


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    answer.write({"a": [math.nan, 1.5], "b": {"c": -math.inf, "d": "\ud800"}, "e": (True, None, 2)})
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": {"c": None, "d": "\ud800"}, "e": [True, None, 2]}  # fmt: skip


def test_predictions_in_a_file_are_not_repeated(capfd: pytest.CaptureFixture[str]) -> None:
    embed = ["predict", *SHORT, "predict.what=embed", "predict.text=[Return the value.,It is]"]
    vectors = [record["vector"] for record in answered(capfd, *embed)["predictions"]]
    assert answered(capfd, *embed, "predict.output=v.jsonl") == {"texts": 2, "file": "v.jsonl"}
    assert [json.loads(line)["vector"] for line in Path("v.jsonl").read_text().splitlines()] == vectors


def test_help_says_it_and_stays_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["plan", "--json", "--help"]) == 0 and main.main(["--json"]) == 2
    assert capsys.readouterr().out.count("--json") == 2


def test_a_reader_that_stops_early_is_no_error() -> None:
    code = (
        "import sys, types; from roberta_lab.cli import main as cli\n"
        "work = types.ModuleType('work'); work.main = lambda *_: ['x' * 1000] * 1000\n"
        "sys.modules['roberta_lab.cli.inspect'] = work\n"
        "sys.exit(cli.main(['inspect', '--json']))\n"
    )
    command = f'set -o pipefail; {sys.executable} -c "$CODE" | head -c 10'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, "CODE": code})
    assert (done.stdout, done.stderr, done.returncode) == ('["xxxxxxxx', "", 0)


def test_what_other_processes_print_stays_off_standard_output(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_run", lambda *_: subprocess.run(["echo", "hello"], check=True).returncode)
    assert main.main(["plan", "--json"]) == 0
    assert capfd.readouterr() == ("0\n", "hello\n")


def test_other_processes_know_that_an_answer_is_asked_for_and_send_it_with_an_error() -> None:
    assert pickle.loads(pickle.dumps(launched.Task(as_json=True))).as_json
    error = pickle.loads(pickle.dumps(Unfinished("two failed", {"there": 1})))
    assert (str(error), error.found) == ("two failed", {"there": 1})
