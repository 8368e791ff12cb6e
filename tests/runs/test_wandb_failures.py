"""W&B never costs a run: servers that are gone, hang or talk nonsense, a dead or stopped process, wrong variables, no package."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import kill_wandb
import pytest
from local_server import LocalServer
from wandb_files import OfflineRun
from wandb_runs import RESULTS, ROWS, Table, address, table_one, tracked, tracker
from wandb_server import Server

from roberta_lab.cli import main
from roberta_lab.runs import provenance
from roberta_lab.runs.tracking import read
from roberta_lab.runs.wandb import environment, offline, service
from roberta_lab.runs.wandb import mirror as wandb_mirror
from roberta_lab.runs.wandb.names import Keys


@pytest.fixture(autouse=True)
def new_command() -> Iterator[None]:
    environment.forget()
    yield
    environment.forget()


@pytest.fixture(scope="module")
def table() -> Table:
    return table_one()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as found:
        address(found, monkeypatch)
        yield found


class Nonsense(BaseHTTPRequestHandler):
    """A web server that is none of W&B's."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    def log_message(self, *_: Any) -> None:
        pass


class Hanging(BaseHTTPRequestHandler):
    """It takes every question, and answers none while the test goes on."""

    over = threading.Event()
    asked = 0

    def do_POST(self) -> None:
        Hanging.asked += 1
        Hanging.over.wait(30)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("kind", ["gone", "nonsense", "hanging"])
def test_a_server_that_is_none_costs_its_wait_and_a_line_once_per_command(
    kind: str, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "ANSWER_SECONDS", 0.3)
    Hanging.over.clear()
    with LocalServer(Hanging if kind == "hanging" else Nonsense) as found:
        if kind == "gone":
            found.die()
        address(found, monkeypatch)
        for one in table[1][:2]:
            directory = tracked(tmp_path, one, "auto")
            assert read(directory / "metrics.jsonl") == ROWS and OfflineRun(tmp_path, one.path.name).steps == [1, 2]
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"{found.url} does not answer" in err and "roberta-lab sync" in err
        worker = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, check=True)
        assert worker.stdout == "offline\n" and worker.stderr == "", "a worker process knows it already"
        Hanging.over.set()
    assert kind != "hanging" or Hanging.asked == 1


ASKS = (
    "from roberta_lab.config import Config, LoggerConfig; from roberta_lab.runs.wandb import environment; "
    "print(environment.ready(Config(logger=LoggerConfig('online'))))"
)


def test_a_start_that_fails_falls_back_once_for_all_jobs(
    table: Table, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries, start = [], wandb_mirror._init

    def failing(*given: Any) -> Any:
        tries.append(given[-1])
        if given[-1] == "online":
            raise TimeoutError("30 seconds are over")
        return start(*given)

    monkeypatch.setattr(wandb_mirror, "_init", failing)
    for one in table[1][:2]:
        tracked(tmp_path, one, "auto")
        assert OfflineRun(tmp_path, one.path.name).steps == [1, 2]
    assert tries == ["online", "offline", "offline"]
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "did not start (TimeoutError: 30 seconds are over)" in err


@pytest.mark.parametrize(("words", "times"), [(["-m", "seed=1,2"], 1), (["-m", "seed=1"], 0)])
def test_the_server_is_asked_before_jobs_start(words: list[str], times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that their processes know the answer; a single job asks itself."""
    asked: list[object] = []
    monkeypatch.setattr(environment, "ready", asked.append)
    monkeypatch.setattr("roberta_lab.cli.pretrain.main", lambda job: {})
    assert main.main(["pretrain", *words, "hydra/launcher=basic", "logger.wandb=online"]) == 0
    assert len(asked) == times


def test_the_next_command_tries_again() -> None:
    environment.fall_back("offline", "it was gone")
    assert main.main(["prepare", "--cfg", "job"]) == 0
    assert environment.VERDICT not in os.environ


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WANDB_CONSOLE": "loud"}, "WANDB_CONSOLE=loud (input should be 'auto'"),
        ({"WANDB_MODE": "onlin"}, "WANDB_MODE=onlin (input should be 'online'"),
        ({"WANDB_BASE_URL": "my server"}, "WANDB_BASE_URL=my server ("),
        ({"WANDB_INIT_TIMEOUT": "soon", "WANDB_SILENT": "maybe"}, "WANDB_INIT_TIMEOUT=soon ("),
    ],
)
def test_wrong_variables_cost_one_line_and_not_the_run(
    variables: dict[str, str],
    said: str,
    table: Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    service.give_up()
    for number in (1, 2):
        log = tracker(tmp_path / str(number), table[1][0], "auto")
        log.resume(0)
        log.close(None)
        assert log.mirror is not None and not log.mirror.failed
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("W&B: left out as wrong: ") and said in err
    assert not any(os.environ.get(name) == value for name, value in variables.items())


def test_a_wrong_key_is_not_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret words")

    def refuse(self: object, variables: dict[str, str]) -> None:
        if "WANDB_API_KEY" in variables:
            raise ValueError("it has blanks")

    monkeypatch.setattr("wandb.Settings.update_from_env_vars", refuse)
    environment.drop_wrong_variables()
    assert "WANDB_API_KEY=*** (it has blanks)" in capsys.readouterr().err


def test_without_the_package_there_is_one_line_and_none_where_it_is_off(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    version = provenance.metadata.version

    def missing(name: str) -> str:
        if name == "wandb":
            raise provenance.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(provenance.metadata, "version", missing)
    one, other, third = table[1][:3]
    assert read(tracked(tmp_path, one, "off") / "metrics.jsonl") == ROWS
    assert capsys.readouterr().err == ""
    for job in (other, third):
        directory = tracked(tmp_path, job, "auto")
        assert read(directory / "metrics.jsonl") == ROWS
    assert (
        capsys.readouterr().err
        == "W&B: it is not installed (pip install wandb); runs go on without it, their metrics.jsonl has everything.\n"
    )
    noted = provenance.read(directory)
    assert noted is not None and "wandb" not in noted["attempts"][-1]["packages"]


def test_a_server_that_dies_in_the_middle_costs_one_line(
    table: Table, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the next run starts as if nothing had been."""
    monkeypatch.setattr(wandb_mirror, "FINISH_SECONDS", 0.5)
    monkeypatch.setattr(wandb_mirror, "CALL_SECONDS", 0.5)
    one, other = table[1][:2]
    log = tracker(tmp_path, one, "auto")
    log.resume(0)
    log.write(ROWS[0])
    server.die()
    log.write(ROWS[1])
    start = time.monotonic()
    log.close(RESULTS["pretrain"])
    assert time.monotonic() - start < 15
    assert read(log.directory / "metrics.jsonl") == ROWS and (log.directory / "metrics.csv").is_file()
    err = capsys.readouterr().err
    assert err.startswith("W&B failed (") and err.count("\n") == 1
    assert [offline.run_id(folder) for folder in offline.not_uploaded(tmp_path)] == [one.path.name], "sync goes on"
    tracked(tmp_path, other, "offline")
    assert OfflineRun(tmp_path, other.path.name).steps == [1, 2]


def test_a_process_of_wandbs_that_is_killed_or_hangs_costs_one_line_each_and_no_row(tmp_path: Path) -> None:
    """Of a stopped one, `run.log` waits for ever after some hundred rows. The second run has a process of its own."""
    start, command = time.monotonic(), [sys.executable, kill_wandb.__file__, str(tmp_path), "SIGKILL", "SIGSTOP"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}  # our own process
    variables["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    killed, stopped = (line for line in done.stderr.splitlines() if line.startswith("W&B"))
    rest = f"); metrics.jsonl has everything, {tmp_path}/wandb what W&B knew."
    assert killed.startswith("W&B failed (ConnectionResetError: ") and killed.endswith(rest)
    assert stopped == f"W&B failed (TimeoutError: it does not answer{rest}"
    for line in done.stdout.splitlines():
        name, written, closed = line.split()
        assert float(written) < 1 and float(closed) < 5, line
        assert read(tmp_path / "pretrain" / name / "metrics.jsonl") == kill_wandb.ROWS
    assert time.monotonic() - start < 30


class BrokenRun:
    """W&B's process died: each call raises."""

    calls = 0

    def log(self, row: Any, step: int) -> None:
        BrokenRun.calls += 1
        raise RuntimeError("the process is gone\nwith more to say")

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def finish(self, exit_code: int) -> None:
        raise RuntimeError("still gone")


def test_a_dead_process_of_wandbs_costs_one_line_and_is_not_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[bool] = []
    monkeypatch.setattr(service, "give_up", lambda: given_up.append(True))
    mirror = wandb_mirror.Mirror(BrokenRun(), tmp_path, Keys("pretrain/"))
    for row in ROWS:
        mirror.log(row)
    mirror.finish()
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "RuntimeError: the process is gone" in err and "metrics.jsonl" in err
    assert BrokenRun.calls == 1 and given_up == [True]


class DeafRun(BrokenRun):
    """It takes whatever it is told."""

    calls = 0

    def log(self, row: Any, step: int | None = None) -> None:
        DeafRun.calls += 1


def test_examples_that_cannot_be_made_cost_a_line_and_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_mirror, "AT_ONCE", 1)
    mirror = wandb_mirror.Mirror(DeafRun(), tmp_path, Keys("pretrain/"))
    mirror.log_again(ROWS)
    mirror.show(lambda: {}[0])
    mirror.show(dict)
    assert capsys.readouterr().err == "W&B: examples are left out (KeyError: 0).\n"
    assert DeafRun.calls == 3 and not mirror.failed


# ---------------------------------------------------------------- W&B's agent
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain", "-m", "--seed=1,2"], "pretrain: wandb agent gives one W&B run"),
        (["finetune", "--sweep=table1_masking"], "finetune: wandb agent gives one W&B run"),
        (["reproduce", "--sweep=table1_masking"], "reproduce: wandb agent gives one W&B run"),
    ],
)
def test_under_the_agent_several_runs_are_refused_in_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    for name in ("pretrain", "finetune", "reproduce"):
        monkeypatch.setattr(f"roberta_lab.cli.{name}.main", lambda job: pytest.fail("it runs"))
    assert main.main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_the_agents_arguments_are_overrides(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert main.main(["pretrain", "--batch_size.peak_lr=0.0123", "--masking=static", "--cfg=job"]) == 0
    out = capsys.readouterr().out
    assert "peak_lr: 0.0123" in out and "name: static" in out
