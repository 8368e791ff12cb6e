"""What W&B shows of runs and tables: offline in its files, online on a server of our own; and that it never costs a run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from composed_jobs import at
from example_results import finetuned, pretrained
from wandb_files import OfflineRun, pieces
from wandb_server import Server

from roberta_lab.config import Config, LoggerConfig
from roberta_lab.runs import jobs
from roberta_lab.runs.jobs import Job
from roberta_lab.runs.overrides import parse
from roberta_lab.runs.registration import register
from roberta_lab.runs.tables import runs_of
from roberta_lab.runs.tracking import Tracker, read
from roberta_lab.runs.wandb import mirror as wandb_mirror
from roberta_lab.runs.wandb import tables
from roberta_lab.training.rows import Row

KEY = "k" * 40
ROWS = [Row(s, {"tokens_seen": 10 * s, "train/mlm_loss": 1.0 / s, "val/ppl": 9.0 - s}) for s in (1, 2)]
RESULTS = {"pretrain": pretrained(ppl=7.0), "finetune": finetuned(score=61.5, at_chance=True)}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wandb-workspaces and pydantic


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, list[Job]]:
    """Table 1 with one task and seed: two rows, so two pretraining and two finetuning runs."""
    register()
    overrides = ["sweep=table1_masking", "sweep.tasks=[sst2]", "sweep.seeds=[1]", "sweep.finetune_seeds=[1]"]
    with jobs.composing():
        user = parse(overrides)
        config = jobs.composed(user)
        return config, runs_of(config, user)


def tracked(outputs: Path, one: Job, mode: str, made_from: Path | None = None) -> Path:
    """A run that only logs."""
    config = replace(one.config, logger=LoggerConfig(mode))
    directory = outputs / one.kind / one.path.name
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(one.name)
    tracker = Tracker(config, directory, one.kind, one.name, {"seed": 1, "masking": {"name": config.masking.name}})
    tracker.resume(0)
    for row in ROWS:
        tracker.write(row)
    tracker.close(replace(RESULTS[one.kind], pretrain_run_id=made_from.name if made_from else None))
    (directory / "result.json").write_text("{}")
    return directory


CLAIM = {"words": "dynamic no worse", "verdict": "holds here", "estimate": "better by 1", "source": "Section 4.1"}


def write_table(outputs: Path) -> Path:
    folder = outputs / "tables" / "table1_masking" / "smoke"
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text("row,perplexity,sst2\nstatic,7.5,\ndynamic,7.0,92.9 (3)\n")
    (folder / "index.html").write_text("<!doctype html><p>page</p>" + "x" * 70_000)
    (folder / "table.md").write_text("| row |\n|---|\n| static |\n\n## Claims\n\n- holds here: dynamic no worse\n")
    (folder / "table.json").write_text(json.dumps({"claims": [dict(CLAIM, why=str(number)) for number in (1, 2)]}))
    return folder


def whole(table: tuple[Config, list[Job]], outputs: Path, mode: str) -> dict[str, Path]:
    """A table's first pretraining run, its finetuning run, and the table."""
    config, runs = table
    pretrain, finetune = (next(one for one in runs if one.kind == kind) for kind in ("pretrain", "finetune"))
    places = {"pretrain": tracked(outputs, pretrain, mode)}
    places["finetune"] = tracked(outputs, finetune, mode, places["pretrain"])
    places["table"] = write_table(outputs)
    here = [at(one, outputs / one.kind / one.path.name) for one in runs]
    tables.log_table(replace(config, logger=LoggerConfig(mode)), places["table"], here)
    return places


# ---------------------------------------------------------------- offline
@pytest.fixture(scope="module")
def places(table: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return whole(table, tmp_path_factory.mktemp("offline"), "offline")


@pytest.fixture(scope="module")
def offline(places: dict[str, Path]) -> dict[str, OfflineRun]:
    return {kind: OfflineRun(path) for kind, path in places.items()}


def test_names_groups_and_tags(offline: dict[str, OfflineRun], places: dict[str, Path]) -> None:
    for kind, name in (("pretrain", "static seed 1"), ("finetune", "static seed 1, sst2 1")):
        said = offline[kind].run
        assert (said.run_id, said.run_group, said.job_type) == (places[kind].name, "table1_masking", kind)
        assert said.display_name == name
        assert {"masking=static", "input_format=segment_pair", "scale=smoke"} <= set(said.tags)
    assert "task=pydoc_topic" in offline["finetune"].run.tags
    assert offline["table"].run.run_id == "table-table1_masking-smoke"
    assert offline["table"].run.job_type == "table" and offline["table"].run.run_group == "table1_masking"


def test_rows_are_those_of_metrics_jsonl_and_tokens_are_the_axis(
    offline: dict[str, OfflineRun], places: dict[str, Path]
) -> None:
    for kind, axis in (("pretrain", "tokens_seen"), ("finetune", "step")):
        assert offline[kind].rows == read(places[kind] / "metrics.jsonl") == ROWS
        [rule] = [m for m in offline[kind].metrics if m.glob_name == "*"]
        assert rule.step_metric == axis
        assert offline[kind].exit_code == 0


def test_parameters_and_summary_are_plain_values(offline: dict[str, OfflineRun]) -> None:
    config = offline["finetune"].config
    plain = {k: v for k, v in config.items() if k not in ("science", "circumstance", "_wandb")}
    assert all(v is None or isinstance(v, int | float | str) for v in plain.values())
    assert (plain["masking"], plain["row"], plain["num_patterns"], plain["task"]) == (
        "static",
        "static",
        10,
        "pydoc_topic",
    )
    later = {"positions": "uniform", "pairs": "random", "nsp_weight": 1.0, "objective": "mlm", "optimizer": "adamw"}
    assert later.items() <= plain.items() and plain["schedule"] == "linear"
    assert config["science"] == {"seed": 1, "masking": {"name": "static"}} and "trainer" in config["circumstance"]
    assert offline["pretrain"].summary["val/ppl"] == 7.0 and "plan" not in offline["pretrain"].summary
    found = {name: offline["finetune"].summary[name] for name in ("score", "majority", "at_chance")}
    assert found == {"score": 61.5, "majority": 50.0, "at_chance": 1}


def test_lineage_goes_from_pretraining_to_finetuning_to_the_table(
    offline: dict[str, OfflineRun], places: dict[str, Path]
) -> None:
    pretrain, finetune = (f"{kind}-{places[kind].name}" for kind in ("pretrain", "finetune"))
    assert offline["pretrain"].lineage() == {"used": [], "made": [pretrain]}
    assert offline["finetune"].lineage() == {"used": [pretrain], "made": [finetune]}
    assert offline["table"].lineage()["used"] == [pretrain, finetune]
    digests = {a.digest for run in offline.values() for a in run.artifacts if a.name == pretrain}
    assert len(digests) == 1, "what is used is what was made"


def test_the_table_and_its_claims_are_wandbs_own_and_the_page_is_kept_with_them(
    offline: dict[str, OfflineRun], places: dict[str, Path]
) -> None:
    files = offline["table"].path.parent / "files" / "media"
    claims, cells = (json.loads(path.read_text())["data"] for path in sorted(files.rglob("*.table.json")))
    assert cells == [["static", 7.5, None], ["dynamic", 7.0, "92.9 (3)"]]
    assert claims[0] == ["dynamic no worse", "holds here", "better by 1", "1", "Section 4.1"]
    assert offline["table"].summary["claims/holds here"] == 2
    [page] = files.rglob("*.html")
    assert page.read_text() == (places["table"] / "index.html").read_text()
    staged = [entry.local_path for a in offline["table"].artifacts for entry in a.manifest.contents]
    assert staged and all(Path(p).is_relative_to(places["table"].parents[2]) for p in staged), (
        "nothing in the home folder"
    )


def test_a_record_over_several_blocks_is_read_in_one_piece() -> None:
    record = bytes(range(256)) * 300  # 76,800 bytes: the rest of one block, a whole one, a part

    def piece(kind: int, content: bytes) -> bytes:
        return bytes(4) + len(content).to_bytes(2, "little") + bytes([kind]) + content

    first, second = 32768 - 14, 32768 - 7
    data = bytes(7) + piece(2, record[:first]) + piece(3, record[first : first + second])
    assert len(data) == 2 * 32768
    assert pieces(data + piece(4, record[first + second :]) + piece(1, b"next") + piece(2, b"cut")) == [record, b"next"]


def test_wandb_shows_and_syncs_what_was_offline(places: dict[str, Path], offline: dict[str, OfflineRun]) -> None:
    """`wandb sync` gives a server the same runs and lineage; `wandb leet` reads the summary."""
    with Server() as server:
        folders = [str(offline[kind].path.parent) for kind in ("pretrain", "finetune")]
        done = wandb("sync", *folders, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert not server.unknown
        run_ids = {places[kind].name for kind in ("pretrain", "finetune")}
        assert set(server.runs) == run_ids
        assert [row["tokens_seen"] for row in server.rows[places["pretrain"].name]] == [10, 20]
        assert server.summaries[places["finetune"].name]["score"] == 61.5
        [used] = server.used
        assert (used["runName"], used["artifactID"].split(":")[0]) == (
            places["finetune"].name,
            f"pretrain-{places['pretrain'].name}",
        )
    shown = wandb("leet", "inspect", "--summary", "--json", str(offline["finetune"].path.parent))
    assert shown.returncode == 0 and json.loads(shown.stdout)["summary"]["score"] == 61.5, shown


def wandb(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wandb", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


# ---------------------------------------------------------------- online
@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as found:
        address(found, monkeypatch)
        yield found


def address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B reads its environment once in a process."""
    wandb_mirror.give_up()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_online_the_server_has_runs_lineage_table_workspace_and_report(
    table: Any, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    places = whole(table, tmp_path, "auto")
    assert not server.unknown, server.unknown
    pretrain, finetune = places["pretrain"].name, places["finetune"].name
    assert {run_id: facts["groupName"] for run_id, facts in server.runs.items()} == dict.fromkeys(
        (pretrain, finetune, "table-table1_masking-smoke"), "table1_masking"
    )
    assert [row["tokens_seen"] for row in server.rows[pretrain]] == [10, 20]
    edges = {(used["artifactID"].split(":")[0], used["runName"]) for used in server.used}
    assert (f"pretrain-{pretrain}", finetune) in edges
    assert {(f"pretrain-{pretrain}", "table-table1_masking-smoke"), (f"finetune-{finetune}", "table-table1_masking-smoke")} <= edges  # fmt: skip
    assert any(name.endswith(".table.json") for name in server.files) and any("page" in name for name in server.files)
    workspace, report = server.views.values()
    assert (workspace["displayName"], report["displayName"]) == ("table1_masking smoke", "Table 1: static and dynamic masking (smoke)")  # fmt: skip
    assert "holds here: dynamic no worse" in report["spec"]
    for spec in (workspace["spec"], report["spec"]):
        assert pretrain in spec and "tokens_seen" in spec and "config:masking" in spec
    assert capsys.readouterr().out.count(f"W&B: {server.url}/tester/roberta_lab") == 2
    tables.log_table(table[0], places["table"], table[1])
    assert len(server.views) == 2, "they are updated, not made again"


def test_without_the_extra_the_table_is_logged_and_one_line_says_what_is_missing(
    table: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    tables.log_table(table[0], write_table(tmp_path), [])
    assert "table-table1_masking-smoke" in server.runs and not server.views
    assert capsys.readouterr().err == f"{tables.MISSING}\n"


# ---------------------------------------------------------------- failures
def test_a_server_that_does_not_answer_is_found_out_before(
    table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server() as gone:
        address(gone, monkeypatch)
    start = time.monotonic()
    directory = tracked(tmp_path, table[1][0], "auto")
    assert time.monotonic() - start < 10
    assert OfflineRun(directory).rows == ROWS
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and f"{gone.url} does not answer" in err and "wandb sync" in err


def test_a_server_that_dies_in_the_middle_costs_one_line(
    table: Any, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the next run starts as if nothing had been."""
    monkeypatch.setattr(wandb_mirror, "FINISH_SECONDS", 0.5)
    monkeypatch.setattr(wandb_mirror, "GRACE_SECONDS", 0.5)
    one, other = table[1][:2]
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.yaml").write_text("")
    tracker = Tracker(one.config, directory, "pretrain", one.name, {})
    tracker.resume(0)
    tracker.write(ROWS[0])
    server.die()
    tracker.write(ROWS[1])
    start = time.monotonic()
    tracker.close(RESULTS["pretrain"])
    assert time.monotonic() - start < 15
    assert read(directory / "metrics.jsonl") == ROWS and (directory / "metrics.csv").is_file()
    err = capsys.readouterr().err
    assert err.startswith("W&B failed (") and err.count("\n") == 1
    assert OfflineRun(tracked(tmp_path, other, "offline")).rows == ROWS


class BrokenRun:
    """W&B's process died: each call raises."""

    calls = 0

    def log(self, row: Any) -> None:
        BrokenRun.calls += 1
        raise RuntimeError("the process is gone\nwith more to say")

    def finish(self, exit_code: int) -> None:
        raise RuntimeError("still gone")


def test_a_dead_process_of_wandbs_costs_one_line_and_is_not_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[bool] = []
    monkeypatch.setattr(wandb_mirror, "give_up", lambda: given_up.append(True))
    mirror = wandb_mirror.Mirror(BrokenRun(), tmp_path)
    for row in ROWS:
        mirror.log(row)
    mirror.finish(True)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "RuntimeError: the process is gone" in err and "metrics.jsonl" in err
    assert BrokenRun.calls == 1 and given_up == [True]
