"""What W&B shows of runs and tables, read from its offline files."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_results import finetuned
from wandb_files import OfflineRun, pieces
from wandb_runs import (
    KEY,
    ROWS,
    Table,
    address,
    here,
    logging,
    table_one,
    tracker,
    wandb,
    whole,
)
from wandb_server import Server

from roberta_lab.config import NonFinite
from roberta_lab.runs.tracking import read
from roberta_lab.runs.wandb import environment, tables
from roberta_lab.training.rows import Cut, Row

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


# ---------------------------------------------------------------- offline
@pytest.fixture(scope="module")
def places(table: Table, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return whole(table, tmp_path_factory.mktemp("offline"), "offline")


@pytest.fixture(scope="module")
def offline(places: dict[str, Path]) -> dict[str, OfflineRun]:
    outputs = places["pretrain"].parents[1]
    return {kind: OfflineRun(outputs, TABLE_ID if kind == "table" else path.name) for kind, path in places.items()}


def test_names_groups_and_tags(offline: dict[str, OfflineRun], places: dict[str, Path]) -> None:
    for kind, name in (("pretrain", "static seed 1"), ("finetune", "static seed 1, sst2 1")):
        said = offline[kind].run
        assert (said.run_id, said.run_group, said.job_type) == (places[kind].name, "table1_masking", kind)
        assert said.display_name == name
        assert {"masking=static", "input_format=segment_pair", "scale=smoke", "sweep=table1_masking"} <= set(said.tags)
        assert "resumed" not in said.tags and offline[kind].config["row_table1_masking"] == "static"
    assert "task=pydoc_topic" in offline["finetune"].run.tags
    assert offline["table"].run.run_id == TABLE_ID
    assert offline["table"].run.job_type == "table" and offline["table"].run.run_group == "table1_masking"


def test_rows_are_those_of_metrics_jsonl_behind_a_prefix_each_at_its_own_step(
    offline: dict[str, OfflineRun], places: dict[str, Path]
) -> None:
    for kind, axis, prefix in (("pretrain", "tokens_seen", "pretrain/"), ("finetune", "step", "finetune/pydoc_topic/")):
        assert read(places[kind] / "metrics.jsonl") == ROWS
        axes = ("step", "tokens_seen")
        assert offline[kind].rows == [{n if n in axes else prefix + n: v for n, v in row.items()} for row in ROWS]
        assert offline[kind].steps == [1, 2]
        [rule] = [m for m in offline[kind].metrics if m.glob_name]
        assert (rule.glob_name, rule.step_metric) == (f"{prefix}*", axis)
        assert offline[kind].exit_code == 0 and not offline[kind].is_preempting


def test_parameters_and_summary_are_plain_values(offline: dict[str, OfflineRun]) -> None:
    config = offline["finetune"].config
    plain = {k: v for k, v in config.items() if k not in ("science", "circumstance", "_wandb", "resumed_at")}
    assert all(v is None or isinstance(v, bool | int | float | str) for v in plain.values())
    found = (plain["masking"], plain["row"], plain["num_patterns"], plain["task"])
    assert found == ("static", "static", 10, "pydoc_topic")
    later = {"positions": "uniform", "pairs": "random", "nsp_weight": 1.0, "objective": "mlm", "optimizer": "adamw"}
    assert later.items() <= plain.items() and plain["schedule"] == "linear"
    assert plain["command"] == "roberta-lab finetune seed=1" and plain["host"] and config["resumed_at"] == []
    assert config["science"] == {"seed": 1, "masking": {"name": "static"}} and "trainer" in config["circumstance"]


def test_the_summary_holds_the_best_and_the_last_value_and_the_result_with_chance_beside(
    offline: dict[str, OfflineRun],
) -> None:
    summary = offline["pretrain"].summary
    assert summary["pretrain/val/ppl"] == {"min": 7.0, "last": 7.0} and summary["pretrain/unigram_ppl"] == 30.0
    assert summary["pretrain/ppl"] == 7.0, "a plain number, for sweeps of W&B's own"
    assert "plan" not in summary and "pretrain/plan" not in summary
    of_task = {name.rpartition("/")[2]: value for name, value in offline["finetune"].summary.items()}
    assert (of_task["score"], of_task["chance"], of_task["at_chance"]) == (61.5, 50.0, 1)
    assert "finetune/pydoc_topic/score" in offline["finetune"].summary and "majority" not in of_task


def test_lineage_goes_from_pretraining_to_finetuning_to_the_table(
    offline: dict[str, OfflineRun], places: dict[str, Path]
) -> None:
    pretrain, finetune = (f"{kind}-{places[kind].name}" for kind in ("pretrain", "finetune"))
    assert offline["pretrain"].lineage() == {"used": [], "made": [pretrain]}
    assert offline["finetune"].lineage() == {"used": [pretrain], "made": [finetune]}
    assert offline["table"].lineage()["used"] == [pretrain, finetune]
    digests = {a.digest for run in offline.values() for a in run.artifacts if a.name == pretrain}
    assert len(digests) == 1, "what is used is what was made"


def test_the_table_its_claims_and_its_runs_are_wandbs_own_and_the_page_is_kept_with_them(
    offline: dict[str, OfflineRun], places: dict[str, Path]
) -> None:
    files = offline["table"].path.parent / "files" / "media"
    claims, runs, cells = (json.loads(path.read_text())["data"] for path in sorted(files.rglob("*.table.json")))
    assert cells == [["static", 7.5, None], ["dynamic", 7.0, "92.9 (3)"]]
    assert claims[0] == ["dynamic no worse", "holds here", "better by 1", "1", "Section 4.1"]
    assert [(row, run_id) for row, *_, run_id in runs] == [("static", places[k].name) for k in ("pretrain", "finetune")]
    assert offline["table"].summary["claims/holds here"] == 2
    [page] = files.rglob("*.html")
    assert page.read_text() == (places["table"] / "index.html").read_text()
    staged = [entry.local_path for a in offline["table"].artifacts for entry in a.manifest.contents]
    assert staged and all(Path(p).is_relative_to(places["table"].parents[2]) for p in staged), (
        "nothing in the home folder"
    )


def test_ids_of_tables_are_short_enough_for_wandb() -> None:
    """W&B's artifacts have at most 128 characters, of which the id of the table is a part; a short id stays as it is."""
    names = [f"laptop--{'x' * 70}--data_mix.wikipedia.path={end}" for end in ("one", "two")]
    ids = {tables.table_id(Path("table2_input_format") / name) for name in (*names, "laptop")}
    assert len(ids) == 3 and "table-table2_input_format-laptop" in ids and max(map(len, ids)) <= 110


def test_a_table_is_logged_again_only_when_something_is_new(
    table: Table, offline: dict[str, OfflineRun], places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, started = places["pretrain"].parents[1], []
    monkeypatch.setattr(tables, "start_run", lambda *given: started.append(given))
    config, runs = logging(table[0], outputs, "offline"), here(table, outputs)
    tables.log_table(config, places["table"], runs)
    assert not started
    monkeypatch.setattr(environment, "unanswered", lambda url: None)
    tables.log_table(logging(table[0], outputs, "online"), places["table"], runs)
    assert len(started) == 1, "W&B's server has nothing of it"
    environment.forget()
    before = (places["table"] / "table.csv").read_text()
    (places["table"] / "table.csv").write_text(before.replace("7.5", "7.4"))
    tables.log_table(config, places["table"], runs)
    assert len(started) == 2
    tables.log_table(config, places["table"], [])
    tables.log_table(logging(table[0], outputs, "off"), places["table"], runs)
    assert len(started) == 2, "nothing is there; it is off"
    (places["table"] / "table.csv").write_text(before)


def test_a_record_over_several_blocks_is_read_in_one_piece() -> None:
    record = bytes(range(256)) * 300  # 76,800 bytes: the rest of one block, a whole one, a part

    def piece(kind: int, content: bytes) -> bytes:
        return bytes(4) + len(content).to_bytes(2, "little") + bytes([kind]) + content

    first, second = 32768 - 14, 32768 - 7
    data = bytes(7) + piece(2, record[:first]) + piece(3, record[first : first + second])
    assert len(data) == 2 * 32768
    assert pieces(data + piece(4, record[first + second :]) + piece(1, b"next") + piece(2, b"cut")) == [record, b"next"]


def test_wandb_shows_and_syncs_all_of_the_one_folder(places: dict[str, Path], offline: dict[str, OfflineRun]) -> None:
    """`wandb sync outputs/wandb/*` gives a server the same runs and lineage; `wandb leet` reads the summary."""
    with Server() as found:
        outputs = places["pretrain"].parents[1]
        everything = map(str, (outputs / "wandb").glob("*"))
        done = wandb(outputs, "sync", *everything, WANDB_BASE_URL=found.url, WANDB_API_KEY=KEY, WANDB_SILENT="false")
        assert done.returncode == 0, done.stderr
        assert not found.unknown
        run_ids = {places[kind].name for kind in ("pretrain", "finetune")}
        assert set(found.runs) == {*run_ids, TABLE_ID}
        assert [row["tokens_seen"] for row in found.rows[places["pretrain"].name]] == [10, 20]
        assert found.summaries[places["finetune"].name]["finetune/pydoc_topic/score"] == 61.5
        used = [one for one in found.used if one["runName"] == places["finetune"].name]
        assert [one["artifactID"].split(":")[0] for one in used] == [f"pretrain-{places['pretrain'].name}"]
    shown = wandb(outputs, "leet", "inspect", "--summary", "--json", str(offline["finetune"].path.parent))
    assert shown.returncode == 0, shown
    assert json.loads(shown.stdout)["summary"]["finetune/pydoc_topic/score"] == 61.5


def test_a_finetuning_that_diverged_sends_an_alert(table: Table, tmp_path: Path) -> None:
    one = next(one for one in table[1] if one.kind == "finetune")
    log = tracker(tmp_path, one, "offline")
    log.resume(0)
    log.close(finetuned(diverged=True))
    found = OfflineRun(tmp_path, one.path.name)
    said = [(alert.title, alert.text) for alert in found.alerts]
    assert said == [("diverged", f"{one.name}: the loss never fell")] and found.exit_code == 0


def test_an_attempt_that_goes_on_has_all_rows_once_and_is_marked(table: Table, tmp_path: Path) -> None:
    """Stopped after step 2, of which step 1 was saved; then on to step 4, with rows of training at even steps only."""
    one, cut = table[1][0], Cut(0, 4, 1, 1, "a CPU")
    first = tracker(tmp_path, one, "offline")
    first.resume(0)
    first.note_cut(cut)
    for row in ROWS:
        first.write(row)
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        first.close()
    stopped = OfflineRun(tmp_path, one.path.name)
    assert (stopped.exit_code, stopped.is_preempting) == (1, True)
    assert stopped.config["device"] == "a CPU" and stopped.config["cut"]["micro_batch_size"] == 4

    second = tracker(tmp_path, one, "offline", every=2, tags=["mine"], notes="again", git=True, console=True)
    second.resume(1)
    second.note_cut(Cut(1, 4, 1, 1, "a CPU"))
    print("what it prints")
    for step in (2, 3, 4):
        second.write(Row(step, {"tokens_seen": 10 * step, "train/mlm_loss": 0.1}))
    try:
        raise NonFinite("the loss of step 5 is nan")
    except NonFinite:
        second.close()
    found = OfflineRun(tmp_path, one.path.name)  # which takes the place of the first: none of it was uploaded
    assert found.steps == [1, 2, 4], "step 1 has a validation, 3 has none"
    optional = {"environment", "output_raw"}  # the repository; the console, whose last text may be held back
    assert not stopped.kinds & optional and "environment" in found.kinds, (stopped.kinds, found.kinds)
    assert found.config["resumed_at"] == [1] and {"resumed", "mine"} <= set(found.run.tags)
    assert (found.exit_code, found.is_preempting, found.run.notes) == (1, False, "again")
    assert [(alert.title, alert.text) for alert in found.alerts] == [("diverged", "the loss of step 5 is nan")]
