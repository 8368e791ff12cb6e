"""What a server of W&B gets of runs and tables, views too; resumed runs, runs that tables share, runs of its agent."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_runs import (
    RESULTS,
    ROWS,
    Table,
    address,
    here,
    logging,
    table_one,
    tracked,
    tracker,
    whole,
    write_table,
)
from wandb_server import Server

from roberta_lab.runs import results
from roberta_lab.runs.tracking import show_again
from roberta_lab.runs.wandb import environment, service, tables, views
from roberta_lab.training.rows import Row

TABLE_ID = "table-table1_masking-smoke"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wandb-workspaces and pydantic


@pytest.fixture(autouse=True)
def new_command() -> None:
    environment.forget()


@pytest.fixture(scope="module")
def table() -> Table:
    return table_one()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as found:
        address(found, monkeypatch)
        yield found


def test_online_the_server_has_runs_lineage_table_workspace_and_report(
    table: Table, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb_workspaces")
    places = whole(table, tmp_path, "auto")
    assert not server.unknown, server.unknown
    pretrain, finetune = places["pretrain"].name, places["finetune"].name
    assert {run_id: facts["groupName"] for run_id, facts in server.runs.items()} == dict.fromkeys(
        (pretrain, finetune, TABLE_ID), "table1_masking"
    )
    assert [row["tokens_seen"] for row in server.rows[pretrain]] == [10, 20]
    edges = {(used["artifactID"].split(":")[0], used["runName"]) for used in server.used}
    assert (f"pretrain-{pretrain}", finetune) in edges
    assert {(f"pretrain-{pretrain}", TABLE_ID), (f"finetune-{finetune}", TABLE_ID)} <= edges
    assert any(name.endswith(".table.json") for name in server.files) and any("page" in name for name in server.files)
    workspace, report = server.views.values()
    assert (workspace["displayName"], report["displayName"]) == ("table1_masking smoke", "Table 1: static and dynamic masking (smoke)")  # fmt: skip
    assert "holds here: dynamic no worse" in report["spec"]
    for spec in (workspace["spec"], report["spec"]):
        assert all(part in spec for part in (pretrain, "tokens_seen", "row_table1_masking", "config:masking"))
        assert "pretrain/val/ppl" in spec and "finetune/pydoc_topic/chance" in spec
    assert capsys.readouterr().out.count(f"W&B: {server.url}/tester/roberta_lab") == 2
    is_as_the_client_reads_it(workspace, report, [pretrain, finetune])
    (places["table"] / "table.csv").write_text("row,perplexity\nstatic,7.4\n")
    tables.log_table(logging(table[0], tmp_path, "auto"), places["table"], here(table, tmp_path))
    assert len(server.views) == 2, "they are updated, not made again"


def is_as_the_client_reads_it(workspace: dict[str, Any], report: dict[str, Any], run_ids: list[str]) -> None:
    """What the server got is read back by W&B's own data model: runs of the table, grouped by row, with both kinds of panels."""
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces
    from wandb_workspaces.reports.v2 import internal as of_reports
    from wandb_workspaces.workspaces import internal

    spec = internal.WorkspaceViewspec.model_validate_json(workspace["spec"])
    where = {"entity": "tester", "project": "roberta_lab", "display_name": "", "name": "nw-x-v", "id": "1"}
    view = workspaces.Workspace._from_model(internal.View(**where, spec=spec))
    assert [section.name for section in view.sections] == ["Pretraining", "Task pydoc_topic"]
    assert all(section.is_open for section in view.sections) and view.settings.x_axis == "tokens_seen"
    assert view.runset_settings.groupby == [workspaces.Config("row_table1_masking")]
    curves = [panel for panel in view.sections[0].panels if isinstance(panel, reports.LinePlot)]
    assert [[str(getattr(y, "name", y)) for y in panel.y] for panel in curves] == [
        ["pretrain/val/ppl"], ["pretrain/train/mlm_loss"], ["pretrain/train/grad_norm"],
    ]  # fmt: skip
    bars = [panel for panel in view.sections[1].panels if isinstance(panel, reports.BarPlot)]
    assert [panel.title for panel in bars] == ["score", "chance"]
    project = {"name": "roberta_lab", "entityName": "tester"}
    found = of_reports.ReportViewspec.model_validate({"spec": report["spec"], "project": project})
    page = reports.Report._from_model(found)
    grids = [block for block in page.blocks if isinstance(block, reports.PanelGrid)]
    assert len(grids) == 2
    for grid in grids:
        [runset] = grid.runsets
        assert all(run_id in str(runset.filters) for run_id in run_ids) and "row_table1_masking" in str(runset.groupby)


def test_a_run_that_another_sweep_made_gets_a_name_and_a_tag_of_this_one(
    table: Table, server: Server, tmp_path: Path
) -> None:
    run_id = table[1][0].path.name
    other = {"name": run_id, "project": "roberta_lab", "displayName": "dynamic seed 1", "tags": ["sweep=other"]}
    server.runs[run_id] = {**other, "config": json.dumps({"row_other": {"value": "dynamic"}})}
    folder, directory = write_table(tmp_path), tmp_path / "pretrain" / run_id
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text("")
    (directory / "result.json").write_text("{}")
    tables.log_table(logging(table[0], tmp_path, "auto"), folder, here(table, tmp_path)[:1])
    found = server.runs[run_id]
    assert found["tags"] == ["sweep=other", "sweep=table1_masking"]
    config = json.loads(found["config"])
    assert config["row_table1_masking"]["value"] == "static" and config["row_other"]["value"] == "dynamic"


def test_online_a_run_goes_on_where_the_server_has_it(table: Table, server: Server, tmp_path: Path) -> None:
    one = table[1][0]
    first = tracker(tmp_path, one, "auto")
    first.resume(0)
    for row in ROWS:
        first.write(row)
    first.close()
    second = tracker(tmp_path, one, "auto")
    second.resume(1)
    for row in (*ROWS[1:], Row(3, {"tokens_seen": 30})):
        second.write(row)
    second.close(None)
    assert [row["_step"] for row in server.rows[one.path.name]] == [1, 2, 3], "step 2 was there already"


def test_under_wandbs_agent_a_run_keeps_the_agents_id(
    table: Table, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "agents1")
    environment.forget()
    one = table[1][0]
    tracked(tmp_path, one, "auto")
    assert set(server.runs) == {"agents1"} and len(server.rows["agents1"]) == 2
    assert json.loads(server.runs["agents1"]["config"])["run_id"]["value"] == one.path.name
    service.give_up()
    monkeypatch.setenv("WANDB_RUN_ID", "agents2")  # for the same settings again: the run is complete
    environment.forget()
    directory = tmp_path / one.kind / one.path.name
    results.write(directory, RESULTS[one.kind])
    show_again(logging(one.config, tmp_path, "auto"), directory, one.kind, one.name, {})
    assert server.rows["agents2"][-1]["pretrain/val/ppl"] == 7.0
    assert server.summaries["agents2"]["pretrain/unigram_ppl"] == 30.0


def test_without_the_extra_the_table_is_logged_and_one_line_says_what_is_missing(
    table: Table,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    folder, directory = write_table(tmp_path), tmp_path / "pretrain" / table[1][0].path.name
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text("")
    (directory / "result.json").write_text("{}")
    tables.log_table(logging(table[0], tmp_path, "auto"), folder, here(table, tmp_path))
    assert TABLE_ID in server.runs and not server.views
    assert capsys.readouterr().err == f"{views.MISSING}\n"
